"""A longer request is what it would be if nothing were remembered of the shorter one, whatever happened in between."""

import gc
import json
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_kimi import tokens
from langchain_kimi._hosts import DIALECTS
from langchain_kimi._raw_calls import CALLS, REASONING
from langchain_kimi._request import dynamic_tools_message, encode_request, encoded_messages, transcript
from langchain_kimi._request.encode_cache import EncodeCache, fingerprints_of
from langchain_kimi._request.repair import repair
from langchain_kimi._rules import check, checked_prefix, is_valid_prefix, whole_request
from langchain_kimi.errors import IllegalRequestError
from langchain_kimi.testing import called, said
from tests.conftest import kimi
from tests.request.random_transcripts import histories, judged

CHOSEN = {"model": "kimi-k2.6"}
PNG = "iVBORw0KGgoAAAANSUhEUg=="


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> EncodeCache:
    """A memory of each test's own."""
    own = EncodeCache()
    monkeypatch.setattr(transcript, "CACHE", own)
    return own


def rounds(count: int, start: int = 0) -> list[BaseMessage]:
    """Tool rounds as Kimi answers them."""
    messages: list[BaseMessage] = []
    for n in range(start, start + count):
        call = {"id": f"add:{n}", "name": "add", "args": {"a": n, "b": [1, {"c": 2}]}}
        kept = {
            REASONING: f"thought {n}",
            CALLS: [{"id": f"add:{n}", "name": "add", "arguments": json.dumps(call["args"])}],
        }
        messages.append(AIMessage("", tool_calls=[call], additional_kwargs=kept))
        messages.append(ToolMessage(f"result {n}", tool_call_id=f"add:{n}"))
    return messages


def anew(messages: list[BaseMessage], chosen: Any = CHOSEN, dialect: str = "kimi") -> Any:
    """The request as it is where nothing is remembered."""
    kept, transcript.CACHE = transcript.CACHE, EncodeCache()
    try:
        return encode_request(chosen, messages, stream=True, dialect=DIALECTS[dialect])
    finally:
        transcript.CACHE = kept


def outcome(work: Callable[[], Any]) -> Any:
    """What comes of it, or the words of its refusal."""
    try:
        return work()
    except (IllegalRequestError, TypeError) as error:
        return str(error)


def same(messages: list[BaseMessage], chosen: Any = CHOSEN, dialect: str = "kimi") -> Any:
    """The request, after it was compared with the one where nothing is remembered."""
    wanted = outcome(lambda: anew(messages, chosen, dialect))
    encoded = outcome(lambda: encode_request(chosen, messages, stream=True, dialect=DIALECTS[dialect]))
    if isinstance(wanted, str):
        assert encoded == wanted
        return None
    assert encoded.violations == wanted.violations == check(wanted.body)
    assert encoded.body == wanted.body
    assert list(encoded.body) == list(wanted.body)
    assert encoded.repairs == wanted.repairs
    assert (encoded.names, encoded.calls_made, encoded.schemas) == (wanted.names, wanted.calls_made, wanted.schemas)
    assert encoded.messages == wanted.messages
    if not wanted.violations:
        assert encoded.json == wanted.json
    return encoded


def remembered(messages: list[BaseMessage]) -> int:
    """How many messages of a transcript are known."""
    form = anew(messages).transcript._options
    return transcript.CACHE.find(form, fingerprints_of(messages)).repaired.length


@st.composite
def changes(draw: st.DrawFn, history: list[BaseMessage]) -> list[BaseMessage]:
    """The history as a program may leave it: messages gone, swapped, doubled, copied or changed in place."""
    changed = list(history)
    for _ in range(draw(st.integers(0, 2)) if changed else 0):
        at = draw(st.integers(0, len(changed) - 1))
        kind = draw(st.sampled_from(["text", "kept", "provider", "call", "id", "copy", "drop", "double"]))
        message = changed[at]
        if kind == "text":
            message.content = draw(st.sampled_from(["", "other", [{"type": "text", "text": "other"}]]))
        elif kind == "kept":
            message.additional_kwargs[REASONING] = draw(st.sampled_from(["", "other"]))
        elif kind == "provider":
            message.response_metadata["model_provider"] = draw(st.sampled_from(["moonshot", "other"]))
        elif kind == "call" and getattr(message, "tool_calls", None):
            message.tool_calls[0]["args"]["n"] = draw(st.sampled_from([1, True, 1.0, "1"]))
        elif kind == "id" and isinstance(message, ToolMessage):
            message.tool_call_id = draw(st.sampled_from(["add:0", "add:1", "other"]))
        elif kind == "copy":
            changed[at] = message.model_copy(deep=True)
        elif kind == "drop":
            del changed[at]
            break
        elif kind == "double":
            changed.insert(at, message)
    return changed


