"""Prints a cassette turn by turn, and the differences of two cassettes."""

from collections.abc import Iterator
from typing import Any

from langchain_kimi.testing.cassettes.assistant_messages import AssistantMessage, parse_message, response_message
from langchain_kimi.testing.cassettes.cassette_file import Interaction, packed_body
from langchain_kimi.testing.cassettes.matching import differences
from langchain_kimi.testing.serialization import compact_json

_MAX_LENGTH = 2_000


def conversation_lines(interactions: list[Interaction]) -> Iterator[str]:
    """The lines of a conversation, each request without the messages of earlier ones."""
    turns: list[tuple[list[Any], AssistantMessage]] = []
    for number, interaction in enumerate(interactions, 1):
        body = interaction.chat
        response = interaction.response
        yield f"── {number}. {interaction.name} → {response['status']}{_ending(response)}"
        if body is None:
            yield (
                f"   {_clipped(compact_json(interaction.request.get('json')))}" if "json" in interaction.request else ""
            )
            yield f"   {_clipped(compact_json(packed_body(response)))}"
            continue
        messages = body.get("messages")
        messages = messages if isinstance(messages, list) else []
        repeated, previous = _repeated_messages(messages, turns)
        yield f"   {_request_line(body)}"
        if repeated:
            yield f"   (… {repeated} earlier messages)"
        for message in messages[repeated:]:
            if previous is None or not _is_same(previous, message):
                yield from _message_lines(message)
        yield from _response_lines(response_message(interaction))
        turns.append((messages, response_message(interaction)))


def _repeated_messages(
    messages: list[Any], turns: list[tuple[list[Any], AssistantMessage]]
) -> tuple[int, AssistantMessage | None]:
    """How many of the messages an earlier request has, and the response to that request."""
    prefixes = [(len(earlier), response) for earlier, response in turns if earlier == messages[: len(earlier)]]
    return max(prefixes, key=lambda each: each[0], default=(0, None))


def _is_same(response: AssistantMessage, message: Any) -> bool:
    """Whether a message is the unchanged response."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    sent = parse_message(message)
    return (sent.reasoning, sent.text, sent.calls) == (response.reasoning, response.text, response.calls)


def difference_lines(one: list[Interaction], two: list[Interaction]) -> Iterator[str]:
    """The differences of two recordings, interaction by interaction; streamed responses are compared as messages."""
    for number, (left, right) in enumerate(zip(one, two, strict=False), 1):
        request_differences = differences(left.request, right.request, "request")
        response_differences = differences(_comparable_response(left), _comparable_response(right), "response")
        for each in request_differences + response_differences:
            text = str(each).replace(": recorded ", ": first ").replace(": not recorded", ": not in the first")
            yield f"{number}. {text.replace(', not sent', ', not in the second').replace(', sent ', ', second ')}"
    if len(one) != len(two):
        yield f"the first has {len(one)} interactions, the second {len(two)}"


def _comparable_response(interaction: Interaction) -> dict[str, Any]:
    response = interaction.response
    if interaction.chat is None:
        return {"status": response["status"], **packed_body(response)}
    message = response_message(interaction)
    content = {"reasoning": message.reasoning, "text": message.text, "calls": [list(call) for call in message.calls]}
    return {"status": response["status"], **content, "finish_reason": message.finish_reason, "error": message.error}


def _request_line(body: dict[str, Any]) -> str:
    tools = body.get("tools") if isinstance(body.get("tools"), list) else []
    names = [str((tool.get("function") or {}).get("name")) for tool in tools or [] if isinstance(tool, dict)]
    rest = {key: value for key, value in body.items() if key not in ("model", "messages", "tools")}
    return f"{body.get('model')} {compact_json(rest)}" + (f" tools: {', '.join(names)}" if names else "")


def _message_lines(message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"   ? {_clipped(compact_json(message))}"
        return
    role = str(message.get("role"))
    if role == "assistant":
        yield from _assistant_lines(parse_message(message), "assistant (sent)")
        return
    content = message.get("content")
    text = content if isinstance(content, str) else compact_json(content)
    yield from _paragraph(f"{role} {message['tool_call_id']}" if "tool_call_id" in message else role, text)


def _response_lines(response: AssistantMessage) -> Iterator[str]:
    yield from _assistant_lines(response, "assistant")
    if response.error is not None:
        yield from _paragraph("refused", response.error)
    if response.usage:
        usage = {key: value for key, value in response.usage.items() if isinstance(value, int)}
        yield f"   [{response.finish_reason}; {', '.join(f'{key} {value:,}' for key, value in usage.items())}]"


def _assistant_lines(message: AssistantMessage, name: str) -> Iterator[str]:
    if message.reasoning:
        yield from _paragraph(f"{name} thinks", message.reasoning)
    if message.text:
        yield from _paragraph(name, message.text)
    for call_id, tool, arguments in message.calls:
        yield from _paragraph(f"{name} calls", f"{tool}({arguments})  [{call_id}]")


def _paragraph(name: str, text: str) -> Iterator[str]:
    first, *rest = _clipped(text).split("\n")
    yield f"   {name}: {first}"
    for line in rest:
        yield f"      {line}"


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}… ({len(text):,} characters)"


def _ending(response: dict[str, Any]) -> str:
    ends = response.get("ends")
    return {"cut": " (the connection broke)", "left": " (the client left)"}.get(str(ends), "")
