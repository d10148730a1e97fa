"""Wrapping at words while the text arrives."""

import random

import pytest

from langchain_kimi.cli.word_wrap import WordWrap, columns

TEXT = "The colony gives off 20 to 40 watts: honey.\n- near 33 °C\n\n  indented, and 蜜蜂在冬天聚成一团取暖。 End"


def wrapped(pieces: list[str], width: int | None) -> str:
    wrap = WordWrap(width)
    return "".join([*(wrap.add(piece) for piece in pieces), wrap.end()])


@pytest.mark.parametrize("width", [20, 33, 60, 100])
def test_no_line_is_longer_than_the_width_and_no_word_is_broken(width: int) -> None:
    text = wrapped([TEXT], width)
    assert max(map(columns, text.split("\n"))) <= width
    latin = [word for word in TEXT.split() if word.isascii()]
    assert [word for word in text.split() if word.isascii()] == latin
    assert "".join(text.split()) == "".join(TEXT.split())


@pytest.mark.parametrize("seed", range(20))
def test_pieces_do_not_matter(seed: int) -> None:
    places = sorted(random.Random(seed).sample(range(len(TEXT)), 12))
    pieces = [TEXT[start:end] for start, end in zip([0, *places], [*places, len(TEXT)], strict=True)]
    assert wrapped(pieces, 24) == wrapped([TEXT], 24)


def test_a_word_is_written_as_soon_as_its_end_is_known() -> None:
    wrap = WordWrap(60)
    assert [wrap.add(piece) for piece in ("one t", "wo", " three", "\n")] == ["one", "", " two", " three\n"]
    assert wrap.add("蜜蜂") == "蜜蜂"


def test_a_word_longer_than_a_line_is_left_to_the_terminal() -> None:
    assert wrapped(["see http://127.0.0.1:39253/winter-cluster now"], 20) == (
        "see\nhttp://127.0.0.1:39253/winter-cluster\nnow"
    )


def test_lines_that_are_broken_are_indented_on_request() -> None:
    assert WordWrap(22).add("  search(query='honey bees in winter')\n", "    ") == (
        "  search(query='honey\n    bees in winter')\n"
    )


def test_without_a_width_nothing_changes() -> None:
    assert wrapped([TEXT[:30], TEXT[30:]], None) == TEXT
