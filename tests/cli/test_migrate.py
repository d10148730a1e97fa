"""`langchain-kimi migrate`: what another model would refuse or change in recordings, and the money by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.messages import AIMessage, ToolMessage

from langchain_kimi import ChatKimi, KimiError, ReasoningLog
from langchain_kimi.testing import KimiServer, refused, said, thought
from langchain_kimi.testing.cassettes import Cassette
from tests.cli.conftest import Run
from tests.cli.controls import EVIL, without_controls
from tests.conftest import KEY, add
from tests.testing.cassettes.foreign_recordings import go_vcr

ROOT = Path(__file__).parents[2]
EXAMPLE = "examples/testing/cassettes/test_app/test_butter_is_what_limits_shortbread.kimi.yaml"
USER = {"role": "user", "content": "Hello?"}
VCRPY = "tests/testing/cassettes/cassettes/test_vcrpy_cassette/test_agent_replays_without_a_server.yaml"

# The usage of both recordings as it stands in their files: input, cached, output.
K3_CALLS = [(195, 0, 12), (272, 0, 24), (419, 256, 15), (488, 256, 20)]
K26_CALLS = [(58, 0, 10), (118, 0, 7)]


def dollars(calls: list[tuple[int, int, int]], hit: float, miss: float, output: float) -> float:
    """The price of so many tokens, by dollars per million."""
    return sum((read - cached) * miss + cached * hit + wrote * output for read, cached, wrote in calls) / 1_000_000


def rows(out: str) -> dict[str, list[str]]:
    """The cells of the table by the first of each line."""
    table = out[out.index("run  ") :].splitlines()
    return {line.split()[0]: line.split()[1:] for line in table[1:]}


def test_the_projects_own_recordings_with_kimi_k3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("migrate", "--to", "kimi-k3", EXAMPLE, VCRPY)
    assert result.status == 0
    uncached = [(read, 0, wrote) for read, _, wrote in K3_CALLS]
    k3, k26 = (0.3, 3.0, 15.0), (0.16, 0.95, 4.0)
    then = [dollars(K3_CALLS, *k3), dollars(K26_CALLS, *k26)]
    now = [dollars(K3_CALLS, *k3), dollars(K26_CALLS, *k3)]
    now_uncached = [dollars(uncached, *k3), dollars(K26_CALLS, *k3)]
    table = rows(result.out)
    assert table[EXAMPLE] == ["4", "0", "0", f"{then[0]:.6f}", f"{now[0]:.6f}", f"{now_uncached[0]:.6f}"]
    assert table[VCRPY] == ["2", "0", "0", f"{then[1]:.6f}", f"{now[1]:.6f}", f"{now_uncached[1]:.6f}"]
    assert table["total"] == ["6", "0", "0", f"{sum(then):.6f}", f"{sum(now):.6f}", f"{sum(now_uncached):.6f}"]
    assert "as many tokens come from the cache as were recorded; uncached: none do." in result.out
    for name, old, new in [
        ("window", "262,144 tokens", "1,048,576 tokens"),
        ("thinks", "unless it is switched off", "always"),
        ("effort", "none to choose", "low/high/max, max by default"),
        ("USD/M cache writes", "not billed", "3 (5 minutes), 6 (1 hour)"),
    ]:
        assert f"  {name:25}  {old} → {new}\n" in result.out


def test_a_folder_gives_the_same_as_its_files_and_passes_over_what_is_no_recording(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "examples" / "testing")  # has model.yaml, a script
    result = run("migrate", "--to", "kimi-k2.6", ".")
    assert result.status == 0
    then, now = dollars(K3_CALLS, 0.3, 3.0, 15.0), dollars(K3_CALLS, 0.16, 0.95, 4.0)
    (first, total) = rows(result.out)[EXAMPLE.removeprefix("examples/testing/")], rows(result.out)["total"]
    assert first == total
    assert first[3:5] == [f"{then:.6f}", f"{now:.6f}"]
    assert "kimi-k2.6 is reported to be retired" in result.out


@pytest.fixture
def recorded(serve: Callable[..., KimiServer], tmp_path: Path) -> Callable[..., Path]:
    """Records a call of the model with a prompt, tools and settings."""

    def record(name: str = "one.kimi.yaml", *, script: Any = None, prompt: Any = "Hi!", **settings: Any) -> Path:
        server = serve(script or [said("Hi.")], models=["moonshot-v1-8k"])
        tools, choice = settings.pop("tools", None), settings.pop("tool_choice", None)
        model: Any = ChatKimi(**{"model": "kimi-k2.6", "base_url": server.url, "api_key": KEY, **settings})
        with Cassette(tmp_path / name, record="all"):
            (model.bind_tools(tools, tool_choice=choice) if tools else model).invoke(prompt)
        return tmp_path / name

    return record


Recorded = Callable[..., Path]


@pytest.mark.parametrize(
    ("settings", "target", "kind", "words"),
    [
        ({"thinking": False}, "kimi-k3", "refused", "kimi-k3 always thinks; thinking='low' is the least it does."),
        ({"model": "kimi-k3", "thinking": "low"}, "kimi-k2.6", "refused", "kimi-k2.6 takes no effort, not 'low'."),
        (
            {"model": "kimi-k3", "tools": [add], "tool_choice": "required"},
            "kimi-k2.6",
            "changes",
            "tool_choice='required' is not taken while kimi-k2.6 thinks, so 'auto' is sent",
        ),
        (
            {"model": "moonshot-v1-8k", "temperature": 0.2},
            "kimi-k3",
            "changes",
            "temperature=0.2 is dropped: kimi-k3 takes only temperature=1.0 here.",
        ),
        (
            {"model": "moonshot-v1-8k", "max_tokens": 500},
            "kimi-k3",
            "changes",
            "max_tokens=500 while kimi-k3 thinks: thinking counts as output",
        ),
        (
            {"model": "kimi-k3", "max_tokens": 300_000},
            "kimi-k2.6",
            "refused",
            "and its output cap of 300,000 exceeds the window of 262,144 of kimi-k2.6",
        ),
        (
            {
                "model": "moonshot-v1-8k",
                "prompt": [("user", "Count."), AIMessage("1, 2,", additional_kwargs={"partial": True})],
            },
            "kimi-k3",
            "changes",
            "it continues a text without reasoning; how kimi-k3, which thinks, does so is not known",
        ),
    ],
)
def test_what_the_other_model_refuses_or_does_otherwise_is_named_with_its_place(
    recorded: Recorded, run: Run, settings: dict[str, Any], target: str, kind: str, words: str
) -> None:
    path = recorded(**settings)
    result = run("migrate", "--to", target, str(path))
    assert f"{path}: request 1: {kind}: " in result.out
    assert words in result.out
    assert result.status == (1 if kind == "refused" else 0)


def test_a_thread_of_tool_calls_with_reasoning_is_taken_by_the_other_model(
    recorded: Recorded, run: Run, tmp_path: Path
) -> None:
    call: Any = {"id": "add:0", "name": "add", "args": {"a": 1, "b": 2}}
    asked = AIMessage("", tool_calls=[call], additional_kwargs={"reasoning_content": "A sum."})
    path = recorded(prompt=[("user", "1 + 2?"), asked, ToolMessage("3", tool_call_id="add:0")], tools=[add])
    assert "reasoning_content: A sum." in path.read_text()
    result = run("migrate", str(path))
    assert (result.status, rows(result.out)["total"][:3]) == (0, ["1", "0", "0"])


def test_a_model_without_a_price_is_said_to_be_unknown(run: Run, tmp_path: Path) -> None:
    recording = go_vcr(2)
    recording["interactions"][0]["request"]["body"] = json.dumps({"model": "gpt-9", "messages": [USER]})
    (tmp_path / "other.yaml").write_text(yaml.dump(recording))
    result = run("migrate", str(tmp_path))
    assert result.status == 0
    assert "gpt-9 → kimi-k3: gpt-9 is not in the catalogue\n" in result.out
    assert rows(result.out)["total"] == ["1", "0", "0", "unknown", "unknown", "unknown"]  # it has no usage either


def test_a_reasoning_log_is_compared_by_its_usage(run: Run, serve: Callable[..., KimiServer], tmp_path: Path) -> None:
    server = serve([thought("Hm.").saying("Hi."), said("Hi."), refused(400, "content_filter", "high risk")])
    model = ChatKimi(model="kimi-k2.6", base_url=server.url, api_key=KEY)  # type: ignore[arg-type]
    with ReasoningLog(tmp_path / "turns.jsonl") as log:
        model.invoke("Hi!", {"callbacks": [log]})
        model.invoke("Hi!", {"callbacks": [log]}, thinking=False)
        with pytest.raises(KimiError):
            model.invoke("Boo!", {"callbacks": [log]})
    result = run("migrate", str(tmp_path))
    assert result.status == 0
    calls = [(usage["prompt_tokens"], 0, usage["completion_tokens"]) for usage in server.usages if usage]
    path = str(tmp_path / "turns.jsonl")
    then, now = dollars(calls, 0.16, 0.95, 4.0), dollars(calls, 0.3, 3.0, 15.0)
    assert rows(result.out)[path] == ["3", "0", "1", f"{then:.6f}", f"{now:.6f}", f"{now:.6f}"]
    assert f"{path}: request 2: changes: the answer has no reasoning; kimi-k3 always thinks\n" in result.out


def test_a_prompt_beyond_the_other_models_window_is_refused(run: Run, tmp_path: Path) -> None:
    usage = {"input_tokens": 300_000, "output_tokens": 10, "total_tokens": 300_010}
    line = {"time": "", "run_id": "", "model": "kimi-k3", "reasoning": "Hm.", "usage": usage}
    (tmp_path / "turns.jsonl").write_text(f"{json.dumps(line)}\n")
    result = run("migrate", "--to", "kimi-k2.6", str(tmp_path))
    assert result.status == 1
    assert "refused: its prompt of 300,000 tokens exceeds the window of 262,144 of kimi-k2.6\n" in result.out


@pytest.mark.parametrize(("cap", "status"), [(131_072, 0), (100_000, 1)])
def test_a_cap_that_is_the_recorded_models_default_does_not_count_for_the_other_window(
    run: Run, tmp_path: Path, cap: int, status: int
) -> None:
    recording = go_vcr(2)
    message = {"role": "assistant", "content": "Hi.", "reasoning_content": "Hm."}
    recording["interactions"][0]["request"]["body"] = json.dumps(
        {"model": "kimi-k3", "messages": [USER], "max_completion_tokens": cap}
    )
    recording["interactions"][0]["response"]["headers"] = {"Content-Type": ["application/json"]}
    recording["interactions"][0]["response"]["body"] = json.dumps(
        {
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 200_000, "completion_tokens": 10, "total_tokens": 200_010},
        }
    )
    (tmp_path / "other.yaml").write_text(yaml.dump(recording))
    result = run("migrate", "--to", "kimi-k2.6", str(tmp_path))
    assert result.status == status
    assert rows(result.out)["total"][:2] == ["1", str(status)]


def test_json_has_the_same(recorded: Recorded, run: Run) -> None:
    path = recorded(thinking=False)
    result = run("migrate", "--json", str(path))
    assert result.status == 1
    printed = json.loads(result.out)
    (only,) = printed["runs"]
    assert (only["file"], only["calls"], only["findings"][0]["kind"]) == (str(path), 1, "refused")
    assert printed["total"]["money"] == only["money"]
    assert printed["differences"]["kimi-k2.6"]["window"] == ["262,144 tokens", "1,048,576 tokens"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nowhere.kimi.yaml", "nowhere.kimi.yaml: No such file or directory. Check the path."),
        (".", "there are no recordings or reasoning logs in .."),
        ("--to kimi-k4 .", "--to kimi-k4 is not in the catalogue, so nothing is known of it. Did you mean kimi-k3?"),
        ("--to kimi-k2.5 .", "--to kimi-k2.5: Kimi's platform retired kimi-k2.5 on 2026-08-31; its successor is"),
        ("", "the following arguments are required: PATH"),
    ],
)
def test_wrong_use_is_2_in_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("migrate", *arguments.split())
    assert result.status == 2
    assert words in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("broken.kimi.yaml", "format: kimi-cassette/1\ninteractions: [", "is not valid YAML"),
        ("broken.yaml", "interactions:\n- request: {method: POST}\n  response: {}\n", "is not in the format of VCR.py"),
        ("broken.jsonl", '{"time": "x", "run_id": "y"}\n', "line 1 is not a line of a reasoning log: 'model'"),
        ("half.jsonl", '{"time": "x", "run_id": "y", "model": "kimi-k3"}\n{"time"', "line 2 is not a line of a"),
    ],
)
def test_an_unreadable_file_is_a_line_of_its_own_and_the_others_are_compared(
    recorded: Recorded, run: Run, tmp_path: Path, name: str, content: str, words: str
) -> None:
    path = recorded()
    (tmp_path / name).write_text(content)
    result = run("migrate", str(tmp_path))
    assert result.status == 2
    assert result.err.startswith("langchain-kimi migrate: ")
    assert words in result.err
    assert result.err.count("\n") == 1
    assert str(path) in rows(result.out)


def test_text_of_a_recording_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    recording = go_vcr(2)
    body = {"model": EVIL, "messages": [USER], "tool_choice": "required"}
    recording["interactions"][0]["request"]["body"] = json.dumps(body)
    (tmp_path / "other.yaml").write_text(yaml.dump(recording))
    assert "\\x1b" in without_controls(run("migrate", str(tmp_path)))
