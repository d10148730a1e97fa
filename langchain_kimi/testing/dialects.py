"""Hosts that serve Kimi models, for `KimiServer(dialect=…)`.

`vendor` is a host as Moonshot's verifier wants it: Kimi's field names, temperatures from 0 to 1, log probabilities, and
call ids of another form. The others have other field names: a request is converted to Kimi's own form before it is
checked, and the reasoning of a response to the host's fields. A Kimi field that the host does not know is refused, so
that a client with the wrong host's fields fails its test. The package has its own table of hosts; this one is
independent because it checks requests made from that table.
"""

from collections.abc import Mapping
from typing import Any, Literal

ServedDialect = Literal["kimi", "vendor", "openrouter", "vllm"]
_KIMI_FIELDS = ("kimi", "vendor")
"""The hosts with Kimi's own field names."""
_REASONING = "reasoning_content"
_DETAILS = "reasoning_details"
_RESPONSE_FIELDS: Mapping[ServedDialect, str] = {"openrouter": "reasoning", "vllm": "reasoning"}
"""The field in which each host sends the text of reasoning."""

REASONING_TEXT_FIELDS = tuple(dict.fromkeys((_REASONING, *_RESPONSE_FIELDS.values())))
"""The fields of a message that hold the text of reasoning, Kimi's first."""
OTHER_REASONING_FIELDS = (*REASONING_TEXT_FIELDS[1:], _DETAILS)
"""The fields of a message that hold reasoning on other hosts than Kimi's."""


def call_id(name: str, number: int, dialect: ServedDialect) -> str:
    """The id of a conversation's tool call of that number, counted from 0."""
    return f"{name}{'_' if dialect == 'vendor' else ':'}{number}"


def follows_stream_specification(dialect: ServedDialect) -> bool:
    """Whether the host answers as Moonshot's specification of streams says, down to the headers."""
    return dialect in _KIMI_FIELDS


def from_host_request(request: Mapping[str, Any], dialect: ServedDialect) -> dict[str, Any]:
    """The request in Kimi's form. Raises ValueError for a field that the host does not know."""
    if dialect in _KIMI_FIELDS:
        return dict(request)
    if "thinking" in request or (dialect == "openrouter" and "reasoning_effort" in request):
        raise ValueError("the field `thinking` or `reasoning_effort` is not known here")
    converted = {key: value for key, value in request.items() if key not in ("reasoning", "chat_template_kwargs")}
    converted |= _thinking_fields(request)
    messages = request.get("messages")
    if isinstance(messages, list):
        converted["messages"] = [_from_host_message(message) for message in messages]
    return converted


def _thinking_fields(request: Mapping[str, Any]) -> dict[str, Any]:
    """Kimi's thinking fields from a `reasoning` object or from template arguments."""
    reasoning = request.get("reasoning") or {}
    template = request.get("chat_template_kwargs") or {}
    effort = reasoning.get("effort") or template.get("thinking_effort")
    enabled = reasoning.get("enabled", template.get("thinking"))
    converted: dict[str, Any] = {"reasoning_effort": effort} if effort else {}
    if enabled is not None and not effort:
        converted["thinking"] = {"type": "enabled" if enabled else "disabled"}
        if template.get("preserve_thinking"):
            converted["thinking"]["keep"] = "all"
    return converted


def _from_host_message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    if _REASONING in message:
        raise ValueError("the field `reasoning_content` is not known here")
    converted = {key: value for key, value in message.items() if key not in OTHER_REASONING_FIELDS}
    details = message.get(_DETAILS)
    if isinstance(details, list):
        converted[_REASONING] = "".join(str(detail.get("text", "")) for detail in details if isinstance(detail, dict))
    elif texts := [message[field] for field in REASONING_TEXT_FIELDS if field in message]:
        converted[_REASONING] = texts[0]
    return converted


def to_host_message(part: Mapping[str, Any], dialect: ServedDialect) -> dict[str, Any]:
    """A message or delta with its reasoning in the host's fields."""
    if dialect in _KIMI_FIELDS or _REASONING not in part:
        return dict(part)
    reasoning = part[_REASONING]
    converted = {_RESPONSE_FIELDS[dialect] if key == _REASONING else key: value for key, value in part.items()}
    if dialect == "openrouter" and isinstance(reasoning, str):
        converted[_DETAILS] = [{"type": "reasoning.text", "text": reasoning, "format": "unknown", "index": 0}]
    return converted
