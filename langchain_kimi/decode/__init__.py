"""Wire to LangChain: one decoder for whole and streamed answers, without I/O.

`answer` puts a message together, `calls` the tool calls in it, `thinking` reads every host's reasoning, `mend` joins
characters that were cut in two; `complete` raises for answers that are not whole; `blocks` tells LangChain how our
messages look as content blocks.
"""

from langchain_kimi.decode.answer import REPORT, Answer
from langchain_kimi.decode.blocks import register
from langchain_kimi.decode.complete import check_complete, check_cut
from langchain_kimi.decode.pieces import generation_of

register()

__all__ = ["REPORT", "Answer", "check_complete", "check_cut", "generation_of"]
