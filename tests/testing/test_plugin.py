"""The pytest plugin as its users run it: in a process of its own, on files of the test's own."""

import os
import re
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from langchain_kimi.testing import KimiServer, said
from langchain_kimi.testing.cassettes.cassette_file import load_cassette
from tests import forks
from tests.conftest import Serve

PLUGIN = "langchain_kimi.testing.plugin"
LOADED = any(entry.value == PLUGIN for entry in entry_points(group="pytest11"))

HELLO = """
    import pytest

    @pytest.mark.kimi_cassette
    def test_hello(kimi_model):
        assert kimi_model.invoke("Hello?").text == "Hi"
"""


def pytest_in(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit status and output of a run of pytest."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MOONSHOT") and name != "CI"}
    plugins = ["langchain_kimi" if LOADED else PLUGIN, "pytest_asyncio.plugin", "recording", "no:cacheprovider"]
    options = ["--disable-plugin-autoload", *(f"-p{plugin}" for plugin in plugins), "-rA"]
    ended = forks.run(forks.as_pytest, *options, *arguments, folder=folder, env=kept | environment)
    return ended.status, ended.output


def write(folder: Path, **files: str) -> Path:
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\naddopts = --strict-markers\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


def live(server: KimiServer) -> dict[str, str]:
    return {"MOONSHOT_BASE_URL": server.url, "MOONSHOT_API_KEY": "sk-0123456789"}


def test_marked_test_is_recorded_on_request_and_replays_without_a_key(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, test_app=HELLO)
    server = serve([said("Hi")])
    status, out = pytest_in(tmp_path)
    assert status == 1
    assert re.search(r"cassettes.test_app.test_hello\.kimi\.yaml does not exist", out)
    assert "does not exist. Record it: pytest 'test_app.py::test_hello' --kimi-record=once" in out
    assert pytest_in(tmp_path, "--kimi-record=once", **live(server))[0] == 0
    server.close()
    assert pytest_in(tmp_path)[0] == 0
    assert len(load_cassette(tmp_path / "cassettes" / "test_app" / "test_hello.kimi.yaml")) == 1


def test_ci_never_records_and_says_so(serve: Serve, tmp_path: Path) -> None:
    server = serve([said("Hi")])
    status, out = pytest_in(write(tmp_path, test_app=HELLO), "--kimi-record=all", CI="true", **live(server))
    assert status == 1
    assert "CI is set, so cassettes are only replayed (--kimi-record=all is ignored)" in out
    assert server.requests == []


@pytest.mark.slow
def test_names_options_and_config_are_overridden_from_afar_to_near(serve: Serve, tmp_path: Path) -> None:
    config = """
        import pytest

        @pytest.fixture(scope="session")
        def kimi_cassette_config():
            return {"ignore": ["timestamps"], "record": "once"}

        @pytest.fixture(scope="session")
        def kimi_model_settings():
            return {"model": "kimi-k3"}
    """
    app = """
        import pytest

        pytestmark = pytest.mark.kimi_cassette(rechunk=3)
        day = "2026-11-20"

        @pytest.mark.kimi_cassette("shared")
        def test_one(kimi_model, kimi_cassette):
            assert kimi_cassette.path.name == "shared.kimi.yaml"
            assert kimi_model.invoke(f"It is {day}.").text == "Hi"

        class TestIn:
            @pytest.mark.parametrize("text", ["a/b: c?"])
            @pytest.mark.kimi_cassette(ignore=["$.messages"])
            async def test_two(self, text, kimi_model):
                assert (await kimi_model.ainvoke(text)).text == "Hi"
    """
    write(tmp_path, conftest=config, test_app=app)
    server = serve([said("Hi"), said("Hi")])
    assert pytest_in(tmp_path, **live(server))[0] == 0
    assert [request.model for request in server.requests] == ["kimi-k3", "kimi-k3"]
    (tmp_path / "test_app.py").write_text((tmp_path / "test_app.py").read_text().replace("2026-11-20", "2027-01-01"))
    status, out = pytest_in(tmp_path)
    assert status == 0, out
    names = sorted(path.name for path in (tmp_path / "cassettes" / "test_app").iterdir())
    assert names == ["TestIn.test_two[a-b- c-].kimi.yaml", "shared.kimi.yaml"]


