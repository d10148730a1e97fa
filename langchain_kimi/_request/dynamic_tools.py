"""Tools that join a conversation in its middle, in a system message of their own: the K3 family reads them there.

What was sent before stays as it is, and so does Kimi's cache of it. Kimi remembers none of them: the message stays in
the transcript like any other.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, SystemMessage

from langchain_kimi._request.content import brings_tools
from langchain_kimi._request.tools import Declared, Tool, Tools, declare
from langchain_kimi.errors import IllegalRequestError, warn

TOOLS = "tools"


def dynamic_tools_message(tools: Sequence[Tool], *, strict: bool | None = None) -> SystemMessage:
    """A message that brings along tools, in any form that `bind_tools` takes; append it where they join.

    It holds plain values, so that checkpointers keep it. Only the K3 family takes it; every name may be declared once
    in a request. A tool whose schema cannot be made legal is left out with a `KimiWarning`; where none is left, raises
    IllegalRequestError.
    """
    given = Tools.of(tools, strict=strict)
    legal = [tool for tool, declared in zip(given, given.declared, strict=True) if not declared.problems]
    for declared in given.declared:
        for path, words in declared.problems[:1]:
            warn(
                f"tool {declared.name!r}: Kimi would refuse its schema at {path or 'root'!r}: {words}. It is left out."
            )
    if not legal:
        raise IllegalRequestError("A message that brings tools needs at least one that Kimi takes.")
    return SystemMessage("", additional_kwargs={TOOLS: legal})


def brought(message: BaseMessage) -> list[Declared]:
    """The tools that a message brings along, as Kimi takes them; none for any other message."""
    return [declare(tool) for tool in message.additional_kwargs[TOOLS]] if brings_tools(message) else []


def all_brought(messages: Iterable[BaseMessage]) -> list[Declared]:
    """Every tool that the messages bring along, in their order."""
    return [tool for message in messages if isinstance(message, SystemMessage) for tool in brought(message)]


def encode_toolbox(message: SystemMessage, tools: Sequence[Declared]) -> dict[str, Any]:
    """The message on the wire, which has no content. Raises IllegalRequestError for a schema that cannot be legal."""
    for tool in tools:
        for path, words in tool.problems:
            raise IllegalRequestError(
                f"tool {tool.name!r}: Kimi would refuse its schema at {path or 'root'!r}: {words}. Change the schema, "
                "or make the message with `dynamic_tools_message`, which leaves such tools out."
            )
    said = {"content": message.content} if message.content else {}
    return {"role": "system", **said, TOOLS: [tool.wire for tool in tools]}
