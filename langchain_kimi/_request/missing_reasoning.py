"""Assistant messages that lost their thinking on the way, and which step of whose framework made them."""

from collections.abc import Mapping

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi._raw_calls import CALLS, PROVIDER
from langchain_kimi._request.messages import reasoning_of
from langchain_kimi._request.settings import Note

_BACK, _HAND_OFF = "transfer_back_to_", "transfer_to_"
_STEPS: Mapping[str, tuple[str, str]] = {
    _BACK: (
        "langgraph-supervisor's hand-off back makes such a message up",
        "create_supervisor(add_handoff_back_messages=False); create_kimi_team hands over without such messages",
    ),
    _HAND_OFF: (
        "langgraph-supervisor's hand-off builds it anew when there are other calls beside it",
        "one call at a time, or create_supervisor(add_handoff_messages=False); create_kimi_team loses nothing",
    ),
    "": (
        "it was written by hand, or a framework or a conversion built it anew",
        "hand on the message that the model returned, additional_kwargs included",
    ),
}
"""What makes such messages, and the way out, by how the name of a call begins."""


def missing_reasoning_note(message: AIMessage) -> Note | None:
    """A note on a message with tool calls that a thinking model cannot have written as it is; None for others."""
    return _note(message) if _was_rebuilt(message) else None


def lacks_reasoning(message: BaseMessage) -> bool:
    """Whether it calls tools and no reasoning is known that Kimi could be shown with them."""
    if not isinstance(message, AIMessage) or reasoning_of(message):
        return False
    if message.tool_calls or message.invalid_tool_calls:
        return True
    blocks = message.content if isinstance(message.content, list) else []
    return any(isinstance(block, dict) and block.get("type") == "tool_use" for block in blocks)


def _was_rebuilt(message: AIMessage) -> bool:
    """Whether it calls tools and bears neither thinking nor what a model leaves on its messages, Kimi's or another."""
    if not (message.tool_calls or message.invalid_tool_calls) or CALLS in message.additional_kwargs:
        return False
    return message.response_metadata.get("model_provider", PROVIDER) == PROVIDER and not reasoning_of(message)


def _note(message: AIMessage) -> Note:
    names = [call["name"] or "" for call in (*message.tool_calls, *message.invalid_tool_calls)]
    kind, name = next((kind, name) for kind in _STEPS for name in names if name.startswith(kind))
    maker, way_out = _STEPS[kind]
    return Note(
        f"rebuilt {kind}",
        f"An assistant message that calls {name!r} came without the reasoning that Kimi wants back: {maker}. A single "
        f"space is sent in its place. The way out: {way_out}.",
    )
