"""`langchain-kimi cassettes`: exit status and what is printed."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from langchain_kimi import ChatKimi
from langchain_kimi.cli import main
from langchain_kimi.testing import KimiServer, refused, said, thought
from langchain_kimi.testing.cassettes import Cassette
from langchain_kimi.testing.cassettes.tape import load, save
from tests.cassettes.test_importing import go_vcr
from tests.conftest import KEY

Out = pytest.CaptureFixture[str]


@pytest.fixture
def recorded(serve: Callable[..., KimiServer], path: Path) -> Path:
    script = [thought("Hm.\nWell.").saying("Hi there"), said("Bye"), refused(400, "content_filter", "high risk")]
    model = ChatKimi(model="kimi-k2.6", base_url=serve(script).url, api_key=KEY, max_retries=0)
    with Cassette(path, record="once"):
        answer = model.invoke("Hello?")
        model.invoke([("user", "Hello?"), answer, ("user", "Go.")])
        with pytest.raises(Exception, match="high risk"):
            model.invoke("Boo!")
    return path


def test_check_of_good_recordings_is_0(recorded: Path, capsys: Out) -> None:
    assert main(["cassettes", "check", str(recorded.parent)]) == 0
    assert capsys.readouterr().out == f"{recorded}: clean\n1 cassettes: clean\n"


def test_check_of_a_bad_recording_is_1_and_names_it(recorded: Path, capsys: Out) -> None:
    interactions = load(recorded)
    interactions[0].request["json"]["top_p"] = 0.5
    save(recorded, interactions)
    assert main(["cassettes", "check", str(recorded)]) == 1
    out = capsys.readouterr().out
    assert f"{recorded}: interaction 1: [rules] at `top_p`: invalid top_p" in out
    assert main(["cassettes", "check", "--skip", "rules", str(recorded)]) == 0


@pytest.mark.parametrize("arguments", [["nothing.kimi.yaml"], ["."], [".", "--skip", "rule"]])
def test_check_of_nothing_is_2(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["cassettes", "check", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_show_prints_each_message_once(recorded: Path, capsys: Out) -> None:
    assert main(["cassettes", "show", str(recorded)]) == 0
    out = capsys.readouterr().out
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
    recorded: Path, serve: Callable[..., KimiServer], tmp_path: Path, capsys: Out
) -> None:
    assert main(["cassettes", "diff", str(recorded), str(recorded)]) == 0
    assert capsys.readouterr().out == ""
    other = tmp_path / "other.kimi.yaml"
    with Cassette(other, record="once"):
        ChatKimi(model="kimi-k2.6", base_url=serve([said("Ho there")]).url, api_key=KEY).invoke("Hello!")
    assert main(["cassettes", "diff", str(recorded), str(other)]) == 1
    out = capsys.readouterr().out
    assert '1. request.json.messages[0].content: first "Hello?", second "Hello!"\n' in out
    assert '1. response.text: first "Hi there", second "Ho there"\n' in out
    assert "the first has 3 interactions, the second 1\n" in out


def test_import_reads_a_file_or_a_folder(tmp_path: Path, capsys: Out) -> None:
    source = tmp_path / "from" / "deep" / "one.v2.yaml"
    source.parent.mkdir(parents=True)
    source.write_text(yaml.dump(go_vcr(2)))
    assert main(["cassettes", "import", str(source), str(tmp_path / "one.kimi.yaml")]) == 0
    assert main(["cassettes", "import", str(tmp_path / "from"), str(tmp_path / "to")]) == 0
    assert (tmp_path / "to" / "deep" / "one.v2.kimi.yaml").read_text() == (tmp_path / "one.kimi.yaml").read_text()
    assert capsys.readouterr().out.count(": 1 interactions\n") == 2


def test_import_of_what_is_no_recording_is_2(tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "a.yaml").write_text("a: 1")
    assert main(["cassettes", "import", str(tmp_path / "a.yaml"), str(tmp_path / "b.kimi.yaml")]) == 2
    assert "holds no interactions" in capsys.readouterr().err
    assert main(["cassettes", "show", str(tmp_path / "a.yaml")]) == 2
