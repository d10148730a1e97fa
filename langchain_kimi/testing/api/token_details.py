"""What Kimi can say of the tokens of an answer: their ids and their log probabilities. The values are made up."""

import zlib
from collections.abc import Sequence
from typing import Any

_VOCABULARY = 163_584
_BYTES_PER_TOKEN = 4
_LOGPROB = -0.25


def token_ids(text: str) -> list[int]:
    """Ids of the tokens of a text, always the same for the same text. An empty text has one, for its end."""
    encoded = text.encode("utf-8", "surrogatepass")
    starts = range(0, max(len(encoded), 1), _BYTES_PER_TOKEN)
    return [zlib.crc32(encoded[start : start + _BYTES_PER_TOKEN]) % _VOCABULARY for start in starts]


def token_logprobs(tokens: Sequence[str], top: int) -> dict[str, Any]:
    """The `logprobs` of a choice, each token with `top` alternatives, itself the first of them."""
    return {"content": [_entry(token, 0) | {"top_logprobs": _alternatives(token, top)} for token in tokens]}


def _alternatives(token: str, top: int) -> list[dict[str, Any]]:
    return [_entry(token if rank == 0 else f"{token}{rank}", rank) for rank in range(top)]


def _entry(token: str, rank: int) -> dict[str, Any]:
    encoded = token.encode("utf-8", "surrogatepass")
    return {"token": token, "logprob": (1 + rank) * _LOGPROB, "bytes": list(encoded)}
