"""What another model would refuse or do otherwise in recorded calls, and what they would cost with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import convert_to_messages
from langchain_core.messages.ai import UsageMetadata

from langchain_kimi._request import EncodedRequest, encode_request
from langchain_kimi._rules import thinks
from langchain_kimi.catalogue import Model, Price, default_output, find
from langchain_kimi.cli.recorded_calls import RecordedCall
from langchain_kimi.errors import KimiError
from langchain_kimi.usage import cost_of, sum_if_known

_NOT_SETTINGS = ("model", "messages", "stream", "stream_options", "thinking", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class MigrationFinding:
    """Something of one request that the other model would refuse or do otherwise."""

    request: int
    kind: Literal["refused", "changes"]
    text: str


@dataclass(frozen=True, slots=True)
class Money:
    """US dollars at list price, for the recorded tokens; None where a price or a usage is unknown."""

    then: float | None = 0.0
    now: float | None = 0.0
    """With the other model and the same cached tokens."""
    now_uncached: float | None = 0.0
    """With the other model and nothing from the cache."""

    @classmethod
    def of(cls, call: RecordedCall, model: str) -> "Money":
        """The money of one call. A failed request without usage cost nothing."""
        if call.usage is None and call.failed:
            return cls()
        usage = call.usage
        uncached: UsageMetadata | None = {**usage, "input_token_details": {}} if usage else None
        return cls(cost_of(usage, call.model), cost_of(usage, model), cost_of(uncached, model))

    def __add__(self, other: "Money") -> "Money":
        return Money(
            sum_if_known(self.then, other.then),
            sum_if_known(self.now, other.now),
            sum_if_known(self.now_uncached, other.now_uncached),
        )


@dataclass(frozen=True, slots=True)
class Migration:
    """The calls of one file with another model."""

    calls: int
    models: tuple[str, ...]
    findings: tuple[MigrationFinding, ...]
    money: Money

    @classmethod
    def of(cls, calls: Sequence[RecordedCall], row: Model) -> "Migration":
        """Compare each call with the same call of the model `row`."""
        money = sum((Money.of(call, row.id) for call in calls), Money())
        findings = tuple(finding for call in calls for finding in _findings(call, row))
        return cls(len(calls), tuple(dict.fromkeys(call.model for call in calls)), findings, money)

    def count(self, kind: str) -> int:
        """The number of requests with a finding of this kind."""
        return len({finding.request for finding in self.findings if finding.kind == kind})


def model_differences(model: str, row: Model) -> list[tuple[str, str, str]]:
    """What differs between a model and the model `row` in every request: name, and the fact of each."""
    old = find(model)
    if old is None or old.id == row.id:
        return []
    facts = [(name, fact(old), fact(row)) for name, fact in _FACTS.items()]
    return [(name, before, after) for name, before, after in facts if before != after]


def _findings(call: RecordedCall, row: Model) -> Iterator[MigrationFinding]:
    compare = _compare_usage if call.body is None else _compare_requests
    for kind, text in compare(call, row):
        yield MigrationFinding(call.number, kind, text)


_Compared = Iterator[tuple[Literal["refused", "changes"], str]]


def _compare_usage(call: RecordedCall, row: Model) -> _Compared:
    """Compare by what a log has: the tokens, and whether the answer has reasoning."""
    yield from _window(call, row, cap=0)
    old = find(call.model)
    if old and old.thinking == "optional" and row.thinking == "always" and call.thought is False and not call.failed:
        yield "changes", f"the answer has no reasoning; {row.id} always thinks"


def _compare_requests(call: RecordedCall, row: Model) -> _Compared:
    """Compare what ChatKimi sends with either model for a recorded request."""
    assert call.body is not None
    try:
        new = _encode(call.body, call.model, row.id)
    except KimiError as error:
        yield "refused", str(error)
        return
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield "changes", f"it could not be checked, because its messages cannot be read: {error}"
        return
    before = _notes_and_violations(call)
    for violation in new.violations:
        also = f" {call.model} refuses it too." if (violation.rule, violation.path) in before else ""
        yield "refused", f"at `{violation.path}`: {violation.message}. {violation.way_out}{also}"
    if call.usage is None and new.overflow:
        yield "refused", str(new.overflow)
    by_user = "max_tokens" in _settings(call.body, call.model, row.id)
    yield from _window(call, row, cap=new.fields["max_completion_tokens"] if by_user else 0)
    yield from (("changes", note.text) for note in new.notes if (note.topic, "") not in before)
    yield from _silent_changes(call.body, new, row)


def _notes_and_violations(call: RecordedCall) -> set[tuple[str, str]]:
    """What ChatKimi changes, and Kimi refuses, with the recorded model already."""
    assert call.body is not None
    try:
        old = _encode(call.body, call.model, call.model)
    except KimiError:
        return set()
    return {(note.topic, "") for note in old.notes} | {(each.rule, each.path) for each in old.violations}


def _window(call: RecordedCall, row: Model, *, cap: int) -> _Compared:
    prompt = call.usage["input_tokens"] if call.usage else 0
    if prompt + cap > row.context:
        behind = f" and its output cap of {cap:,}" if cap else ""
        yield "refused", f"its prompt of {prompt:,} tokens{behind} exceeds the window of {row.context:,} of {row.id}"


def _silent_changes(body: Mapping[str, Any], new: EncodedRequest, row: Model) -> _Compared:
    """What is sent without a warning, and is not known to mean the same."""
    last, response_format = new.body["messages"][-1:], body.get("response_format")
    begins_to_think = thinks(new.fields) and not thinks(body)
    if begins_to_think and any(each.get("partial") and not each.get("reasoning_content") for each in last):
        yield "changes", f"it continues a text without reasoning; how {row.id}, which thinks, does so is not known"
    if isinstance(response_format, Mapping) and response_format.get("type") == "json_schema" and not row.json_schema:
        yield "changes", f"{row.id} is not known to follow response_format json_schema"


def _encode(body: Mapping[str, Any], old: str, model: str) -> EncodedRequest:
    """The request that ChatKimi sends to Kimi's own host with another model."""
    messages = convert_to_messages(body.get("messages") or [])
    return encode_request(_settings(body, old, model), messages, stream=body.get("stream") is True)


