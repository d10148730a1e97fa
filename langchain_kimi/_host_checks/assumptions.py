"""What this package assumes of Kimi where its sources are silent or contradict each other."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import convert_to_messages

from langchain_kimi import tokens
from langchain_kimi._host_checks.checks import Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, function, user
from langchain_kimi._host_checks.streams import WEATHER

_CAP = 4
_CLOSE = 0.25
"""How far the estimate of a prompt may be from the host's count."""

Verdict = Literal["confirmed", "refuted", "unclear"]


@dataclass(frozen=True, slots=True)
class Assumption:
    """One assumption, the requests that only it needs, and how it is judged."""

    name: str
    text: str
    """What the package assumes."""
    judge: Callable[[Record], tuple[Verdict, str]]
    applies: Callable[[HostProfile], bool]
    fields: Callable[[HostProfile], dict[str, Any]] | None = None
    """Fields of the request that settles it; None where other requests do."""

    def request(self, profile: HostProfile) -> ChatRequest | None:
        """The request that settles it, if it has one."""
        if self.fields is None or not self.applies(profile):
            return None
        return ChatRequest(self.name, [user("Reply with OK.")], _CAP, self.fields(profile), stream=False)


@dataclass(frozen=True, slots=True)
class AssumptionResult:
    """An assumption and what the host showed."""

    assumption: Assumption
    verdict: Verdict
    observed: str


def assumption_results(profile: HostProfile, record: Record) -> list[AssumptionResult]:
    """What the responses show of each assumption that applies to the model."""
    return [AssumptionResult(one, *one.judge(record)) for one in ASSUMPTIONS if one.applies(profile)]


def requests(profile: HostProfile) -> list[ChatRequest]:
    """The requests that settle assumptions and serve nothing else."""
    return [request for one in ASSUMPTIONS if (request := one.request(profile)) is not None]


def _taken(name: str) -> Callable[[Record], tuple[Verdict, str]]:
    """The assumption that a request is taken."""
    return lambda record: _by_status(record, name, refused=False)


def _refused(name: str) -> Callable[[Record], tuple[Verdict, str]]:
    """The assumption that a request is refused with 400."""
    return lambda record: _by_status(record, name, refused=True)


def _by_status(record: Record, name: str, *, refused: bool) -> tuple[Verdict, str]:
    responses = record.get(name)
    if not responses:
        return "unclear", "not asked"
    response = responses[0]
    if response.is_answer:
        return ("refuted" if refused else "confirmed"), "taken"
    if response.status == 400:
        return ("confirmed" if refused else "refuted"), response.outcome
    return "unclear", response.outcome


def _call_ids(record: Record) -> tuple[Verdict, str]:
    ids = [str(call_id) for response in record["parallel"] for call_id in response.call_ids]
    if not ids:
        return "unclear", "no call"
    good = all(re.fullmatch(r"(functions\.)?\w+:\d+", one) for one in ids)
    return ("confirmed" if good else "refuted"), f"for instance {ids[0]}"


def _rate_headers(record: Record) -> tuple[Verdict, str]:
    names = sorted({name for sent in record.values() for one in sent for name in one.headers if "ratelimit" in name})
    return ("refuted", ", ".join(names)) if names else ("confirmed", "none")


def _prompt_details(record: Record) -> tuple[Verdict, str]:
    return _has_usage(record, lambda usage: isinstance(usage.get("prompt_tokens_details"), dict))


def _reasoning_tokens(record: Record) -> tuple[Verdict, str]:
    return _has_usage(record, lambda usage: "reasoning_tokens" in (usage.get("completion_tokens_details") or {}))


def _has_usage(record: Record, holds: Callable[[dict[str, Any]], bool]) -> tuple[Verdict, str]:
    usages = [response.wire_usage for response in record["greeting"] if response.wire_usage]
    if not usages:
        return "unclear", "no usage"
    return ("confirmed", "there") if holds(usages[0]) else ("refuted", f"only {', '.join(usages[0])}")


def _usage_place(record: Record) -> tuple[Verdict, str]:
    response = record["no_include_usage"][0]
    if not response.is_answer:
        return "unclear", response.outcome
    in_choice = any(choice.get("usage") for choice in response.choices)
    on_top = any(chunk.get("usage") for chunk in response.chunks)
    places = [name for name, there in (("in the choice", in_choice), ("beside the choices", on_top)) if there]
    return ("confirmed" if places else "refuted"), " and ".join(places) or "nowhere"


def _estimate(record: Record) -> tuple[Verdict, str]:
    response = record["cached"][0]
    estimate = tokens.count(convert_to_messages(response.request.messages))
    if not response.usage:
        return "unclear", "no usage"
    counted = response.usage["input_tokens"]
    close = abs(estimate - counted) <= _CLOSE * counted
    return ("confirmed" if close else "refuted"), f"estimated {estimate}, counted {counted}"


