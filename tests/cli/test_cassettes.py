"""`langchain-kimi cassettes`: exit status and what is printed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from langchain_kimi import ChatKimi
from langchain_kimi.testing import KimiServer, refused, said, thought
from langchain_kimi.testing.cassettes import Cassette
from langchain_kimi.testing.cassettes.cassette_file import load_cassette, save_cassette
from tests.cli.conftest import Run
from tests.cli.controls import EVIL, without_controls
from tests.conftest import KEY
from tests.testing.cassettes.foreign_recordings import go_vcr


@pytest.fixture
def recorded(serve: Callable[..., KimiServer], tmp_path: Path) -> Path:
    path = tmp_path / "cassettes" / "test.kimi.yaml"
    script = [thought("Hm.\nWell.").saying("Hi there"), said("Bye"), refused(400, "content_filter", "high risk")]
    model = ChatKimi(model="kimi-k2.6", base_url=serve(script).url, api_key=KEY, max_retries=0)
    with Cassette(path, record="once"):
        answer = model.invoke("Hello?")
        model.invoke([("user", "Hello?"), answer, ("user", "Go.")])
        with pytest.raises(Exception, match="high risk"):
            model.invoke("Boo!")
    return path


def test_check_of_good_recordings_is_0(recorded: Path, run: Run) -> None:
    result = run("cassettes", "check", str(recorded.parent))
    assert result.status == 0
    assert result.out == f"{recorded}: clean\n1 cassette: clean\n"


def test_check_of_a_bad_recording_is_1_and_names_it(recorded: Path, run: Run) -> None:
    interactions = load_cassette(recorded)
    interactions[0].request["json"]["top_p"] = 0.5
    save_cassette(recorded, interactions)
    result = run("cassettes", "check", str(recorded))
    assert result.status == 1
    out = result.out
    assert f"{recorded}: interaction 1: [rules] at `top_p`: invalid top_p" in out
    assert run("cassettes", "check", "--skip", "rules", str(recorded)).status == 0


@pytest.mark.parametrize("arguments", [["nothing.kimi.yaml"], ["."], [".", "--skip", "rule"]])
def test_check_of_nothing_is_2(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("cassettes", "check", *arguments)
    assert result.status == 2
    assert result.error


def test_show_prints_each_message_once(recorded: Path, run: Run) -> None:
    result = run("cassettes", "show", str(recorded))
    assert result.status == 0
    out = result.out
    for line in (
        "── 1. POST /v1/chat/completions → 200",
        "   user: Hello?",
        "   assistant thinks: Hm.",
        "      Well.",
        "   assistant: Hi there",
        "   (… 1 earlier messages)",
        "   user: Go.",
        "── 3. POST /v1/chat/completions → 400",
        "   refused: high risk",
    ):
        assert out.count(f"{line}\n") == 1, line


def test_diff_tells_what_was_asked_and_answered_otherwise(
    recorded: Path, serve: Callable[..., KimiServer], tmp_path: Path, run: Run
) -> None:
    result = run("cassettes", "diff", str(recorded), str(recorded))
    assert result.status == 0
    assert result.out == ""
    other = tmp_path / "other.kimi.yaml"
    with Cassette(other, record="once"):
        ChatKimi(model="kimi-k2.6", base_url=serve([said("Ho there")]).url, api_key=KEY).invoke("Hello!")
    result = run("cassettes", "diff", str(recorded), str(other))
    assert result.status == 1
    out = result.out
    assert '1. request.json.messages[0].content: first "Hello?", second "Hello!"\n' in out
    assert '1. response.text: first "Hi there", second "Ho there"\n' in out
    assert "the first has 3 interactions, the second 1\n" in out


def test_import_reads_a_file_or_a_folder(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "from" / "deep" / "one.v2.yaml"
    source.parent.mkdir(parents=True)
    source.write_text(yaml.dump(go_vcr(2)))
    one = run("cassettes", "import", str(source), str(tmp_path / "one.kimi.yaml"))
    folder = run("cassettes", "import", str(tmp_path / "from"), str(tmp_path / "to"))
    for result in (one, folder):
        assert result.status == 0
        assert result.out.count(": 1 interactions\n") == 1
    assert (tmp_path / "to" / "deep" / "one.v2.kimi.yaml").read_text() == (tmp_path / "one.kimi.yaml").read_text()


def test_import_of_what_is_no_recording_is_2(tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    imported = run("cassettes", "import", str(tmp_path / "a.yaml"), str(tmp_path / "b.kimi.yaml"))
    assert imported.status == 2
    assert "contains no interactions" in imported.error
    shown = run("cassettes", "show", str(tmp_path / "a.yaml"))
    assert shown.status == 2
    assert "is not a cassette of this package" in shown.error


def test_what_a_cassette_holds_cannot_steer_the_terminal(
    serve: Callable[..., KimiServer], tmp_path: Path, run: Run
) -> None:
    paths = [tmp_path / f"{name}.kimi.yaml" for name in ("one", "two")]
    for path in paths:
        server = serve([said(f"{EVIL}{path.name}", thinking=EVIL)])
        with Cassette(path, record="all"):
            ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=KEY).invoke(EVIL)
    for command in (["show", str(paths[0])], ["diff", *map(str, paths)], ["check", *map(str, paths)]):
        assert without_controls(run("cassettes", *command))
