"""What is known of a host while it is checked, and the request fields that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_kimi._api_keys import HOSTS
from langchain_kimi._hosts import (
    DIALECTS,
    KIMI_REASONING_KEY,
    REASONING_DETAILS_KEY,
    DialectName,
    HostDialect,
    ThinkingSwitch,
    host_dialect,
)
from langchain_kimi._request.hosts import translate_fields
from langchain_kimi._request.settings import can_be_instant
from langchain_kimi.catalogue import Model, find


@dataclass
class HostProfile:
    """A host and a model, how thoroughly they are checked, and what was learnt of them so far."""

    url: str
    model: str
    cases: int
    """How many calls are checked against schemas."""
    quick: bool = False
    reasoning_key: str | None = None
    """The key under which reasoning arrived; None before the first answer, and where none arrived."""
    switch: ThinkingSwitch | None = None
    """The field that switches thinking off; None where none is known."""

    @property
    def is_kimi(self) -> bool:
        """Whether it is one of Kimi's own hosts."""
        return self.url in HOSTS.values()

    @property
    def row(self) -> Model | None:
        """The model's row in the catalogue."""
        return find(self.model)

    @property
    def repeats(self) -> int:
        """How often a check of obedience is repeated."""
        return 2 if self.quick else 5

    @property
    def thinks(self) -> bool:
        """Whether the model thinks unless it is told not to."""
        return self.row is None or self.row.thinking != "never"

    @property
    def may_be_instant(self) -> bool:
        """Whether thinking may be switched off on this host; unknown models may."""
        return self.thinks and (self.row is None or can_be_instant(self.row, elsewhere=not self.is_kimi))

    @property
    def dialect(self) -> DialectName | None:
        """The dialect of `ChatKimi` for the host; None where the one of its domain, or Kimi's, is right."""
        dialect = self._dialect_name
        return None if DIALECTS[dialect] == host_dialect(self.url, None) else dialect

    @property
    def _dialect_name(self) -> DialectName:
        if self.reasoning_key == REASONING_DETAILS_KEY:
            return "openrouter"
        if self.reasoning_key not in (None, KIMI_REASONING_KEY):
            return "together" if self.switch == "reasoning" else "vllm"
        if self.switch == "chat_template_kwargs":
            return "sglang"
        return "kimi"

    def off(self) -> dict[str, Any]:
        """Fields that switch thinking off; none where the host has no known way."""
        return {} if self.switch is None else off_fields(self.switch)

    def light(self) -> dict[str, Any]:
        """Fields for the cheapest answer: without thinking where that is possible, else with the least effort."""
        if self.may_be_instant and self.switch is not None:
            return self.off()
        return self.least_effort()

    def least_effort(self) -> dict[str, Any]:
        """Fields for the least thinking, in the host's form."""
        efforts = self.row.efforts if self.row else ()
        return translate_fields({"reasoning_effort": efforts[0]}, DIALECTS[self._dialect_name]) if efforts else {}

    def cap(self, instant: int, thinking: int) -> int:
        """An output cap for a request with the fields of `light`."""
        return instant if not self.thinks or (self.may_be_instant and self.switch is not None) else thinking

    def reasoning(self, text: str) -> Mapping[str, Any]:
        """Reasoning in an assistant message, under the host's key."""
        if not self.thinks:
            return {}
        if self.reasoning_key == REASONING_DETAILS_KEY:
            detail = {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
            return {REASONING_DETAILS_KEY: [detail]}
        return {self.reasoning_key or DIALECTS[self._dialect_name].reasoning_key: text}


def off_fields(switch: ThinkingSwitch) -> dict[str, Any]:
    """The fields that switch thinking off in one of the forms that hosts take."""
    return translate_fields({"thinking": {"type": "disabled"}}, HostDialect(thinking_switch=switch))
