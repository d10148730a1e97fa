"""The pytest plugin: recorded responses (`kimi_cassette`) and a scripted server (`kimi_server`) for a `kimi_model`.

    @pytest.mark.kimi_cassette                      # replays cassettes/<module>/<test>.kimi.yaml
    def test_agent(kimi_model): ...                 # to record it: pytest --kimi-record=once, with MOONSHOT_API_KEY

    @pytest.mark.kimi_server([said("Hello")])       # a local fake of Kimi's API with this script
    def test_greeting(kimi_model): ...

A test with both markers is recorded from its server and replayed without it.

Every setting is a fixture that a conftest.py may override, as in pytest-recording. This module imports nothing heavy,
because every run of pytest in an environment with the package loads it.
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

_RECORD_MODES = ("none", "once", "new_episodes", "all")
_OPTIONS = frozenset(
    {"name", "record", "ignore", "rechunk", "secrets", "keep_headers", "allowed_hosts", "allow_unplayed"}
)
_MAX_NAME_BYTES = 150
_PLACEHOLDER_KEY = "sk-none-needed-to-replay"

_failed = pytest.StashKey[bool]()
_cassette = pytest.StashKey["Cassette"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option `--kimi-record`."""
    parser.getgroup("kimi", "Kimi cassettes").addoption(
        "--kimi-record",
        choices=_RECORD_MODES,
        help="Which requests of kimi_cassette go to the real host: none (the default), all if there is no file yet "
        "(once), those that are not recorded (new_episodes), or all. If CI is set, it is always none.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers."""
    config.addinivalue_line(
        "markers", "kimi_cassette(name=None, **options): replay recorded responses; options as in kimi_cassette_config."
    )
    config.addinivalue_line(
        "markers", "kimi_server(script, **settings): the script and the settings of the test's kimi_server."
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Reports that CI overrides the option."""
    mode = config.getoption("--kimi-record")
    if _in_ci() and mode not in (None, "none"):
        return f"kimi: the variable CI is set, so cassettes are only replayed (--kimi-record={mode} is ignored)"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Adds the fixtures `kimi_server` and `kimi_cassette` to marked tests that do not name them."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        for fixture in ("kimi_server", "kimi_cassette"):
            if names is not None and fixture not in names and item.get_closest_marker(fixture):
                names.append(fixture)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Stores the outcome for the fixtures, and lets a failure end with the request that could not be replayed."""
    cassette = item.stash.get(_cassette, None)
    if cassette is None or call.when != "call" or call.excinfo is None:
        report = yield
    else:
        from langchain_kimi.testing import replay_failures

        excinfo, call.excinfo = call.excinfo, replay_failures.shorten_failure(item, call.excinfo)
        try:
            report = yield
        finally:
            call.excinfo = excinfo  # a debugger shows every frame
        if report.failed:
            replay_failures.explain_failure(report, excinfo, cassette.misses)
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


@pytest.fixture
def kimi_cassette_config() -> dict[str, Any]:
    """The options of all cassettes, to override in a conftest.py: those of `Cassette`, and `allow_unplayed`."""
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
    """The open cassette of the test. The test fails if a request has no recording, or a recording no request."""
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
    advice = _record_advice(request.node.nodeid, path)
    try:
        cassette = Cassette(path, record=record, advice=advice, **options)
    except CassetteError as error:
        pytest.fail(str(error), False)
    request.node.stash[_cassette] = cassette
    if cassette.replays_only and not os.environ.get("MOONSHOT_API_KEY"):
        monkeypatch.setenv("MOONSHOT_API_KEY", _PLACEHOLDER_KEY)
    with cassette:
        yield cassette
    if not request.node.stash.get(_failed, True):
        _fail_if_not_matching(cassette, allow_unplayed)


@pytest.fixture
def kimi_audit(request: pytest.FixtureRequest, kimi_cassette: "Cassette") -> Iterator[None]:
    """Audits the cassette of the test when the test has passed. Findings fail the test."""
    yield
    if not request.node.stash.get(_failed, True):
        from langchain_kimi.testing.cassettes import audit

        kimi_cassette.save()
        if findings := audit(kimi_cassette):
            pytest.fail("\n".join(["The audit of the cassette found:", *map(str, findings)]), False)


@pytest.fixture
def kimi_server(request: pytest.FixtureRequest) -> "Iterator[KimiServer]":
    """A running KimiServer with the script of the test's marker.

    The test fails if the script has replies left, unless a cassette is replayed instead.
    """
    from langchain_kimi.testing import KimiServer

    mark = request.node.get_closest_marker("kimi_server")
    settings = {"strict": False, **(mark.kwargs if mark else {})}
    with KimiServer(*(mark.args if mark else ()), **settings) as server:
        yield server
    cassette = request.node.stash.get(_cassette, None)
    if request.node.stash.get(_failed, True) or (cassette and cassette.replays_only):
        return
    failure = None
    try:
        server.verify()
    except AssertionError as error:
        failure = str(error)
    if failure:
        pytest.fail(failure, False)


@pytest.fixture
def kimi_model_settings() -> dict[str, Any]:
    """The arguments of `kimi_model`, to override."""
    return {"model": "kimi-k3"}


@pytest.fixture
def kimi_model(request: pytest.FixtureRequest, kimi_model_settings: dict[str, Any]) -> "ChatKimi":
    """A ChatKimi for the `kimi_server` of the test, else for the configured host, with the cassette if there is one."""
    from langchain_kimi import ChatKimi

    settings = dict(kimi_model_settings)
    if "kimi_server" in request.fixturenames:
        server = request.getfixturevalue("kimi_server")
        settings = {"base_url": server.url, "api_key": _PLACEHOLDER_KEY, **settings}
    elif "kimi_cassette" in request.fixturenames:
        request.getfixturevalue("kimi_cassette")
    return ChatKimi(**settings)


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _record_advice(test: str, path: Path) -> str:
    """The command that records the cassette of a test."""
    purpose, mode = ("If the change is intended, record again", "all") if path.exists() else ("Record it", "once")
    outside = "where CI is not set, and commit the file" if _in_ci() else ""
    return f"{purpose}: pytest '{test}' --kimi-record={mode} {outside}".rstrip()


def _options(node: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The options of a test. Its nearest marker has precedence over outer ones and over the config."""
    options = dict(config)
    for mark in reversed(list(node.iter_markers("kimi_cassette"))):
        options |= mark.kwargs
        if mark.args:
            options["name"] = mark.args[0]
    if unknown := sorted(options.keys() - _OPTIONS):
        known = ", ".join(sorted(_OPTIONS))
        pytest.fail(f"kimi_cassette has no option {', '.join(unknown)}. The options are {known}.", False)
    return options


def _name(node: Any) -> str:
    """The file name of a test: its class and parameters, without characters that file systems do not allow."""
    name = f"{node.cls.__name__}.{node.name}" if getattr(node, "cls", None) else str(node.name)
    name = re.sub(r"[<>?%*:|\"'/\\\x00-\x1f]", "-", name)
    if len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    return f"{name.encode()[:_MAX_NAME_BYTES].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _fail_if_not_matching(cassette: "Cassette", allow_unplayed: bool) -> None:
    """Fails a test that passed although its requests do not match the cassette."""
    if cassette.misses:
        from langchain_kimi.testing.replay_failures import failure_text

        pytest.fail(failure_text(cassette.misses), False)
    if cassette.unplayed and not allow_unplayed and cassette.record != "all":
        names = "\n".join(f"  {interaction.name}" for interaction in cassette.unplayed)
        pytest.fail(
            f"{len(cassette.unplayed)} recorded requests of {cassette.path} were never sent:\n{names}\n"
            "Record again with --kimi-record=all, or allow it with kimi_cassette(allow_unplayed=True).",
            False,
        )
