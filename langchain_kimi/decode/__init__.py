"""Wire to LangChain: one decoder for whole and streamed answers, without I/O.

`answer` puts a message together, `calls` the tool calls in it, `thinking` reads every host's reasoning; `blocks` tells
LangChain how our messages look as content blocks.
"""

from langchain_kimi.decode.answer import Answer, check_cut
from langchain_kimi.decode.blocks import register
from langchain_kimi.decode.pieces import generation_of

register()

__all__ = ["Answer", "check_cut", "generation_of"]
