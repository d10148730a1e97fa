"""Wraps a text at words while it is still being written."""

import re
import unicodedata

_PIECES = re.compile(r"\n|[^\S\n]+|\S+")
_WIDE = "WF"
"""Unicode's classes of characters that take two columns, such as Chinese ones, which may be broken anywhere."""


class WordWrap:
    """Takes a text in pieces and gives it back with line breaks; a word is held back until its end is known.

    `width` is the number of columns; None leaves the text as it is.
    """

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._column = 0
        self._space = ""
        self._word = ""

    def add(self, text: str, indent: str = "") -> str:
        """What can be written after one more piece of text; `indent` begins the lines that are broken here."""
        if self._width is None:
            return text
        written = ""
        for piece in _PIECES.findall(text):
            if not piece.isspace():
                written += self._add_word(piece, indent)
                continue
            written += self.end_word(indent)
            if piece == "\n":
                written += "\n"
                self._column, self._space = 0, ""
            else:
                self._space += piece
        return written

    def end_word(self, indent: str = "") -> str:
        """The word that was held back."""
        word, space = self._word, self._space
        self._word = ""
        if not word or self._width is None:
            return ""
        self._space = ""
        if self._column and self._column + len(space) + columns(word) > self._width:
            self._column, space = 0, f"\n{indent}"
        self._column += len(space.removeprefix("\n")) + columns(word)
        if self._column > self._width:  # one long word, which the terminal breaks
            self._column %= self._width
        return space + word

    def end(self) -> str:
        """Everything that was held back, trailing spaces too."""
        written = self.end_word() + self._space
        self._column += len(self._space)
        self._space = ""
        return written

    def _add_word(self, piece: str, indent: str) -> str:
        written = ""
        for character in piece:
            wide = unicodedata.east_asian_width(character) in _WIDE
            if wide and self._word:
                written += self.end_word(indent)
            self._word += character
            if wide:
                written += self.end_word(indent)
        return written


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in _WIDE)
        for character in text
    )
