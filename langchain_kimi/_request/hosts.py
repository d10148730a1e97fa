"""The same request for hosts that serve Kimi models under other field names.

Requests are built and checked in Kimi's own form; this is the last step, and does nothing on Kimi's hosts. Reasoning
goes back under the key that the host used in its answers; the thinking switch takes the host's dialect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi._raw_calls import BOTH_KEYS, HOST, REASONING, REASONING_DETAILS, REASONING_KEY

DialectName = Literal["kimi", "openrouter", "together", "vllm", "sglang"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a host speaks. Seen in the documentation of each host, November 2026."""

    switch: Literal["kimi", "reasoning", "template"] = "kimi"
    """Thinking by Kimi's `thinking`, by a `reasoning` object, or by `chat_template_kwargs`."""
    reasoning: str | None = None
    """The key for reasoning in history until the host's answers show its own; None: Kimi's."""


DIALECTS: Mapping[str, Dialect] = {
    "kimi": Dialect(),
    "openrouter": Dialect("reasoning", "reasoning"),
    "together": Dialect("reasoning", "reasoning"),
    "vllm": Dialect("template", "reasoning"),
    "sglang": Dialect("template", REASONING),
}
_BY_DOMAIN = {"openrouter.ai": "openrouter", "together.xyz": "together", "together.ai": "together"}


def dialect_of(url: str, chosen: DialectName | None) -> Dialect:
    """The dialect that was chosen, else the one that the host is known to speak, else Kimi's."""
    if chosen is not None:
        return DIALECTS[chosen]
    host = urlsplit(url).hostname or ""
    known = (name for domain, name in _BY_DOMAIN.items() if host == domain or host.endswith(f".{domain}"))
    return DIALECTS[next(known, "kimi")]


def reasoning_key(messages: Sequence[BaseMessage], dialect: Dialect, host: str) -> str:
    """The key for reasoning in history: that of the host's last answer in the conversation, else the dialect's, else
    Kimi's. Answers of other hosts say nothing of this one.
    """
    default = dialect.reasoning or REASONING
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            kept = message.additional_kwargs
            if REASONING in kept and kept.get(HOST, "") == host:
                key = str(kept.get(REASONING_KEY, REASONING))
                return default if key == BOTH_KEYS else key
    return default


def translate_fields(fields: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """All of a request in Kimi's form but its messages, as the host takes it."""
    return fields if dialect.switch == "kimi" else _switched(dict(fields), dialect.switch)


def _switched(body: dict[str, Any], switch: str) -> dict[str, Any]:
    """The body with Kimi's thinking fields in another form; nothing is added where the user chose nothing."""
    thinking, effort = body.pop("thinking", None), body.pop("reasoning_effort", None)
    if thinking is None and effort is None:
        return body
    enabled = thinking is None or thinking["type"] == "enabled"
    if switch == "reasoning":
        return body | {"reasoning": {"effort": effort} if effort else {"enabled": enabled}}
    template: dict[str, Any] = {"thinking": enabled}
    if thinking and thinking.get("keep"):
        template["preserve_thinking"] = True
    if effort:
        template["thinking_effort"] = effort
    return body | {"chat_template_kwargs": body.get("chat_template_kwargs", {}) | template}


def translate_message(encoded: dict[str, Any], message: BaseMessage, key: str) -> dict[str, Any]:
    """A message in Kimi's form with its reasoning under the host's key, or as the details that the host sent."""
    if key == REASONING or REASONING not in encoded:
        return encoded
    if details := message.additional_kwargs.get(REASONING_DETAILS):
        return {name: value for name, value in encoded.items() if name != REASONING} | {"reasoning_details": details}
    key = "reasoning" if key == "reasoning_details" else key
    return {key if name == REASONING else name: value for name, value in encoded.items()}