@pytest.mark.slow
def test_left_over_recording_fails_the_test_unless_that_is_declared(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, test_app=HELLO)
    server = serve([said("Hi"), said("Hi")])
    twice = HELLO + '        assert kimi_model.invoke("Hello?").text == "Hi"\n'
    write(tmp_path, test_app=twice)
    assert pytest_in(tmp_path, "--kimi-record=once", **live(server))[0] == 0
    write(tmp_path, test_app=HELLO)
    status, out = pytest_in(tmp_path)
    assert status == 1
    assert "1 recorded requests of" in out
    assert "were never sent" in out
    write(tmp_path, test_app=HELLO.replace("kimi_cassette", "kimi_cassette(allow_unplayed=True)"))
    assert pytest_in(tmp_path)[0] == 0


@pytest.mark.slow
def test_difference_that_the_app_swallowed_fails_the_test(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, test_app=HELLO)
    assert pytest_in(tmp_path, "--kimi-record=once", **live(serve([said("Hi")])))[0] == 0
    swallowing = """
        import pytest

        @pytest.mark.kimi_cassette(allow_unplayed=True)
        def test_hello(kimi_model):
            try:
                kimi_model.invoke("Bye?")
            except Exception:
                pass
    """
    write(tmp_path, test_app=swallowing)
    status, out = pytest_in(tmp_path)
    assert status == 1
    assert 'messages[0].content: recorded "Hello?", sent "Bye?"' in out


@pytest.mark.slow
def test_audit_fixture_fails_a_recording_that_breaks_a_rule(tmp_path: Path, serve: Serve) -> None:
    app = """
        import httpx2, os, pytest

        pytestmark = [pytest.mark.kimi_cassette, pytest.mark.usefixtures("kimi_audit")]

        def test_raw():
            body = {"model": "kimi-k2.6", "temperature": 0.3, "messages": [{"role": "user", "content": "Hello?"}]}
            url = os.environ["MOONSHOT_BASE_URL"] + "/chat/completions"
            httpx2.post(url, json=body, headers={"authorization": "Bearer sk-0123456789"})
    """
    status, out = pytest_in(write(tmp_path, test_app=app), "--kimi-record=once", **live(serve([said("Hi")])))
    assert status == 1
    assert "interaction 1: [rules] at `temperature`: invalid temperature: only 1 is allowed" in out


@pytest.mark.slow
def test_server_fixture_plays_the_marks_script_and_wants_all_of_it_asked(tmp_path: Path) -> None:
    app = """
        import pytest
        from langchain_kimi.testing import said

        @pytest.mark.kimi_server([said("Hi")], api_key="sk-none-needed-to-replay")
        def test_played(kimi_model, kimi_server):
            assert kimi_model.invoke("Hello?").text == "Hi"
            assert kimi_server.requests[0].last["content"] == "Hello?"

        @pytest.mark.kimi_server([said("Hi")])
        def test_marked_only(kimi_model):
            assert kimi_model.invoke("Hello?").text == "Hi"

        @pytest.mark.kimi_server([said("Hi")])
        def test_not_played():
            pass
    """
    status, out = pytest_in(write(tmp_path, test_app=app))
    assert status == 1
    assert re.search("3 passed, .*1 error", out)
    assert "ERROR test_app.py::test_not_played" in out
    assert "During handling" not in out


@pytest.mark.slow
def test_test_with_both_marks_is_recorded_from_its_server_and_replayed_without_it(tmp_path: Path) -> None:
    app = """
        import pytest
        from langchain_kimi.testing import said

        @pytest.mark.kimi_server([said("Hi")])
        @pytest.mark.kimi_cassette
        def test_hello(kimi_model, kimi_server, request):
            assert kimi_model.invoke("Hello?").text == "Hi"
            recording = request.config.getoption("--kimi-record") == "once"
            assert len(kimi_server.requests) == recording
    """
    folder = write(tmp_path, test_app=app)
    for arguments in (["--kimi-record=once"], []):
        status, out = pytest_in(folder, *arguments)
        assert status == 0, out
    assert len(load_cassette(tmp_path / "cassettes" / "test_app" / "test_hello.kimi.yaml")) == 1


