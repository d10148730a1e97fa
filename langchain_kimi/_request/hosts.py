"""Translates requests in Kimi's form to the field names of other hosts, by the table in `langchain_kimi._hosts`.

Requests are built and checked in Kimi's form; this is the last step, and it changes nothing for Kimi's own hosts.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from langchain_kimi._hosts import DIALECTS, REASONING_DETAILS_KEY, HostDialect, ThinkingSwitch
from langchain_kimi._raw_calls import BOTH_KEYS, HOST, REASONING, REASONING_DETAILS, REASONING_KEY


def reasoning_key(messages: Sequence[BaseMessage], dialect: HostDialect, host: str) -> str:
    """The key under which reasoning is sent back: the one of the host's last message in the conversation, else the
    dialect's. Messages of other hosts do not count.
    """
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            extra = message.additional_kwargs
            if REASONING in extra and extra.get(HOST, "") == host:
                key = str(extra.get(REASONING_KEY, REASONING))
                return dialect.reasoning_key if key == BOTH_KEYS else key
    return dialect.reasoning_key


def translate_fields(fields: dict[str, Any], dialect: HostDialect) -> dict[str, Any]:
    """All fields of a request but its messages, in the host's form."""
    if dialect.thinking_switch == "thinking":
        return fields
    return _translate_thinking(dict(fields), dialect.thinking_switch)


def _translate_thinking(fields: dict[str, Any], switch: ThinkingSwitch) -> dict[str, Any]:
    """The fields with Kimi's thinking fields in the host's form; nothing is added where the user set none."""
    thinking, effort = fields.pop("thinking", None), fields.pop("reasoning_effort", None)
    if thinking is None and effort is None:
        return fields
    enabled = thinking is None or thinking["type"] == "enabled"
    if switch == "reasoning":
        return fields | {"reasoning": {"effort": effort} if effort else {"enabled": enabled}}
    template: dict[str, Any] = {"thinking": enabled}
    if thinking and thinking.get("keep"):
        template["preserve_thinking"] = True
    if effort:
        template["thinking_effort"] = effort
    return fields | {"chat_template_kwargs": fields.get("chat_template_kwargs", {}) | template}


def translate_message(encoded: dict[str, Any], message: BaseMessage, key: str) -> dict[str, Any]:
    """A message in Kimi's form with its reasoning under the host's key, or as the details that the host sent."""
    if key == REASONING or REASONING not in encoded:
        return encoded
    if details := message.additional_kwargs.get(REASONING_DETAILS):
        return {name: value for name, value in encoded.items() if name != REASONING} | {REASONING_DETAILS_KEY: details}
    if key == REASONING_DETAILS_KEY:
        key = DIALECTS["openrouter"].reasoning_key
    return {key if name == REASONING else name: value for name, value in encoded.items()}