bodies = st.sampled_from(
    [
        {"model": "kimi-k2.6"},
        {"model": "kimi-k2.6", "thinking": False},
        {"model": "kimi-k2.6", "missing_reasoning": "raise"},
        {"model": "kimi-k3"},
        {"model": "moonshot-v1-8k"},
        {"model": "somebody/else", "k2_ids": True},
        {"model": "kimi-k2.5", "response_format": {"type": "json_object"}},
    ]
)


@judged
@given(data=st.data(), history=histories, more=histories, chosen=bodies, host=st.sampled_from(["kimi", "openrouter"]))
def test_a_grown_and_changed_transcript_is_encoded_repaired_and_judged_as_if_it_were_new(
    data: st.DataObject, history: list[BaseMessage], more: list[BaseMessage], chosen: Any, host: str
) -> None:
    kept, transcript.CACHE = transcript.CACHE, EncodeCache()
    try:
        history, more = deepcopy(history), deepcopy(more)
        same(history, chosen, host)
        for message in more:
            history = [*history, message]
            same(history, chosen, host)
        changed = data.draw(changes(history))
        same(changed, chosen, host)
        same([*changed, HumanMessage("and now?")], chosen, host)
        same(changed, data.draw(bodies), host)
    finally:
        transcript.CACHE = kept


@judged
@given(history=histories, more=histories, k2_ids=st.booleans())
def test_repair_goes_on_from_what_is_settled_as_from_the_start(
    history: list[BaseMessage], more: list[BaseMessage], k2_ids: bool
) -> None:
    prefix = repair(history, k2_ids=k2_ids).prefix
    grown = repair([*history, *more], k2_ids=k2_ids, after=prefix)
    whole = repair([*history, *more], k2_ids=k2_ids)
    assert grown == whole
    assert grown.prefix.copies == whole.prefix.copies
    assert [message.id for message in grown.messages] == [message.id for message in whole.messages]