@pytest.mark.slow
def test_works_beside_pytest_recording_in_one_run_and_one_test(serve: Serve, tmp_path: Path) -> None:
    app = """
        import os, pytest, requests

        def look():
            headers = {"authorization": "Bearer x-0123456789"}
            return requests.get(os.environ["SITE"] + "/v1/models", headers=headers).json()

        @pytest.mark.vcr
        def test_theirs():
            assert look()["object"] == "list"

        @pytest.mark.kimi_cassette
        def test_ours(kimi_model):
            assert kimi_model.invoke("Hello?").text == "Hi"

        @pytest.mark.vcr
        @pytest.mark.kimi_cassette
        def test_both(kimi_model):
            assert kimi_model.invoke("Hello?").text == "Hi"
            assert look()["object"] == "list"
    """
    write(tmp_path, test_app=app)
    server = serve([said("Hi"), said("Hi")])
    site = {"SITE": server.url.removesuffix("/v1")}
    status, out = pytest_in(tmp_path, "--kimi-record=once", "--record-mode=once", **live(server), **site)
    assert status == 0, out
    server.close()
    status, out = pytest_in(tmp_path, "--block-network", **site)
    assert status == 0, out
    names = sorted(path.name for path in (tmp_path / "cassettes" / "test_app").iterdir())
    assert names == ["test_both.kimi.yaml", "test_both.yaml", "test_ours.kimi.yaml", "test_theirs.yaml"]


@pytest.mark.slow
def test_unknown_option_is_named(tmp_path: Path) -> None:
    status, out = pytest_in(write(tmp_path, test_app=HELLO.replace("kimi_cassette", "kimi_cassette(ignored=[])")))
    assert status == 1
    assert "kimi_cassette has no option ignored. The options are allow_unplayed" in out


def test_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("langchain_core", "langgraph", "httpx2", "httpx", "yaml", "vcr", "openai", "anyio", "rich")
    (tmp_path / "test_x.py").write_text(
        f"import sys\n\ndef test_x():\n    assert [name for name in {heavy!r} if name in sys.modules] == []\n"
    )
    # Other plugins of this environment load much, so none but ours is let in.
    status, out = _alone(tmp_path, "")
    assert status == 0, out


@pytest.mark.parametrize("missing", ["yaml", pytest.param("anyio", marks=pytest.mark.slow)])
def test_missing_extra_is_told_in_one_line_where_a_fixture_is_used(missing: str, tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text("def test_x(kimi_cassette):\n    pass\n\ndef test_y():\n    pass\n")
    status, out = _alone(tmp_path, f"sys.modules[{missing!r}] = None; ")
    assert status == 1
    assert "pip install 'langchain-kimi-agent[testing]'" in out
    assert "Traceback" not in out
    assert "1 passed, 1 error" in out


def _alone(folder: Path, before: str) -> tuple[int, str]:
    code = f"import sys; {before}import pytest; sys.exit(pytest.main(['-p', {PLUGIN!r}, '-p', 'no:cacheprovider']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_example_is_recorded_on_a_server_process_and_replayed_without_it(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "testing"
    for name in ("app.py", "test_app.py"):
        (tmp_path / name).write_text((example / name).read_text())
    command = [sys.executable, "-m", "langchain_kimi", "serve", "--script", str(example / "model.yaml")]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        recording = pytest_in(tmp_path, "--kimi-record=all", MOONSHOT_BASE_URL=url, MOONSHOT_API_KEY="sk-0123456789")
    finally:
        server.kill()
        server.communicate()
    assert recording[0] == 0, recording[1]
    assert pytest_in(tmp_path)[0] == 0
    app = tmp_path / "app.py"
    app.write_text(app.read_text().replace("You help in a kitchen", "You are a pirate in a kitchen"))
    status, out = pytest_in(tmp_path)
    assert status == 1
    assert 'recorded "You help in a kitchen. Use the tools for every number.", sent "You are a pirate' in out


@pytest.mark.slow
def test_example_as_it_is_shipped_passes_and_its_audit_is_clean() -> None:
    status, out = pytest_in(Path(__file__).parents[2] / "examples" / "testing", "-n0")
    assert status == 0, out
