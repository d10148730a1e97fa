"""Server-sent events come out whole, whatever the sizes of the pieces."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from langchain_kimi._http import SSEParser

TEXTS = st.text(st.characters(blacklist_characters="\r\n", codec="utf-8"), min_size=1).filter(
    lambda text: not text.encode().isspace()  # such events are skipped as empty
)


@given(st.lists(TEXTS), st.lists(st.integers(0, 200)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_events_come_out_as_they_went_in_however_they_are_cut(
    texts: list[str], cuts: list[int], newline: str, ended: bool
) -> None:
    body = "".join(f": ping{newline}id: 1{newline}data: {text}{newline}{newline}" for text in texts).encode()
    if not ended:
        body = body.removesuffix(newline.encode() * 2)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    events = SSEParser()
    out = [data for a, b in itertools.pairwise(edges) for data in events.feed(body[a:b])]
    assert [*out, *events.end()] == [text.encode() for text in texts if not text.encode().isspace()]


def test_data_of_several_lines_is_one_event() -> None:
    assert list(SSEParser().feed(b'data: {"a":\ndata: 1}\n\n')) == [b'{"a":\n1}']