wire_ids = st.sampled_from(["add:0", "add:1", "add:2", "", None])
wire_calls = st.fixed_dictionaries({"id": wire_ids, "type": st.just("function")})
box = {"type": "function", "function": {"name": "join", "parameters": {"type": "object", "properties": {}}}}
wire_messages = st.one_of(
    st.just({"role": "user", "content": "hi"}),
    st.just({"role": "developer", "content": "hi"}),
    st.just({"role": "system", "tools": [box]}),
    st.just({"role": "assistant", "content": "hi"}),
    st.just({"role": "assistant", "content": "", "partial": True}),
    st.just({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.y/z.png"}}]}),
    st.builds(
        lambda calls, thought: {"role": "assistant", "content": "", "tool_calls": calls, **thought},
        st.lists(wire_calls, max_size=2),
        st.sampled_from([{}, {"reasoning_content": "hm"}]),
    ),
    st.builds(lambda key: {"role": "tool", "tool_call_id": key, "content": "r"}, wire_ids),
    st.just(5),
)
whole_exchanges = st.integers(0, 2).map(
    lambda n: [
        {"role": "assistant", "reasoning_content": "hm", "tool_calls": [{"id": f"add:{n}", "type": "function"}]},
        {"role": "tool", "tool_call_id": f"add:{n}", "content": "r"},
    ]
)
wire_transcripts = st.lists(wire_messages.map(lambda one: [one]) | whole_exchanges, max_size=4).map(
    lambda groups: [one for group in groups for one in group]
)
requests = st.sampled_from(
    [
        {"model": "kimi-k2.6"},
        {"model": "kimi-k3", "tools": [box]},
        {"model": "kimi-k3", "tool_choice": "required"},
        {"model": "kimi-k2.6", "thinking": {"type": "disabled"}},
        {"model": "kimi-k2.6", "response_format": {"type": "json_object"}},
        {"model": "moonshot-v1-8k", "stop": ["x"] * 6},
        {"model": "somebody/else"},
    ]
)


@judged
@given(start=wire_transcripts, more=wire_transcripts, first=requests, second=requests, cut=st.integers(0, 8))
def test_checking_behind_a_checked_prefix_finds_what_checking_the_whole_finds(
    start: list[Any], more: list[Any], first: Any, second: Any, cut: int
) -> None:
    prefix = None if check({**first, "messages": start}) else checked_prefix({**first, "messages": start}, len(start))
    new = {**second, "messages": more}
    if prefix is None or not is_valid_prefix(prefix, new):
        return
    violations = check({**second, "messages": start + more})
    assert check(new, after=prefix) == violations
    longer = checked_prefix(new, min(cut, len(more)), prefix)
    if longer is not None and not violations:
        assert check({**second, "messages": start + more[:cut]}) == []
        assert longer == checked_prefix({**second, "messages": start + more[:cut]}, len(start + more[:cut]))


def test_rules_on_the_whole_request_see_the_prefix_too() -> None:
    joins = {"role": "system", "tools": [box]}
    request = {"model": "kimi-k3", "messages": [joins, *anew(rounds(2)).body["messages"]]}
    prefix = checked_prefix(request, 5)
    assert prefix
    again = {**request, "messages": [request["messages"][1], {"role": "tool", "tool_call_id": "add:0", "content": "r"}]}
    assert [(one.rule, one.path) for one in check({**again, "tools": [box]}, after=prefix)] == [
        ("duplicate_function", "messages[0].tools[0].function.name"),
        ("duplicate_call_id", "messages[5].tool_calls[0].id"),
    ]
    assert check({**request, "messages": [], "tool_choice": "required"}, after=prefix) == []
    assert [one.rule for one in check({**request, "messages": []}, size=200_000_000, after=prefix)] == ["body_size"]


def test_the_size_of_a_request_counts_its_known_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [HumanMessage("x" * 3_000), *rounds(1)]
    same(history)
    assert remembered(history) == len(history)
    monkeypatch.setattr(whole_request, "MAX_REQUEST_BYTES", 3_500)
    refused = encode_request(CHOSEN, [*history, HumanMessage("y" * 300)], stream=True)
    assert [(one.rule, one.path) for one in refused.violations] == [
        ("body_size", f"body of {len(refused.json):,} bytes")
    ]


def test_the_prefix_of_an_agent_stays_valid() -> None:
    """Otherwise the whole request would be encoded and checked again."""
    request = {"model": "kimi-k2.6", "messages": anew([HumanMessage("go"), *rounds(2)]).body["messages"]}
    prefix = checked_prefix(request, 5)
    assert prefix
    for messages in (anew(rounds(1, 2)).body["messages"], [], [{"role": "user", "content": "and?"}]):
        assert is_valid_prefix(prefix, {**request, "messages": messages})
        assert checked_prefix({**request, "messages": messages}, len(messages), prefix)


@pytest.mark.parametrize("model", ["kimi-k2.6", "kimi-k3", "somebody/else"])
def test_a_known_beginning_is_not_encoded_again(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    history = [SystemMessage("Be brief."), HumanMessage("go"), *rounds(20)]
    encode_request({"model": model}, history, stream=True)
    asked: list[BaseMessage] = []
    encode = encoded_messages.encode_message
    monkeypatch.setattr(
        encoded_messages, "encode_message", lambda one, **form: asked.append(one) or encode(one, **form)
    )
    new = rounds(1, 20)
    grown = encode_request({"model": model}, [*history, *new], stream=True)
    assert asked == new
    monkeypatch.undo()
    assert grown.json == orjson.dumps(grown.body)


@pytest.mark.parametrize("more", [rounds(1, 20), [HumanMessage("go on")]], ids=["round", "question"])
def test_a_conversation_beyond_the_window_is_counted_once(
    more: list[BaseMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = [HumanMessage("word " * 200_000), *rounds(20)]
    same(history)
    counted: list[BaseMessage] = []
    count = tokens.count_message
    monkeypatch.setattr(tokens, "count_message", lambda one: counted.append(one) or count(one))
    grown = encode_request(CHOSEN, [*history, *more], stream=True)
    assert counted == more
    monkeypatch.undo()
    assert grown.transcript.count_certain() == tokens.count_certain([*history, *more])
    assert grown.fit == anew([*history, *more]).fit


def test_a_history_that_needs_repair_is_remembered_too() -> None:
    image = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    history = [HumanMessage([{"type": "text", "text": "see"}, image]), *rounds(3), rounds(1, 3)[0], *rounds(2, 4)]
    encoded = same(history)
    assert [made.rule for made in encoded.repairs] == ["missing_result"]
    assert remembered(history) == len(history)
    assert same([*history, *rounds(1, 6)]).repairs == encoded.repairs


def test_a_chat_without_tools_is_remembered_up_to_the_last_answer() -> None:
    history = [HumanMessage("hi"), AIMessage("hello"), HumanMessage("and?")]
    same(history)
    assert remembered(history) == 2
    assert remembered([*history[:2], SystemMessage("a reminder of now")]) == 2


def test_messages_out_of_a_checkpointer_are_recognised() -> None:
    history = [HumanMessage("go"), *rounds(3)]
    same(history)
    assert remembered([message.model_copy(deep=True) for message in history]) == len(history)


CHANGES = {
    "content": lambda messages: setattr(messages[2], "content", "changed"),
    "content's parts": lambda messages: messages[0].content.append({"type": "text", "text": "changed"}),
    "arguments": lambda messages: messages[1].tool_calls[0]["args"].update(a=7),
    "deep in the arguments": lambda messages: messages[1].tool_calls[0]["args"]["b"][1].update(c=7),
    "a number's type": lambda messages: messages[1].tool_calls[0]["args"]["b"].__setitem__(0, True),
    "reasoning": lambda messages: messages[1].additional_kwargs.update(reasoning_content="changed"),
    "the record of the calls": lambda messages: messages[1].additional_kwargs.pop(CALLS),
    "the provider": lambda messages: messages[1].response_metadata.update(model_provider="other"),
    "the id of a result": lambda messages: setattr(messages[2], "tool_call_id", "other"),
    "calls that became invalid": lambda messages: messages[1].__dict__.update(
        tool_calls=[], invalid_tool_calls=[{"name": "add", "args": "{", "id": "add:0", "error": None}]
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_message_that_was_changed_in_place_goes_out_as_it_is_now(what: str) -> None:
    history = [HumanMessage([{"type": "text", "text": "go"}]), *rounds(3)]
    same(history)
    CHANGES[what](history)
    same(history)
    history += rounds(1, 3)
    same(history)
    assert remembered(history)


@pytest.mark.parametrize("other", [{"thinking": False}, {"missing_reasoning": "raise"}, {"k2_ids": True}])
def test_settings_that_change_bytes_share_nothing(other: dict[str, Any]) -> None:
    history = [HumanMessage("go"), *rounds(2)]
    history[1].additional_kwargs.pop(REASONING)
    for _ in range(2):
        same(history)
        same(history, {**CHOSEN, **other})
        history += rounds(1, len(history))


@pytest.mark.parametrize("host", ["openrouter", "vllm", "sglang"])
def test_a_host_gets_its_own_form_of_what_another_was_sent(host: str) -> None:
    history = [HumanMessage("go"), *rounds(2)]
    for _ in range(2):
        same(history)
        same(history, CHOSEN, host)
        history += rounds(1, len(history))


def test_tools_that_joined_earlier_stay_callable_and_cannot_be_declared_twice() -> None:
    joins = dynamic_tools_message([box])
    history = [HumanMessage("go"), joins, *rounds(2)]
    chosen = {"model": "kimi-k3", "tool_choice": "join"}
    assert same(history, chosen).schemas.keys() == {"join"}
    assert remembered_with(chosen, history) == len(history)
    assert same([*history, *rounds(1, 2)], chosen).schemas.keys() == {"join"}
    twice = same([*history, *rounds(1, 2), dynamic_tools_message([box])], chosen)
    assert [found.rule for found in twice.violations] == ["duplicate_function"]


def remembered_with(chosen: Any, messages: list[BaseMessage]) -> int:
    return transcript.CACHE.find(anew(messages, chosen).transcript._options, fingerprints_of(messages)).repaired.length


def test_a_refused_request_is_not_remembered() -> None:
    history = [HumanMessage([{"type": "image_url", "image_url": {"url": "https://x.y/z.png"}}]), AIMessage("hello")]
    assert [found.rule for found in same(history).violations] == ["media_url"]
    assert remembered(history) == 0
    same([*history, HumanMessage("and?")])


def test_messages_are_not_kept_alive() -> None:
    history = [HumanMessage("go"), *rounds(3), rounds(1, 3)[0], *rounds(1, 4)]
    same(history)
    assert remembered(history)
    gone = [weakref.ref(message) for message in history]
    del history
    gc.collect()
    assert [found() for found in gone] == [None] * len(gone)


def test_memory_is_bounded_and_a_conversation_is_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = EncodeCache(max_bytes=20_000)
    monkeypatch.setattr(transcript, "CACHE", own)
    history: list[BaseMessage] = [HumanMessage("go")]
    for n in range(12):
        history += rounds(1, n)
        same(history)
    assert len(own._entries) == 1
    first = list(history)
    for thread in range(30):
        same([HumanMessage(f"thread {thread}"), *rounds(5, 100 * thread)])
    prefixes = [prefix for _, prefix in own._entries.values()]
    stored = [(prefix.encoded.json, [rest for _, _, rest in prefix.fingerprints]) for prefix in prefixes]
    assert own._bytes == sum(sum(map(len, json)) + sum(map(len, rests)) for json, rests in stored) <= 20_000
    assert 1 < len(own._entries) < 30
    assert remembered(first) == 0
    same([HumanMessage("x" * 30_000), *rounds(1)])
    assert (own._bytes, len(own._entries)) == (0, 0)


def test_odd_values_are_sent_and_not_remembered() -> None:
    """What cannot be compared by its bytes is encoded every time."""
    history = [HumanMessage("go", additional_kwargs={"odd": object()}), *rounds(2)]
    same(history)
    assert remembered(history) == 0
    same([*history, *rounds(1, 2)])


def test_threads_that_share_a_model_get_their_own_transcripts(serve: Any) -> None:
    server = serve([said("ok")] * 160)
    model = kimi(server)

    def talk(thread: int) -> None:
        history: list[BaseMessage] = [HumanMessage("go"), *rounds(2)]
        for n in range(20):
            history += [HumanMessage(f"thread {thread} turn {n}"), *rounds(1, 1000 * thread + n + 10)]
            model.invoke(history)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(talk, range(8)))
    for request in server.requests:
        sent = json.loads(request.body)["messages"]
        users = [one["content"].split()[1] for one in sent if one["role"] == "user" and one["content"] != "go"]
        assert len(set(users)) == 1
        assert len(sent) == 5 + 3 * len(users)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_on_the_wire_each_request_begins_with_the_one_before(serve: Any, asynchronous: bool) -> None:
    server = serve([called("add", a=n) for n in range(6)])
    model = kimi(server).bind_tools([box])
    history: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("go")]
    for _ in range(6):
        heard: Any = await model.ainvoke(history) if asynchronous else model.invoke(history)
        history += [heard, ToolMessage("r", tool_call_id=heard.tool_calls[0]["id"])]
    bodies = [request.body for request in server.requests]
    assert all(later.startswith(earlier[:-2]) for earlier, later in pairwise(bodies))
    assert [list(json.loads(body))[-1] for body in bodies] == ["messages"] * 6
