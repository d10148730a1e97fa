"""A cassette for people: what was said, turn by turn, and how two recordings differ."""

from collections.abc import Iterator
from typing import Any

from langchain_kimi.testing.cassettes.bodies import dumps
from langchain_kimi.testing.cassettes.file import Interaction, body_of
from langchain_kimi.testing.cassettes.matching import differences
from langchain_kimi.testing.cassettes.responses import Said, answer_of, said_in

_LONGEST = 2_000


def shown(interactions: list[Interaction]) -> Iterator[str]:
    """The lines of a conversation: of each request only what earlier ones did not have."""
    heard: list[tuple[list[Any], Said]] = []
    for number, interaction in enumerate(interactions, 1):
        body = interaction.chat
        response = interaction.response
        yield f"── {number}. {interaction.name} → {response['status']}{_ends(response)}"
        if body is None:
            yield f"   {_clipped(dumps(interaction.request.get('json')))}" if "json" in interaction.request else ""
            yield f"   {_clipped(dumps(body_of(response)))}"
            continue
        messages = body.get("messages")
        messages = messages if isinstance(messages, list) else []
        known, said = _known(messages, heard)
        yield f"   {_settings(body)}"
        if known:
            yield f"   (… {known} earlier messages)"
        for message in messages[known:]:
            if said is None or not _is(said, message):
                yield from _message(message)
        yield from _answer(answer_of(interaction))
        heard.append((messages, answer_of(interaction)))


def _known(messages: list[Any], heard: list[tuple[list[Any], Said]]) -> tuple[int, Said | None]:
    """How many messages an earlier request had, and what was answered to it."""
    beginnings = [(len(old), said) for old, said in heard if old == messages[: len(old)]]
    return max(beginnings, key=lambda each: each[0], default=(0, None))


def _is(said: Said, message: Any) -> bool:
    """Whether a message is an earlier answer, just as it was."""
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    sent = said_in(message)
    return (sent.reasoning, sent.text, sent.calls) == (said.reasoning, said.text, said.calls)


def compared(one: list[Interaction], two: list[Interaction]) -> Iterator[str]:
    """The lines in which two recordings differ, interaction by interaction; answers as what they say."""
    for number, (left, right) in enumerate(zip(one, two, strict=False), 1):
        found = differences(left.request, right.request, "request")
        found += differences(_comparable(left), _comparable(right), "response")
        for each in found:
            text = str(each).replace(": recorded ", ": first ").replace(": not recorded", ": not in the first")
            yield f"{number}. {text.replace(', not sent', ', not in the second').replace(', sent ', ', second ')}"
    if len(one) != len(two):
        yield f"the first has {len(one)} interactions, the second {len(two)}"


def _comparable(interaction: Interaction) -> dict[str, Any]:
    response = interaction.response
    if interaction.chat is None:
        return {"status": response["status"], **body_of(response)}
    said = answer_of(interaction)
    whole = {"reasoning": said.reasoning, "text": said.text, "calls": [list(call) for call in said.calls]}
    return {"status": response["status"], **whole, "finish_reason": said.finish, "error": said.error}


def _settings(body: dict[str, Any]) -> str:
    tools = body.get("tools") if isinstance(body.get("tools"), list) else []
    names = [str((tool.get("function") or {}).get("name")) for tool in tools or [] if isinstance(tool, dict)]
    rest = {key: value for key, value in body.items() if key not in ("model", "messages", "tools")}
    return f"{body.get('model')} {dumps(rest)}" + (f" tools: {', '.join(names)}" if names else "")


def _message(message: Any) -> Iterator[str]:
    if not isinstance(message, dict):
        yield f"   ? {_clipped(dumps(message))}"
        return
    role = str(message.get("role"))
    if role == "assistant":
        yield from _said(said_in(message), "assistant (sent)")
        return
    content = message.get("content")
    text = content if isinstance(content, str) else dumps(content)
    yield from _paragraph(f"{role} {message['tool_call_id']}" if "tool_call_id" in message else role, text)


def _answer(said: Said) -> Iterator[str]:
    yield from _said(said, "assistant")
    if said.error is not None:
        yield from _paragraph("refused", said.error)
    if said.usage:
        usage = {key: value for key, value in said.usage.items() if isinstance(value, int)}
        yield f"   [{said.finish}; {', '.join(f'{key} {value:,}' for key, value in usage.items())}]"


def _said(said: Said, name: str) -> Iterator[str]:
    if said.reasoning:
        yield from _paragraph(f"{name} thinks", said.reasoning)
    if said.text:
        yield from _paragraph(name, said.text)
    for key, tool, arguments in said.calls:
        yield from _paragraph(f"{name} calls", f"{tool}({arguments})  [{key}]")


def _paragraph(name: str, text: str) -> Iterator[str]:
    first, *rest = _clipped(text).split("\n")
    yield f"   {name}: {first}"
    for line in rest:
        yield f"      {line}"


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _ends(response: dict[str, Any]) -> str:
    ends = response.get("ends")
    return {"cut": " (the connection broke)", "left": " (the client left)"}.get(str(ends), "")
