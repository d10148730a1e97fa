"""The pytest plugin: recorded answers (`kimi_cassette`) and a scripted server (`kimi_server`), for a `kimi_model`.

    @pytest.mark.kimi_cassette                      # plays tests/testing/cassettes/<module>/<test>.kimi.yaml
    def test_agent(kimi_model): ...                 # record it: pytest --kimi-record=once, with MOONSHOT_API_KEY

    @pytest.mark.kimi_server([said("Hello")])       # a local double of Kimi's API, with this script
    def test_greeting(kimi_server, kimi_model): ...

Every setting is a fixture that a conftest.py may override, as in pytest-recording. Nothing heavy is imported here: this
module is loaded by every run of pytest in an environment that has the package.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from langchain_kimi import ChatKimi
    from langchain_kimi.testing import KimiServer
    from langchain_kimi.testing.cassettes import Cassette

_MODES = ("none", "once", "new_episodes", "all")
_OPTIONS = frozenset(
    {"name", "record", "ignore", "rechunk", "secrets", "keep_headers", "allowed_hosts", "allow_unplayed"}
)
_LONGEST = 150
_PLACEHOLDER = "sk-none-needed-to-replay"

_failed = pytest.StashKey[bool]()
_cassette = pytest.StashKey["Cassette"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares `--kimi-record`."""
    parser.getgroup("kimi", "Kimi cassettes").addoption(
        "--kimi-record",
        choices=_MODES,
        help="What kimi_cassette asks of the real host: nothing (none, the default), everything where no file is "
        "(once), what is not recorded (new_episodes), everything anew (all). Where CI is set, always none.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marks."""
    config.addinivalue_line(
        "markers", "kimi_cassette(name=None, **options): play recorded answers; options as in kimi_cassette_config."
    )
    config.addinivalue_line("markers", "kimi_server(script, **settings): what the kimi_server of the test answers.")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Says so where CI overrules the option."""
    asked = config.getoption("--kimi-record")
    if _in_ci() and asked not in (None, "none"):
        return f"kimi: the variable CI is set, so cassettes are only replayed (--kimi-record={asked} is ignored)"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A marked test gets its cassette also where it does not name the fixture."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is not None and "kimi_cassette" not in names and item.get_closest_marker("kimi_cassette"):
            names.append("kimi_cassette")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Keeps the outcome for the fixtures, and shows a failed test what could not be replayed."""
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
        cassette = item.stash.get(_cassette, None)
        if report.failed and cassette and cassette.misses and not _shows(report.longreprtext, cassette.misses[0]):
            report.sections.append(("kimi cassette", "\n".join(map(str, cassette.misses))))
    return report


@pytest.fixture
def kimi_cassette_config() -> dict[str, Any]:
    """Options of all cassettes below the conftest.py that overrides this: those of `Cassette`, and `allow_unplayed`."""
    return {}


@pytest.fixture(scope="module")
def kimi_cassette_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of a module's cassettes."""
    return request.path.parent / "cassettes" / request.path.stem


@pytest.fixture
def kimi_cassette(
    request: pytest.FixtureRequest,
    kimi_cassette_config: dict[str, Any],
    kimi_cassette_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> "Iterator[Cassette]":
    """The test's cassette, open. The test fails where a request had no recording, or a recording no request."""
    try:
        from langchain_kimi.testing.cassettes import Cassette, CassetteError
    except ImportError as error:
        advice = (
            "" if "pip install" in str(error) else " Install it with `pip install 'langchain-kimi-agent[testing]'`."
        )
        pytest.fail(f"kimi_cassette: {error}{advice}", False)
    options = _options(request.node, kimi_cassette_config)
    allow_unplayed = options.pop("allow_unplayed", False)
    path = Path(kimi_cassette_dir) / f"{options.pop('name', None) or _name(request.node)}.kimi.yaml"
    record: Any = "none" if _in_ci() else request.config.getoption("--kimi-record") or options.pop("record", "none")
    options.pop("record", None)
    advice = f"If the change is meant, record again: pytest '{request.node.nodeid}' --kimi-record=all"
    try:
        cassette = Cassette(path, record=record, advice=advice, **options)
    except CassetteError as error:
        pytest.fail(str(error), False)
    request.node.stash[_cassette] = cassette
    if cassette.replays_only and not os.environ.get("MOONSHOT_API_KEY"):
        monkeypatch.setenv("MOONSHOT_API_KEY", _PLACEHOLDER)
    with cassette:
        yield cassette
    if not request.node.stash.get(_failed, True):
        _complain(cassette, allow_unplayed)


@pytest.fixture
def kimi_audit(request: pytest.FixtureRequest, kimi_cassette: "Cassette") -> Iterator[None]:
    """The test's cassette is audited when the test has passed; what is wrong fails it."""
    yield
    if not request.node.stash.get(_failed, True):
        from langchain_kimi.testing.cassettes import audit

        kimi_cassette.save()
        if found := audit(kimi_cassette):
            pytest.fail("\n".join(["the audit of the cassette found:", *map(str, found)]), False)


@pytest.fixture
def kimi_server(request: pytest.FixtureRequest) -> "Iterator[KimiServer]":
    """A running KimiServer with the script of the test's mark; a passed test fails where the script was not played."""
    from langchain_kimi.testing import KimiServer

    mark = request.node.get_closest_marker("kimi_server")
    settings = {"strict": False, **(mark.kwargs if mark else {})}
    with KimiServer(*(mark.args if mark else ()), **settings) as server:
        yield server
    if not request.node.stash.get(_failed, True):
        try:
            server.verify()
        except AssertionError as error:
            pytest.fail(str(error), False)


@pytest.fixture
def kimi_model_settings() -> dict[str, Any]:
    """The arguments of `kimi_model`, to override."""
    return {"model": "kimi-k2.6"}


@pytest.fixture
def kimi_model(request: pytest.FixtureRequest, kimi_model_settings: dict[str, Any]) -> "ChatKimi":
    """A ChatKimi on the test's `kimi_server`, else as the environment says, which its cassette records or plays."""
    from langchain_kimi import ChatKimi

    settings = dict(kimi_model_settings)
    if "kimi_server" in request.fixturenames:
        server = request.getfixturevalue("kimi_server")
        settings = {"base_url": server.url, "api_key": _PLACEHOLDER, **settings}
    elif "kimi_cassette" in request.fixturenames:
        request.getfixturevalue("kimi_cassette")
    return ChatKimi(**settings)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _options(node: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The options of a test: the mark nearest to it counts most, the config least."""
    options = dict(config)
    for mark in reversed(list(node.iter_markers("kimi_cassette"))):
        options |= mark.kwargs
        if mark.args:
            options["name"] = mark.args[0]
    if unknown := sorted(options.keys() - _OPTIONS):
        known = ", ".join(sorted(_OPTIONS))
        pytest.fail(f"kimi_cassette has no option {', '.join(unknown)}; there are {known}", False)
    return options


def _name(node: Any) -> str:
    """The file's name for a test: with its class and parameters, without what file systems do not take."""
    name = f"{node.cls.__name__}.{node.name}" if getattr(node, "cls", None) else str(node.name)
    name = re.sub(r"[<>?%*:|\"'/\\\x00-\x1f]", "-", name)
    if len(name.encode()) <= _LONGEST:
        return name
    return f"{name.encode()[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _shows(text: str, error: Exception) -> bool:
    return str(error).partition("\n")[0] in text


def _complain(cassette: "Cassette", allow_unplayed: bool) -> None:
    """Fails a test that passed although its cassette did not fit."""
    if cassette.misses:
        pytest.fail("\n".join(map(str, cassette.misses)), False)
    if cassette.unplayed and not allow_unplayed and cassette.record != "all":
        names = "\n".join(f"  {interaction.name}" for interaction in cassette.unplayed)
        pytest.fail(
            f"{len(cassette.unplayed)} recorded requests of {cassette.path} were never sent:\n{names}\n"
            "Record again with --kimi-record=all, or declare it: kimi_cassette(allow_unplayed=True).",
            False,
        )
