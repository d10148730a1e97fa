"""How many tokens texts, pictures and the frames of Kimi's chat templates have, without a tokeniser.

A token of Kimi's is a piece of a word, up to three digits, or a run of punctuation. So a text is estimated from its
words and its characters of each kind. The weights are fitted to counts of English, code, JSON, tables, logs and nine
other languages; sums over texts of one of these kinds are mostly within a tenth. Numbers with decimals are estimated
too high by a quarter; base64 has twice as many tokens as estimated.

The frames are facts: differences between the counts that MoonshotAI/Kimi-Vendor-Verifier expects of hosts of kimi-k3
(`tests/k3_features` and `testdata/prompt_token_cases`, August 2026) and, for K2, of the counts in sgl-project/sglang
pull request 40356 (kimi-k2.5). So is the rule for pictures: `in_patch_limit` and its neighbours in the published
processors.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt

from langchain_kimi.catalogue import Model

_SAMPLED = 1_024
"""Longer texts are estimated from this many of their characters."""
_WINDOWS = 8

_DIGITS = string.digits.encode()
_PUNCTUATION = string.punctuation.encode()
_ASCII = bytes(range(0x80))
_CONTINUATION = bytes(range(0x80, 0xC0))

_WORD = 0.54
_LETTER = 0.14
_RUN = 20
_LETTER_IN_RUN = 0.25
"""A letter of a run of more than `_RUN` letters: these are no words, as in base64."""
_DIGIT = 0.8
_MARK = 0.38
_LINE = 1.1
_INDENT = -0.35
"""What four more spaces change, which belong to the token before or after them."""
_SCHEMA = 0.93
"""Schemas have fewer tokens than other JSON, because their keywords are words that every model knows."""


def _weights() -> Mapping[int, float]:
    """Tokens of a character beyond ASCII, by the first byte of its UTF-8."""
    scripts = {
        (0xC2, 0xC3): 2.8,  # accents of western Europe, which break words into pieces
        (0xC4, 0xCF): 2.2,  # other Latin alphabets; Greek
        (0xD0, 0xD3): 0.36,  # Cyrillic
        (0xD4, 0xE1): 0.62,  # Hebrew, Arabic; India, south-eastern Asia, Vietnamese
        (0xE2, 0xE2): 0.7,  # typographic marks and symbols
        (0xE3, 0xE3): 0.78,  # Japanese syllables, East Asian punctuation
        (0xE4, 0xE9): 0.51,  # Chinese characters
        (0xEA, 0xED): 0.86,  # Korean
        (0xEE, 0xEF): 1.0,  # full-width punctuation
        (0xF0, 0xF7): 2.0,  # emoji
    }
    return {byte: weight for (first, last), weight in scripts.items() for byte in range(first, last + 1)}


_BEYOND_ASCII = _weights()


def count_text(text: str) -> int:
    """The estimated tokens of a text; never 0 for one that is not empty."""
    size = len(text)
    if size <= _SAMPLED:
        return max(1, round(_estimate(text))) if text else 0
    width = _SAMPLED // _WINDOWS
    step = (size - width) // (_WINDOWS - 1)
    sample = "".join([text[step * window : step * window + width] for window in range(_WINDOWS)])
    return round(_estimate(sample) * size / _SAMPLED)


def count_schema(json: str) -> int:
    """The estimated tokens of a JSON Schema, or of a tool with one, as compact JSON."""
    return max(1, round(_SCHEMA * count_text(json)))


def _estimate(text: str) -> float:
    encoded = text.encode("utf-8", "replace")
    size = len(encoded)
    spaces, pairs, fours, lines = map(encoded.count, (b" ", b"  ", b"    ", b"\n"))
    digits = size - len(encoded.translate(None, _DIGITS))
    marks = size - len(encoded.translate(None, _PUNCTUATION))
    beyond, ascii_size = 0.0, size
    if size > len(text):
        others = encoded.translate(None, _ASCII)
        ascii_size -= len(others)
        first_bytes = others.translate(None, _CONTINUATION)
        beyond = sum(_BEYOND_ASCII[byte] * first_bytes.count(byte) for byte in set(first_bytes))
    words = spaces - pairs - fours + lines + 1
    letters = ascii_size - spaces - lines - digits - marks
    in_runs = max(0, letters - _RUN * (words + marks))
    return (
        _WORD * words
        + _LETTER * letters
        + (_LETTER_IN_RUN - _LETTER) * in_runs
        + _DIGIT * digits
        + _MARK * marks
        + _LINE * lines
        + _INDENT * fours
        + beyond
    )


@dataclass(frozen=True, slots=True)
class Frames:
    """The tokens that a chat template puts around the parts of a request."""

    request: int
    """The beginning of the answer."""
    effort: int
    """The message that states the effort of thinking, where the model thinks."""
    message: int
    """Around the content of a system or user message."""
    answer: int
    """Around the content of an assistant message."""
    thinking: int
    """Around the reasoning of an assistant message; also where there is none, as long as the model thinks."""
    result: int
    """Around the content of a tool message, without the name of the tool."""
    calls: int
    """Around all tool calls of a message."""
    call: int
    """Around one tool call, without its name."""
    argument: int
    """For each argument of a call, besides its JSON."""
    tools: int
    """Around the declarations of a request's tools."""
    dynamic_tools: int
    """Around the declarations of a system message, in place of `message`."""
    required: int = 0
    """For `tool_choice` "required"; "none" has two more."""
    json_object: int = 0
    json_schema: int = 0
    """For a `response_format`, without the schema."""
    picture: int = 0
    """Around a picture."""
    picture_patches: int = 0
    """The most patches of 14 by 14 pixels that a picture is scaled down to."""


K3 = Frames(7, 67, 11, 17, 6, 18, 6, 13, 11, 35, 56, 36, 47, 60, picture=10, picture_patches=65_536)
K2 = Frames(4, 0, 4, 4, 2, 12, 2, 8, 0, 8, 8, picture=5, picture_patches=16_384)


def frames_of(row: Model | None) -> Frames:
    """The frames of a model's template; those of K3 for a model that is not known."""
    return K3 if row is None or row.family == "k3" else K2


_PATCH = 14
_MERGED = 2 * _PATCH
"""Pixels of the side of a square that becomes one token."""
_MOST_PATCHES_OF_A_SIDE = 512


def count_picture(width: int, height: int, frames: Frames = K3) -> int:
    """The tokens of a picture of this size in pixels, by the rule of the published processors."""
    patches = max(width // _PATCH, 1) * max(height // _PATCH, 1)
    side = _MOST_PATCHES_OF_A_SIDE * _PATCH
    scale = min(1.0, sqrt(frames.picture_patches / patches), side / width, side / height)
    columns, rows = (ceil(max(int(pixels * scale), 1) / _MERGED) for pixels in (width, height))
    return frames.picture + columns * rows
