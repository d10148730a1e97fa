"""The report of `langchain-kimi verify-host`: a table, the settings as Python, and the cost; or all of it as JSON."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_kimi._host_checks.assumptions import AssumptionResult, assumption_results
from langchain_kimi._host_checks.checks import CheckResult
from langchain_kimi._host_checks.cost import Estimate, spent
from langchain_kimi._host_checks.run import Report
from langchain_kimi._redaction import shown_line
from langchain_kimi.cli.output import write_line

_MARKS = {"passed": "✓", "differs": "~", "failed": "✗", "unclear": "?", "confirmed": "✓", "refuted": "✗"}
_NAME_WIDTH = 24
_PIPE_WIDTH = 120
_NOTHING = "none needed"
_ON_KIMI = "What this settles of the package's assumptions about Kimi:"
_ELSEWHERE = "The package's assumptions about Kimi, and this host; only Kimi's own hosts can settle them:"


def estimate_line(expected: Estimate, model: str) -> str:
    """The most that the checks can cost, and what that assumes."""
    price = f"the price of {model} is not known" if expected.usd is None else f"at most ${expected.usd:.4f}"
    return (
        f"{expected.requests} requests: {price}. That is {expected.input_tokens:,} tokens of prompts (estimated, none "
        f"of them cached) and {expected.output_tokens:,} of answers (each as long as its cap) at Kimi's list prices; "
        "requests that are sent again after a failure come on top."
    )


def write_report(report: Report, expected: Estimate, key_variable: str | None, *, interrupted: bool) -> None:
    """Print the report for people."""
    write_line(f"{report.profile.url} as a host of {report.profile.model}")
    if interrupted:
        write_line("The checks were interrupted; this is what they showed until then.")
    write_line(_verdict(report, interrupted))
    write_line("")
    _write_table(("check", "Moonshot expects", "the host", "ChatKimi"), map(_result_row, report.results))
    if assumptions := _assumption_results(report, interrupted):
        write_line("")
        write_line(_ON_KIMI if report.profile.is_kimi else _ELSEWHERE)
        write_line("")
        _write_table(("assumption", "this package assumes", "the host"), map(_assumption_row, assumptions))
    write_line("")
    write_line(settings_code(report.settings, key_variable), keep="\n")
    write_line("")
    write_line(_cost_line(report, expected))


def write_json(report: Report, expected: Estimate, key_variable: str | None, *, interrupted: bool) -> None:
    """Print the report as one JSON object, whose fields `docs/hosts.md` describes."""
    usage, unknown = spent(report.responses, report.profile.model)
    document = {
        "version": 1,
        "host": report.profile.url,
        "model": report.profile.model,
        "host_is_kimi": report.profile.is_kimi,
        "quick": report.profile.quick,
        "interrupted": interrupted,
        "faithful": not report.failed_musts and not interrupted,
        "checks": [_result_json(result) for result in report.results],
        "assumptions": [
            {"name": one.assumption.name, "verdict": one.verdict, "assumed": one.assumption.text}
            | {"observed": _shown(one.observed)}
            for one in _assumption_results(report, interrupted)
        ],
        "settings": report.settings,
        "python": settings_code(report.settings, key_variable),
        "cost": {
            "requests": len(report.responses),
            "without_usage": unknown,
            "input_tokens": usage.input_tokens,
            "cached_tokens": usage.cached_tokens,
            "output_tokens": usage.output_tokens,
            "usd": usage.cost_usd,
            "estimated_at_most_usd": expected.usd,
        },
    }
    write_line(json.dumps(document, indent=2, ensure_ascii=False), keep="\n")


def settings_code(settings: dict[str, Any], key_variable: str | None) -> str:
    """Python that makes the `ChatKimi` for the host."""
    arguments = [f"    {name}={_literal(value)}," for name, value in settings.items()]
    head = ["from langchain_kimi import ChatKimi", ""]
    if key_variable:
        head = ["import os", "", *head]
        arguments.append(f"    api_key=os.environ[{_literal(key_variable)}],")
    return "\n".join([*head, "model = ChatKimi(", *arguments, ")"])


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | dict) else repr(value)


def _assumption_results(report: Report, interrupted: bool) -> list[AssumptionResult]:
    """The assumptions; none of a run that was interrupted, since their requests may not have been sent."""
    return [] if interrupted else assumption_results(report.profile, report.record)


def _result_json(result: CheckResult) -> dict[str, Any]:
    return {
        "name": result.check.name,
        "level": result.check.level,
        "outcome": result.outcome,
        "expected": result.check.expected,
        "source": result.check.source,
        "observed": _shown(result.observed),
        "advice": result.setting,
        "settings": dict(result.arguments),
    }


def _result_row(result: CheckResult) -> tuple[str, ...]:
    check = result.check
    advice = result.setting if result.outcome in ("differs", "failed") else _NOTHING
    name = f"{_MARKS[result.outcome]} {check.name}"
    return name, f"{check.level}: {check.expected} ({check.source})", _shown(result.observed), advice


def _assumption_row(one: AssumptionResult) -> tuple[str, ...]:
    name = f"{_MARKS[one.verdict]} {one.assumption.name}"
    return name, one.assumption.text, f"{one.verdict}: {_shown(one.observed)}"


def _shown(text: str) -> str:
    return shown_line(" ".join(text.split()))


def _verdict(report: Report, interrupted: bool) -> str:
    if failed := report.failed_musts:
        return f"No faithful Kimi: {', '.join(result.check.name for result in failed)} must hold and fails."
    others = [result.check.name for result in report.results if result.outcome in ("differs", "failed")]
    so_far = " so far" if interrupted else ""
    notes = f"; it differs in {', '.join(others)}" if others else ""
    return f"A faithful Kimi{so_far}: everything holds that must hold{notes}."


def _cost_line(report: Report, expected: Estimate) -> str:
    usage, unknown = spent(report.responses, report.profile.model)
    price = f"${usage.cost_usd:.4f} at Kimi's list prices" if usage.cost_usd is not None else "unknown price"
    limit = f", of at most ${expected.usd:.4f} expected" if expected.usd is not None else ""
    silent = ""
    if unknown:
        silent = f" Of {unknown} other answer{'' if unknown == 1 else 's'} the usage is not known."
    return (
        f"Cost: {price}{limit}: {len(report.responses)} requests, {usage.input_tokens:,} tokens "
        f"read ({usage.cached_tokens:,} cached), {usage.output_tokens:,} written.{silent}"
    )


def _write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose cells are wrapped at words; the first column has a fixed width, the others share the rest."""
    to_terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = shutil.get_terminal_size().columns if to_terminal else _PIPE_WIDTH
    others = max((width - _NAME_WIDTH) // (len(head) - 1) - 2, 16)
    widths = [_NAME_WIDTH, *[others] * (len(head) - 1)]
    for row in (head, ["-" * width for width in widths], *rows):
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for line in range(max(map(len, cells))):
            parts = [cell[line] if line < len(cell) else "" for cell in cells]
            write_line("  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip())
