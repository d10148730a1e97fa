"""The output cap and the window: what fits behind the prompt, by our estimate and by the host's own count."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_kimi import tokens
from langchain_kimi._request.settings import Note
from langchain_kimi._request.tools import Tools
from langchain_kimi.catalogue import Model, default_output
from langchain_kimi.errors import ContextOverflowError, KimiError

CAP = "max_completion_tokens"
ENOUGH_TO_THINK = 16_000
"""Tokens: the lowest output cap that Kimi's documentation names for a thinking model."""
_ENOUGH_TO_ANSWER = 4_096
_LEAST_TO_THINK = 4_096
_LEAST_TO_ANSWER = 1_024


def encode_cap(row: Model | None, settings: Mapping[str, Any], *, thinks: bool, notes: list[Note]) -> dict[str, int]:
    """The output cap, always explicit: without one Kimi counts its default against the rate limit."""
    cap = settings.get("max_tokens", settings.get(CAP))
    if cap is None:
        return {CAP: default_output(row)}
    if thinks and row is not None and cap < ENOUGH_TO_THINK:
        notes.append(
            Note(
                "max_tokens",
                f"max_tokens={cap} while {row.id} thinks: thinking counts as output, so an answer may end before it "
                f"begins. Use at least {ENOUGH_TO_THINK} or leave it out.",
            )
        )
    return {CAP: cap}


@dataclass(frozen=True, slots=True)
class Fit:
    """How an output cap stands to the window behind the prompt."""

    least: int | None = None
    """The least cap that the request may be sent again with, where the host says how much fits. None where the user
    chose the cap, or the window is not known."""
    overflow: ContextOverflowError | None = None
    """Why nothing is to be sent: the prompt is surely longer than the window, or a cap of the user's does not fit."""


def fit_cap(
    fields: dict[str, Any],
    settings: Mapping[str, Any],
    row: Model | None,
    estimate: int,
    count_certain: Callable[[], int],
    *,
    thinks: bool,
    notes: list[Note],
) -> Fit:
    """Lower a default output cap to what fits behind messages of about `estimate` tokens.

    `count_certain`: the tokens of these messages that the model reads in any case.
    """
    cap = fields.get(CAP)
    if row is None or not isinstance(cap, int):
        return Fit()
    by_user = (
        settings.get("max_tokens") or settings.get("max_completion_tokens") or CAP in settings.get("extra_body", {})
    )
    raises = settings.get("max_tokens_over_window") == "raise"
    floor = ENOUGH_TO_THINK if thinks else _ENOUGH_TO_ANSWER
    least = None if by_user else floor if raises else _LEAST_TO_THINK if thinks else _LEAST_TO_ANSWER
    if estimate + cap <= row.context * 3 // 4:
        return Fit(least)
    tools = settings.get("tools") or ()
    tools = tools if isinstance(tools, Tools) else Tools(tools)
    prompt = estimate + tools.tokens
    if prompt + cap <= row.context:
        return Fit(least)
    text = f"The prompt is about {prompt:,} tokens and the window of {row.id} {row.context:,}"
    if by_user:
        advice = (
            f"max_tokens={cap} does not fit behind it, so nothing was sent. Lower max_tokens, leave it out, or shorten "
            "the conversation."
        )
        return Fit(least, _overflow(f"{text}: {advice}", row, prompt + cap) if raises else None)
    if tokens.at_least(count_certain() + tools.tokens) > row.context:
        advice = "it cannot fit, so nothing was sent. Shorten the conversation, or use a model with a larger window."
        return Fit(overflow=_overflow(f"{text}: {advice}", row, prompt + cap))
    # The floor is what an answer needs. An estimate is not exact enough to go below it, as the host's own count is,
    # which comes with its refusal; and it may be a little low.
    fitted = min(cap, max(row.context - prompt - prompt // 50, floor))
    if fitted < cap:
        fields[CAP] = fitted
        notes.append(Note("cap", f"{text}: the output cap is lowered from {cap:,} to {fitted:,} tokens."))
    return Fit(least)


def refitted_cap(cap: object, least: int | None, error: KimiError) -> int | None:
    """The smaller cap that fits by the numbers in the host's refusal; None where too little is left for an answer."""
    if least is None or not isinstance(cap, int) or not isinstance(error, ContextOverflowError):
        return None
    if error.limit is None or error.requested is None:
        return None
    free = error.limit - (error.requested - cap)
    return free if least <= free < cap else None


def _overflow(text: str, row: Model, requested: int) -> ContextOverflowError:
    error = ContextOverflowError(text)
    error.limit, error.requested = row.context, requested
    return error
