"""The hosts that serve Kimi models, one row each: their domain, their reasoning key, how thinking is switched.

Decoding, encoding and the settings read this table, so that a host with other field names is one more row here. A row
also needs its name in `DialectName` and its line in `docs/hosts.md`; the tests of hosts run for every row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

DialectName = Literal["kimi", "openrouter", "together", "vllm", "sglang"]
"""The names of `ChatKimi(dialect=…)`: whose field names a host uses."""

ThinkingSwitch = Literal["thinking", "reasoning", "chat_template_kwargs"]

KIMI_REASONING_KEY = "reasoning_content"
REASONING_DETAILS_KEY = "reasoning_details"
"""The key of the list in which OpenRouter sends reasoning beside or instead of text, and wants it back."""


@dataclass(frozen=True, slots=True)
class HostDialect:
    """The field names of one host. Sources: the documentation of each host, November 2026."""

    domains: tuple[str, ...] = ()
    """Domains by which the host is recognised, subdomains included; none for a server of the user's own."""
    reasoning_key: str = KIMI_REASONING_KEY
    """The key of the reasoning text in a message, in responses and in the history of requests."""
    thinking_switch: ThinkingSwitch = "thinking"
    """The request field that switches thinking: Kimi's `thinking`, a `reasoning` object, or `chat_template_kwargs`."""


DIALECTS: Mapping[DialectName, HostDialect] = {
    "kimi": HostDialect(),
    "openrouter": HostDialect(("openrouter.ai",), "reasoning", "reasoning"),
    "together": HostDialect(("together.xyz", "together.ai"), "reasoning", "reasoning"),
    "vllm": HostDialect((), "reasoning", "chat_template_kwargs"),
    "sglang": HostDialect((), KIMI_REASONING_KEY, "chat_template_kwargs"),
}

OTHER_REASONING_KEYS = tuple(
    dict.fromkeys(row.reasoning_key for row in DIALECTS.values() if row.reasoning_key != KIMI_REASONING_KEY)
)
"""The reasoning keys of hosts that do not use Kimi's."""


def host_dialect(url: str, name: DialectName | None) -> HostDialect:
    """The dialect of that name; without a name the dialect of the URL's domain, or Kimi's for an unknown domain."""
    if name is not None:
        return DIALECTS[name]
    host = urlsplit(url).hostname or ""
    for dialect in DIALECTS.values():
        if any(host == domain or host.endswith(f".{domain}") for domain in dialect.domains):
            return dialect
    return DIALECTS["kimi"]
