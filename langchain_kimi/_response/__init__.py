"""Wire to LangChain: one decoder for whole and streamed answers, without I/O.

`answer` puts a message together, `calls` the tool calls in it, `thinking` reads every host's reasoning, `mend` joins
characters that were cut in two; `complete` raises for answers that are not whole; `blocks` tells LangChain how our
messages look as content blocks.
"""

from langchain_kimi._response.completeness import check_complete, check_cut
from langchain_kimi._response.content_blocks import register
from langchain_kimi._response.decoder import REPORT, ResponseDecoder
from langchain_kimi._response.fast_chunks import generation_of

register()

__all__ = ["REPORT", "ResponseDecoder", "check_complete", "check_cut", "generation_of"]
