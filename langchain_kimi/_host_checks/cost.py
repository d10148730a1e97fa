"""What the requests of all checks cost: at most, before they are sent, and by their usage, afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from langchain_kimi import tokens
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse
from langchain_kimi.catalogue import Model, find
from langchain_kimi.usage import MILLION, Usage


@dataclass(frozen=True, slots=True)
class Estimate:
    """The most that a run can cost at list price, if every request is taken once and every answer reaches its cap.

    Nothing counts as cached, and prompts are estimated by their characters. Kimi does not charge what it refuses.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    """None where the price of the model is not known."""


def estimate_requests(requests: Iterable[ChatRequest], row: Model | None) -> Estimate:
    """The estimate for requests of a model."""
    listed = list(requests)
    read, written = sum(_prompt_tokens(request, row) for request in listed), sum(request.cap for request in listed)
    price = row.usd if row else None
    usd = None if price is None else (read * max(price.miss, price.write_5m or 0) + written * price.output) / MILLION
    return Estimate(len(listed), read, written, usd)


def _prompt_tokens(request: ChatRequest, row: Model | None) -> int:
    prompt = orjson.dumps([request.messages, request.fields.get("tools"), request.fields.get("response_format")])
    frames = tokens.frames_of(row)
    return tokens.per_request(frames) + frames.message * len(request.messages) + tokens.count_text(prompt.decode())


def spent(responses: Iterable[HostResponse], model: str) -> tuple[Usage, int]:
    """The usage of answers at list price, and how many answers reported none.

    The answer to a stream that was dropped is one of those, since its usage would have come last.
    """
    total, unknown = Usage(cost_usd=0.0 if _has_price(model) else None), 0
    for response in responses:
        if response.usage is not None:
            total += Usage.of_response(response.usage, model)
        elif response.status == 200:
            unknown += 1
    return total, unknown


def _has_price(model: str) -> bool:
    row = find(model)
    return row is not None and row.usd is not None