def _settings(body: Mapping[str, Any], old: str, model: str) -> dict[str, Any]:
    """ChatKimi's settings for a request. An output cap that is the recorded model's default is none of the user's."""
    settings = {key: value for key, value in body.items() if key not in _NOT_SETTINGS} | {"model": model}
    thinking = body.get("thinking")
    if isinstance(thinking, Mapping):
        settings["thinking"] = thinking.get("type") != "disabled"
        settings["keep_thinking"] = True if thinking.get("keep") == "all" else None
        settings["reasoning_effort"] = thinking.get("effort", settings.get("reasoning_effort"))
    cap = body.get("max_completion_tokens", body.get("max_tokens"))
    if cap is not None and cap != default_output(find(old)):
        settings["max_tokens"] = cap
    return settings


def _thinking(row: Model) -> str:
    return {"always": "always", "optional": "unless it is switched off", "never": "never"}[row.thinking]


def _effort(row: Model) -> str:
    return f"{'/'.join(row.efforts)}, {row.default_effort} by default" if row.efforts else "none to choose"


def _choices(row: Model) -> str:
    return ", ".join(sorted(row.choices(row.thinking != "never")))


def _sampling(row: Model) -> str:
    return "fixed" if row.pinned(row.thinking != "never") else "free"


def _price(row: Model) -> str:
    return f"{row.usd.hit:g} / {row.usd.miss:g} / {row.usd.output:g}" if row.usd else "unknown"


def _cache_writes(row: Model) -> str:
    price: Price | None = row.usd
    if price is None:
        return "unknown"
    return "not billed" if price.write_5m is None else f"{price.write_5m:g} (5 minutes), {price.write_1h:g} (1 hour)"


_FACTS: Mapping[str, Callable[[Model], str]] = {
    "window": lambda row: f"{row.context:,} tokens",
    "default output cap": lambda row: f"{row.default_output:,} tokens",
    "thinks": _thinking,
    "effort": _effort,
    "earlier reasoning is read": lambda row: row.keeps.replace("_", " "),
    "tool_choice": _choices,
    "sampling": _sampling,
    "inputs": lambda row: ", ".join(row.inputs),
    "batches": lambda row: "yes" if row.batch else "no",
    "USD/M hit / miss / out": _price,
    "USD/M cache writes": _cache_writes,
}
"""What a model does in every request, each as a text. `tool_choice` and sampling are those while it thinks."""
