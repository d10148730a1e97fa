"""Lone surrogates: halves of a UTF-16 pair, which are legal in a JSON escape and in no text.

A model that is cut between two tokens of an emoji writes `"\\ud83d"`. A pair that was split over two pieces of a text
is joined; a half that stays alone is replaced by U+FFFD, since no UTF-8 encoder takes it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Never

import orjson

_ESCAPED = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


def loads(data: bytes) -> Any:
    """The value of a JSON text. As orjson, but lone surrogates are allowed. Raises ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        if not _ESCAPED.search(data):
            raise
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def replaced(text: str) -> str:
    """The text with U+FFFD for each lone surrogate; pairs become their character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def replaced_in(value: Any) -> Any:
    """A value of JSON's types with `replaced` strings and keys; the same object if nothing is replaced."""
    if isinstance(value, str):
        return replaced(value)
    if isinstance(value, Mapping):
        changed = {replaced_in(key): replaced_in(one) for key, one in value.items()}
        same = all(changed.get(key, value) is one for key, one in value.items())
        return value if same else changed
    if isinstance(value, (list, tuple)):
        items = [replaced_in(one) for one in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value


def dumps(value: Any) -> bytes:
    """The value as JSON, as orjson writes it, with `replaced` strings. Raises TypeError for what JSON cannot hold."""
    try:
        return orjson.dumps(value)
    except TypeError:
        if (clean := replaced_in(value)) is value:
            raise
        return orjson.dumps(clean)


class PieceJoiner:
    """Makes the texts of a streamed answer whole: pairs split over two pieces are joined, lone halves replaced."""

    def __init__(self) -> None:
        self._held: dict[object, str] = {}
        self.found_surrogates = False
        """Whether any half stayed alone."""

    def feed(self, text: object, piece: str) -> str:
        """The next piece of a text, named by any hashable; half a pair at its end is held back."""
        piece = self._held.pop(text, "") + piece
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            self._held[text] = piece[-1]
            piece = piece[:-1]
        return str(self.replaced(piece))

    def replaced(self, value: Any) -> Any:
        """A value of JSON's types without lone surrogates."""
        whole = replaced_in(value)
        self.found_surrogates = self.found_surrogates or (whole != value and "\ufffd" in str(whole))
        return whole

    def rest(self) -> Mapping[object, str]:
        """What is left of each text of which a half was held back."""
        held, self._held = self._held, {}
        self.found_surrogates = self.found_surrogates or bool(held)
        return dict.fromkeys(held, "\ufffd")


def _refuse_constant(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")