def _alias(record: Record) -> tuple[Verdict, str]:
    response = record["capped_by_alias"][0]
    if not response.is_answer:
        return "refuted", response.outcome
    return ("confirmed" if response.finish_reason == "length" else "refuted"), f"finish `{response.finish_reason}`"


def _instant_required(record: Record) -> tuple[Verdict, str]:
    first: HostResponse = record["required"][0]
    if first.is_answer:
        return ("confirmed", "taken")
    return ("refuted" if first.status == 400 else "unclear"), first.outcome


def _always(profile: HostProfile) -> bool:
    return True


def _thinking(profile: HostProfile) -> bool:
    return profile.thinks


def _k3(profile: HostProfile) -> bool:
    return profile.row is not None and profile.row.family == "k3"


def _k2(profile: HostProfile) -> bool:
    return profile.row is not None and profile.row.family == "k2"


def _by_choice(profile: HostProfile) -> bool:
    return profile.row is not None and profile.row.thinking == "optional" and profile.switch is not None


def _pinned(profile: HostProfile) -> bool:
    return profile.row is not None and bool(profile.row.pinned_thinking)


def _tool(**schema: Any) -> dict[str, Any]:
    return {"tools": [function("save", "Save a value.", {"value": schema})]}


_NAMED = {"type": "function", "function": {"name": "get_weather"}}

ASSUMPTIONS: tuple[Assumption, ...] = (
    Assumption(
        "no_reasoning",
        "an assistant message with calls and no reasoning is refused while the model thinks",
        _refused("no_reasoning"),
        _thinking,
    ),
    Assumption(
        "empty_reasoning",
        "so is one with an empty reasoning; a space is taken",
        _refused("empty_reasoning"),
        _thinking,
    ),
    Assumption(
        "instant_required",
        '`tool_choice: "required"` is taken with thinking off',
        _instant_required,
        _by_choice,
    ),
    Assumption(
        "named_choice",
        "a named `tool_choice` is refused while the model thinks",
        _refused("named_choice"),
        _thinking,
        lambda profile: {"tools": [WEATHER], "tool_choice": _NAMED, **profile.least_effort()},
    ),
    Assumption(
        "thinking_enabled",
        '`thinking: {"type": "enabled"}` is taken, or ignored, by models that always think',
        _taken("thinking_enabled"),
        lambda profile: profile.row is not None and profile.row.thinking == "always",
        lambda profile: {"thinking": {"type": "enabled"}},
    ),
    Assumption(
        "unknown_effort",
        "an unknown `reasoning_effort` is taken without an error, so it is checked here before it is sent",
        _taken("unknown_effort"),
        _k3,
        lambda profile: {"reasoning_effort": "medium"},
    ),
    Assumption(
        "pinned_temperature",
        "another `temperature` than the pinned one is refused",
        _refused("pinned_temperature"),
        _pinned,
        lambda profile: {"temperature": 0.3, **profile.least_effort()},
    ),
    Assumption(
        "logprobs",
        "`logprobs` is refused by models with pinned sampling",
        _refused("logprobs"),
        _pinned,
        lambda profile: {"logprobs": True, **profile.least_effort()},
    ),
    Assumption(
        "long_name",
        "function names of 65 to 128 characters are taken; this package shortens them to 64 for other hosts' sake",
        _taken("long_name"),
        _always,
        lambda profile: {"tools": [function("f" * 128, "Does nothing.", {}, required=[])], **profile.light()},
    ),
    Assumption(
        "untyped_property",
        "a property without a `type` is refused",
        _refused("untyped_property"),
        _k2,
        lambda profile: {**_tool(), **profile.light()},
    ),
    Assumption(
        "prefix_items",
        "`prefixItems`, which is not in Moonshot's JSON Schema, is taken; this package rewrites it anyway",
        _taken("prefix_items"),
        _always,
        lambda profile: {**_tool(type="array", prefixItems=[{"type": "string"}]), **profile.light()},
    ),
    Assumption(
        "no_include_usage",
        "a stream has its usage in the last choice, also without `stream_options.include_usage`",
        _usage_place,
        _always,
        lambda profile: {"stream": True, **profile.light()},
    ),
    Assumption("max_tokens", "`max_tokens` is still an alias of `max_completion_tokens`", _alias, _always),
    Assumption("id_form", "call ids have the form `name:number`", _call_ids, _always),
    Assumption("prompt_details", "`usage` has `prompt_tokens_details`", _prompt_details, _always),
    Assumption(
        "reasoning_tokens",
        "`usage` has `completion_tokens_details` with `reasoning_tokens`",
        _reasoning_tokens,
        _thinking,
    ),
    Assumption("rate_headers", "there are no `X-RateLimit-*` headers to pace requests by", _rate_headers, _always),
    Assumption(
        "token_estimate",
        "the estimate of a prompt of some 400 tokens is within a quarter of the count",
        _estimate,
        _always,
    ),
)
"""Each assumption that a request can settle."""
