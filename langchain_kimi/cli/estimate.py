"""`langchain-kimi estimate`: tokens and money of recorded runs with another model, or with the cache lost."""

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from langchain_kimi._recorded_runs import RunSourceError
from langchain_kimi.catalogue import AS_OF, Model
from langchain_kimi.cli.command_errors import CommandError
from langchain_kimi.cli.forecast import ForecastRun, read_forecast_run
from langchain_kimi.cli.migrate import catalogue_row, write_table
from langchain_kimi.cli.output import write_line
from langchain_kimi.testing.cassettes import CassetteError

_TOKENS = ("input", "cached", "output", "reasoning")


def run_estimate_command(options: argparse.Namespace) -> int:
    """Print the estimate."""
    row = catalogue_row("--model", options.model) if options.model else None
    try:
        runs = [read_forecast_run(source, options.thread, row) for source in options.sources]
    except (RunSourceError, CassetteError) as error:
        raise CommandError(str(error)) from error
    for run in runs:
        if not run.tokens.requests:
            raise CommandError(f"{run.source} holds no requests to a model.")
    if options.json:
        write_line(orjson.dumps(_as_json(runs, row, options.runs)).decode())
    else:
        _write_estimate(runs, row, options.runs)
    return 0


def _write_estimate(runs: Sequence[ForecastRun], row: Model | None, count: int) -> None:
    head = ("run", "requests", *_TOKENS, "USD then", "USD low", "USD high")
    write_table([head, *(_cells(run) for run in runs)])
    low, mean, high = _per_run(runs)
    name = row.id if row else "the same model"
    write_line("")
    if low is None or mean is None or high is None:
        write_line(f"{count:,} runs with {name}: unknown, because a price or a usage is not known.")
    else:
        range_text = f"${low * count:,.2f} to ${high * count:,.2f}"
        write_line(f"{count:,} runs with {name}: {range_text}; ${mean * count:,.2f} with the cache as recorded.")
        write_line(f"{count:,} runs take {_mean_tokens(runs) * count:,.0f} tokens, read and written.")
    for line in _basis(runs, row):
        write_line(line)


def _cells(run: ForecastRun) -> tuple[str, ...]:
    spent = run.tokens
    tokens = (spent.input_tokens, spent.cached_tokens, spent.output_tokens, spent.reasoning_tokens)
    then = None if run.money.then is None or run.fees_usd is None else run.money.then + run.fees_usd
    dollars = ("unknown" if usd is None else f"{usd:,.6f}" for usd in (then, run.low, run.high))
    return run.source, f"{run.tokens.requests:,}", *(f"{count:,}" for count in tokens), *dollars


def _per_run(runs: Sequence[ForecastRun]) -> tuple[float | None, float | None, float | None]:
    """US dollars of one run: of the cheapest with its cache, of the mean, and of the dearest without a cache."""
    lows, highs = [run.low for run in runs], [run.high for run in runs]
    known_lows, known_highs = [usd for usd in lows if usd is not None], [usd for usd in highs if usd is not None]
    if len(known_lows) < len(runs) or len(known_highs) < len(runs):
        return None, None, None
    return min(known_lows), sum(known_lows) / len(runs), max(known_highs)


def _mean_tokens(runs: Sequence[ForecastRun]) -> float:
    return sum(run.tokens.input_tokens + run.tokens.output_tokens for run in runs) / len(runs)


def _basis(runs: Sequence[ForecastRun], row: Model | None) -> Iterator[str]:
    """What the range rests on, in whole sentences."""
    requests = sum(run.tokens.requests for run in runs)
    cached, read = (sum(getattr(run.tokens, name) for run in runs) for name in ("cached_tokens", "input_tokens"))
    share = f"{cached / read:.0%}" if read else "none"
    many = f"{len(runs)} recorded runs" if len(runs) > 1 else "one recorded run"
    yield f"It rests on {requests:,} requests of {many}, the tokens as recorded, and list prices of {AS_OF}."
    which = ("the cheapest run ", "the dearest run ") if len(runs) > 1 else ("", "")
    yield f"Low: {which[0]}with as many tokens from the cache as were recorded ({share} of the input)."
    yield f"High: {which[1]}with nothing from the cache."
    others = sorted({model for run in runs for model in run.models} - {row.id if row else ""})
    if row and others:
        names = ", ".join(others)
        yield f"Answers of {row.id} may be longer or shorter than those of {names}; the range leaves that out."
    refused, changed = sum(run.refused for run in runs), sum(run.changed for run in runs)
    if row and (refused or changed):
        advice = f"`langchain-kimi migrate --to {row.id}` shows what it can of them"
        yield f"{row.id} would refuse {refused:,} of the requests and do {changed:,} otherwise; {advice}."
    yield from dict.fromkeys(f"{run.source}: {text}" for run in runs for text in run.missing)


def _as_json(runs: Sequence[ForecastRun], row: Model | None, count: int) -> dict[str, Any]:
    low, mean, high = _per_run(runs)
    total = {"low": low, "as_recorded": mean, "high": high}
    return {
        "model": row.id if row else None,
        "runs": count,
        "tokens": round(_mean_tokens(runs) * count),
        "usd": {name: None if usd is None else usd * count for name, usd in total.items()},
        "rests_on": list(_basis(runs, row)),
        "recorded": [
            {
                "source": run.source,
                "models": run.models,
                "requests": run.tokens.requests,
                "input_tokens": run.tokens.input_tokens,
                "cached_tokens": run.tokens.cached_tokens,
                "output_tokens": run.tokens.output_tokens,
                "reasoning_tokens": run.tokens.reasoning_tokens,
                "fees_usd": run.fees_usd,
                "usd": {"then": run.money.then, "low": run.low, "high": run.high},
            }
            for run in runs
        ],
    }
