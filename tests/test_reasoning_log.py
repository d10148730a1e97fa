"""`ReasoningLog`: one line of JSON for every answer and every failure, with nothing secret in it."""

import asyncio
import io
import json
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_kimi import KimiError, ReasoningLog, cost_of, create_kimi_agent
from langchain_kimi.errors import AnswerCutShort
from langchain_kimi.testing import called, cut_after, overloaded, raw_call, said, stall, thought
from tests.conftest import KEY, Serve, add, kimi


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


async def test_every_turn_of_an_agent_is_a_line(serve: Serve, tmp_path: Path) -> None:
    turn = [thought("Eine Summe.\u2028").saying("I add.").calling("add", a=2, b=3), thought("Fünf.").saying("5")]
    server = serve(turn * 2)
    before = datetime.now(UTC)
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        agent = create_kimi_agent(kimi(server), [add], checkpointer=InMemorySaver(), name="adder")
        config: Any = {"configurable": {"thread_id": "t1"}, "callbacks": [log]}
        state = agent.invoke({"messages": [("user", "2 + 3?")]}, config)
        await agent.ainvoke({"messages": [("user", "2 + 3?")]}, {**config, "configurable": {"thread_id": "t2"}})
    logged = lines(tmp_path / "log.jsonl")
    assert [line["thread_id"] for line in logged] == ["t1", "t1", "t2", "t2"]
    first, last = logged[:2]
    answers = [message for message in state["messages"] if isinstance(message, AIMessage)]
    assert (first["reasoning"], first["content"], first["finish_reason"]) == (
        "Eine Summe.\u2028",
        "I add.",
        "tool_calls",
    )
    arguments = answers[0].additional_kwargs["kimi_calls"][0]["arguments"]
    assert first["tool_calls"] == [{"id": answers[0].tool_calls[0]["id"], "name": "add", "arguments": arguments}]
    assert (last["reasoning"], last["content"], last["tool_calls"]) == ("Fünf.", "5", [])
    for line, answer in zip(logged, answers, strict=False):
        assert line["usage"] == answer.usage_metadata
        assert math.isclose(line["cost_usd"], cost_of(answer.usage_metadata, "kimi-k2.6") or -1)
        assert line["request_id"] == answer.response_metadata["request_id"]
        assert (line["model"], line["agent"], line["node"]) == ("kimi-k2.6", "adder", "model")
        assert line["run_id"] != line["parent_run_id"]
        assert 0 <= line["seconds"] < 60
        assert before - timedelta(seconds=1) <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    assert "error" not in first


async def test_the_same_is_logged_in_four_ways(serve: Serve, tmp_path: Path) -> None:
    server = serve([thought("Hm.").saying("Yes.").calling("add", a=1)] * 4)
    log = ReasoningLog(tmp_path / "log.jsonl")
    model = kimi(server).with_config(callbacks=[log])
    model.invoke("Go on.")
    list(model.stream("Go on."))
    await model.ainvoke("Go on.")
    [chunk async for chunk in model.astream("Go on.")]
    logged = lines(tmp_path / "log.jsonl")  # flushed by the line
    told = [(line["reasoning"], line["content"], line["tool_calls"][0]["arguments"]) for line in logged]
    assert told == [("Hm.", "Yes.", '{"a":1}')] * 4
    assert all(line["usage"] for line in logged)
    log.close()


def test_unreadable_arguments_are_logged_as_they_were_written(serve: Serve, tmp_path: Path) -> None:
    server = serve([raw_call("add", '{"a": oops').finish("tool_calls")] * 2)
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        kimi(server).invoke("Go on.", {"callbacks": [log]})
        list(kimi(server).stream("Go on.", {"callbacks": [log]}))
    assert [line["tool_calls"][0]["arguments"] for line in lines(tmp_path / "log.jsonl")] == ['{"a": oops'] * 2


