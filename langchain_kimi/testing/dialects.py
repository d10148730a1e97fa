"""Hosts that serve Kimi models under other field names, as `KimiServer(dialect=…)` plays them.

A request is read into Kimi's own form before it is judged; the reasoning of an answer goes out under the host's keys.
A field of Kimi's that the host does not know is refused, so that a client that speaks to the wrong host is found out.
"""

from collections.abc import Mapping
from typing import Any, Literal

Dialect = Literal["kimi", "openrouter", "vllm"]
_REASONING = "reasoning_content"
_ANSWERS = {"openrouter": "reasoning", "vllm": "reasoning"}


def read_request(request: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The request in Kimi's form. Raises ValueError for a field that the host does not know."""
    if dialect == "kimi":
        return dict(request)
    if "thinking" in request or (dialect == "openrouter" and "reasoning_effort" in request):
        raise ValueError("the field `thinking` or `reasoning_effort` is not known here")
    read = {key: value for key, value in request.items() if key not in ("reasoning", "chat_template_kwargs")}
    read |= _read_switch(request)
    messages = request.get("messages")
    if isinstance(messages, list):
        read["messages"] = [_read_message(message) for message in messages]
    return read


def _read_switch(request: Mapping[str, Any]) -> dict[str, Any]:
    """Kimi's thinking fields out of a `reasoning` object or of template arguments."""
    switch = request.get("reasoning") or {}
    template = request.get("chat_template_kwargs") or {}
    effort = switch.get("effort") or template.get("thinking_effort")
    enabled = switch.get("enabled", template.get("thinking"))
    read: dict[str, Any] = {"reasoning_effort": effort} if effort else {}
    if enabled is not None and not effort:
        read["thinking"] = {"type": "enabled" if enabled else "disabled"}
        if template.get("preserve_thinking"):
            read["thinking"]["keep"] = "all"
    return read


def _read_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    if _REASONING in message:
        raise ValueError("the field `reasoning_content` is not known here")
    read = {key: value for key, value in message.items() if key not in ("reasoning", "reasoning_details")}
    details = message.get("reasoning_details")
    if isinstance(details, list):
        read[_REASONING] = "".join(str(detail.get("text", "")) for detail in details if isinstance(detail, dict))
    elif "reasoning" in message:
        read[_REASONING] = message["reasoning"]
    return read


def write_part(part: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """A message or delta with its reasoning under the host's keys."""
    if dialect == "kimi" or _REASONING not in part:
        return dict(part)
    reasoning = part[_REASONING]
    written = {_ANSWERS[dialect] if key == _REASONING else key: value for key, value in part.items()}
    if dialect == "openrouter" and isinstance(reasoning, str):
        written["reasoning_details"] = [{"type": "reasoning.text", "text": reasoning, "format": "unknown", "index": 0}]
    return written
