"""What recorded runs would take with another model, or without the prefix cache: tokens and money, with a range."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata

from langchain_kimi._recorded_runs import RecordedRun, read_recorded_run
from langchain_kimi._recorded_runs.sources import is_database, shown_source
from langchain_kimi.catalogue import Model
from langchain_kimi.cli.migration import Migration, Money
from langchain_kimi.cli.recorded_calls import RecordedCall, read_calls
from langchain_kimi.usage import Usage, sum_if_known


@dataclass(frozen=True, slots=True)
class ForecastRun:
    """One recorded run with another model; without one, with the models that were recorded."""

    source: str
    """As messages show it, without the password of a database."""
    tokens: Usage
    """The tokens as recorded. Its cost is that of the recorded models."""
    money: Money
    fees_usd: float | None
    """The fees of tools that Kimi ran, which are part of no price of a model."""
    models: tuple[str, ...]
    refused: int
    changed: int
    missing: tuple[str, ...]
    """What the source does not hold, in whole sentences."""

    @property
    def low(self) -> float | None:
        """US dollars with as many tokens from the cache as were recorded."""
        return sum_if_known(self.money.now, self.fees_usd)

    @property
    def high(self) -> float | None:
        """US dollars with nothing from the cache."""
        return sum_if_known(self.money.now_uncached, self.fees_usd)


def read_forecast_run(source: str, thread: str | None, row: Model | None) -> ForecastRun:
    """The forecast of a source. Raises RunSourceError, CassetteError or OSError where it cannot be read."""
    if thread is None and not is_database(source):
        return _forecast(source, read_calls(Path(source)), row)
    run = read_recorded_run(source, thread)
    fees = [call.fees_usd for call in run.tool_calls]
    known = None if None in fees else sum(fee for fee in fees if fee is not None)
    return _forecast(source, list(_calls_of_run(run)), row, known, (*run.missing, *_not_stored(run)))


def _forecast(
    source: str,
    calls: Sequence[RecordedCall],
    row: Model | None,
    fees_usd: float | None = 0.0,
    missing: tuple[str, ...] = (),
) -> ForecastRun:
    tokens = sum((_usage_of(call) for call in calls), Usage())
    money = sum((Money.of(call, row.id if row else call.model) for call in calls), Money())
    compared = Migration.of(calls, row) if row else None
    counts = (compared.count("refused"), compared.count("changes")) if compared else (0, 0)
    models = tuple(dict.fromkeys(call.model for call in calls))
    return ForecastRun(shown_source(source), tokens, money, fees_usd, models, *counts, missing)


def _usage_of(call: RecordedCall) -> Usage:
    if call.usage is None and call.failed:
        return Usage(requests=1)
    return Usage.of_response(call.usage, call.model)


def _calls_of_run(run: RecordedRun) -> Iterator[RecordedCall]:
    """The requests of a thread, with earlier attempts and those of compactions."""
    for call in run.model_calls:
        thought = None if call.answer is None else run.message(call.answer).reasoning is not None
        yield RecordedCall(call.number, call.model, None, call.usage, call.is_free, thought)
        for usage in call.earlier_usages:
            yield RecordedCall(call.number, call.model, None, usage, False)
        if call.other_usage.requests:
            yield RecordedCall(call.number, call.model, None, _as_metadata(call.other_usage), False)


def _not_stored(run: RecordedRun) -> Iterator[str]:
    requests = run.usage.requests - sum(call.total.requests for call in run.model_calls)
    if requests > 0:
        yield f"{requests} requests of agents whose conversations are not stored are not part of the estimate."


def _as_metadata(usage: Usage) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_token_details=InputTokenDetails(cache_read=usage.cached_tokens, cache_creation=usage.cache_write_tokens),
        output_token_details=OutputTokenDetails(reasoning=usage.reasoning_tokens),
    )