async def test_failed_turns_are_lines_with_the_error_and_what_had_arrived(serve: Serve, tmp_path: Path) -> None:
    long = thought("A long thought about it all.").saying("And an answer.")
    server = serve([overloaded(), cut_after(long, events=4), thought("Only thoughts.").finish("length")])
    model = kimi(server)
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        config: Any = {"callbacks": [log]}
        with pytest.raises(KimiError):
            model.invoke("Go on.", config)
        with pytest.raises(KimiError):
            list(model.stream("Go on.", config))
        with pytest.raises(AnswerCutShort):
            await model.ainvoke("Go on.", config)
    refused, broken, cut = lines(tmp_path / "log.jsonl")
    assert (refused["error"]["type"], refused["error"]["status"]) == ("OverloadedError", 429)
    assert refused["request_id"]
    assert (refused["model"], broken["error"]["type"]) == ("kimi-k2.6", "BrokenStreamError")
    assert "A long thought about it all.".startswith(broken["reasoning"])
    assert broken["reasoning"]
    assert (cut["error"]["type"], cut["reasoning"], cut["finish_reason"]) == (
        "AnswerCutShort",
        "Only thoughts.",
        "length",
    )
    assert cut["usage"]["output_tokens"] > 0


async def test_a_cancelled_turn_is_a_line(serve: Serve, tmp_path: Path) -> None:
    server = serve([stall(thought("A long thought about it all."), after_events=3)])
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        stream = kimi(server).astream("Go on.", {"callbacks": [log]})
        begun = asyncio.Event()

        async def read() -> None:
            async for _ in stream:
                begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert [line["error"]["type"] for line in lines(tmp_path / "log.jsonl")] == ["CancelledError"]


def test_keys_are_taken_out_and_so_is_what_the_user_says(serve: Serve, tmp_path: Path) -> None:
    secret = thought(f"The key is {KEY}, ann@example.org").saying("Write to ann@example.org")
    server = serve([secret.calling("mail", to="ann@example.org", key=KEY)])
    with ReasoningLog(tmp_path / "a.jsonl", redact=lambda text: text.replace("ann@example.org", "<mail>")) as log:
        kimi(server).invoke("Go on.", {"callbacks": [log]})
    text = (tmp_path / "a.jsonl").read_text()
    assert KEY not in text
    assert "ann@" not in text
    assert text.count("<mail>") == 3
    assert KEY not in repr(log)


