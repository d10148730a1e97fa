"""Splitting streams and waiting between tries."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_kimi.errors import BadRequestError, KimiError, OverloadedError, RateLimitError, ServerError
from langchain_kimi.transport import Events, Retries

TEXTS = st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), min_size=1)


@given(st.lists(TEXTS), st.lists(st.integers(0, 200)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_events_come_out_as_they_went_in_however_they_are_cut(
    texts: list[str], cuts: list[int], newline: str, ended: bool
) -> None:
    body = "".join(f": ping{newline}id: 1{newline}data: {text}{newline}{newline}" for text in texts).encode()
    if not ended:
        body = body.removesuffix(newline.encode() * 2)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    events = Events()
    out = [data for a, b in itertools.pairwise(edges) for data in events.feed(body[a:b])]
    assert [*out, *events.end()] == [text.encode() for text in texts]


def test_data_of_several_lines_is_one_event() -> None:
    assert list(Events().feed(b'data: {"a":\ndata: 1}\n\n')) == [b'{"a":\n1}']


def waits(error: KimiError, most: int) -> list[float | None]:
    retries = Retries(most)
    return [retries.wait(error) for _ in range(most + 1)]


def test_waits_grow_and_end() -> None:
    first, second, third, last = waits(ServerError("x"), 3)
    assert first is not None
    assert second is not None
    assert third is not None
    assert 0.3 < first < 0.7 < second < 1.3 < third < 2.6
    assert last is None


def test_overload_waits_long() -> None:
    first = waits(OverloadedError("x"), 1)[0]
    assert first is not None
    assert first > 3


@pytest.mark.parametrize(("asked", "waited"), [(0.0, 0.0), (7.0, 7.0), (3600.0, None)])
def test_the_wait_that_kimi_asks_for_is_kept_unless_absurd(asked: float, waited: float | None) -> None:
    assert waits(RateLimitError("x", retry_after=asked), 1)[0] == waited


def test_final_errors_are_not_waited_for() -> None:
    assert waits(BadRequestError("x"), 3)[0] is None
