"""LangChain's standard blocks at every point of a stream."""

from langchain_core.messages.block_translators import get_translator

from langchain_kimi._response import ResponseDecoder
from tests.response.helpers import call, chunks_of, delta, event, piece, sse, whole


def test_blocks_of_joined_chunks_are_right_at_every_point_of_a_stream() -> None:
    events = [event({"reasoning_content": "Hm"}), event({"content": "I read."})]
    events += [delta(call("read", '{"path": "/a', id="read:0", index=0)), delta(piece('/b"}', index=0))]
    first, *rest = chunks_of([sse([*events, event({}, "tool_calls")])])
    reasoning, text = {"type": "reasoning", "reasoning": "Hm"}, {"type": "text", "text": "I read."}
    half = first + rest[:2]
    begun = {"type": "tool_call_chunk", "name": "read", "args": '{"path": "/a', "id": "read:0", "index": 0}
    assert half.content_blocks == [reasoning, text, begun]
    done = {"type": "tool_call", "name": "read", "args": {"path": "/a/b"}, "id": "read:0"}
    assert (first + rest).content_blocks == [reasoning, text, done]
    assert rest[-1].content_blocks == []


def test_blocks_of_a_whole_message_and_of_list_content() -> None:
    message = ResponseDecoder().decode_body(
        whole({"content": "x", "reasoning_content": "Hm", "tool_calls": [call("a", "{}", id="a:0", index=0)]})
    )
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text", "tool_call"]
    listed = message.model_copy(update={"content": ["a", {"type": "text", "text": "b"}]})
    assert [block["type"] for block in listed.content_blocks] == ["reasoning", "text", "text", "tool_call"]
    assert get_translator("moonshot") is not None