def test_a_redaction_that_fails_writes_nothing(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail(text: str) -> str:
        raise LookupError("no dictionary")

    with ReasoningLog(tmp_path / "a.jsonl", redact=fail) as log:
        assert kimi(serve([said("Secret.")])).invoke("Go on.", {"callbacks": [log]}).text == "Secret."
    assert lines(tmp_path / "a.jsonl") == []
    assert "no dictionary" in caplog.text


def test_long_texts_are_cut_and_the_cut_is_told(serve: Serve, tmp_path: Path) -> None:
    reply = thought("x" * 94 + " " + KEY).saying("y" * 100).calling("add", note="z" * 300)
    server = serve([reply, reply])
    with ReasoningLog(tmp_path / "a.jsonl", max_chars=100) as log:
        kimi(server).invoke("Go on.", {"callbacks": [log]})
    line = lines(tmp_path / "a.jsonl")[0]
    assert line["reasoning"] == "x" * 94 + " sk-**"  # taken out before it is cut
    assert len(line["tool_calls"][0]["arguments"]) == 100
    assert line["cut"] == {"reasoning": 1, "tool_calls[0].arguments": 311 - 100}
    with ReasoningLog(tmp_path / "b.jsonl", max_chars=None) as log:
        kimi(server).invoke("Go on.", {"callbacks": [log]})
    assert "cut" not in lines(tmp_path / "b.jsonl")[0]
    with pytest.raises(ValueError, match="max_chars"):
        ReasoningLog(tmp_path / "c.jsonl", max_chars=-1)


def test_it_writes_to_files_and_loggers_and_closes_only_its_own(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve([said("A 100 % answer.")] * 4)
    given, logger = io.StringIO(), logging.getLogger("test.turns")
    to_file, to_logger, to_path = (
        ReasoningLog(given),
        ReasoningLog(logger.info),
        ReasoningLog(str(tmp_path / "a.jsonl")),
    )
    with caplog.at_level("INFO", "test.turns"):
        kimi(server).invoke("Go on.", {"callbacks": [to_file, to_logger, to_path]})
    assert [json.loads(text)["content"] for text in (given.getvalue(), caplog.messages[-1])] == ["A 100 % answer."] * 2
    for log in (to_file, to_logger, to_path):
        log.close()
        log.close()
    assert not given.closed
    kimi(server).invoke("Go on.", {"callbacks": [to_file, to_logger, to_path]})
    assert given.getvalue().count("\n") == 1
    assert "ReasoningLog" not in caplog.text
    assert len(lines(tmp_path / "a.jsonl")) == 1
    with ReasoningLog(tmp_path / "a.jsonl") as again:
        kimi(server).invoke("Go on.", {"callbacks": [again]})
    assert len(lines(tmp_path / "a.jsonl")) == 2


def test_a_path_that_cannot_be_written_says_so_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ReasoningLog(tmp_path / "none" / "log.jsonl")


async def test_threads_and_tasks_share_a_log_without_mixing_lines(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda request: thought(str(request.last["content"]) * 500).saying(str(request.last["content"])))
    model = kimi(server)
    with ReasoningLog(tmp_path / "log.jsonl", max_chars=None) as log:
        config: Any = {"callbacks": [log]}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: model.invoke(f"{number},", config), range(20)))
        await asyncio.gather(*(model.ainvoke(f"{number},", config) for number in range(20, 40)))
    logged = lines(tmp_path / "log.jsonl")
    assert sorted(int(line["content"][:-1]) for line in logged) == list(range(40))
    assert all(line["reasoning"] == line["content"] * 500 for line in logged)


def test_any_chat_model_is_logged(tmp_path: Path) -> None:
    answer = AIMessage(
        [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Yes."}],
        tool_calls=[{"name": "add", "args": {"a": 1}, "id": "1"}],
    )
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        GenericFakeChatModel(messages=iter([answer])).invoke("Go on.", {"callbacks": [log]})
    line = lines(tmp_path / "log.jsonl")[0]
    assert (line["reasoning"], line["content"], line["usage"], line["cost_usd"]) == ("Hm.", "Yes.", None, None)
    assert line["tool_calls"] == [{"id": "1", "name": "add", "arguments": '{"a":1}'}]


def test_an_answer_out_of_the_cache_costs_nothing(serve: Serve, tmp_path: Path) -> None:
    model = kimi(serve([said("Yes.")]), cache=InMemoryCache())
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        for _ in range(2):
            model.invoke("Go on.", {"callbacks": [log]})
    paid, free = lines(tmp_path / "log.jsonl")
    assert paid["cost_usd"] > 0
    assert free["cost_usd"] == 0


def test_half_a_surrogate_pair_is_no_reason_to_lose_a_line(tmp_path: Path) -> None:
    with ReasoningLog(tmp_path / "log.jsonl") as log:
        GenericFakeChatModel(messages=iter([AIMessage("a\ud83d")])).invoke("Go on.", {"callbacks": [log]})
    assert lines(tmp_path / "log.jsonl")[0]["content"] == "a?"


def test_an_unflushed_log_is_whole_when_closed(serve: Serve, tmp_path: Path) -> None:
    log = ReasoningLog(tmp_path / "log.jsonl", flush=False)
    kimi(serve([called("add", a=1)])).invoke("Go on.", {"callbacks": [log]})
    assert lines(tmp_path / "log.jsonl") == []
    log.close()
    assert len(lines(tmp_path / "log.jsonl")) == 1
