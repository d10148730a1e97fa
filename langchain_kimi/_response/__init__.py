"""Decodes chat responses, whole or streamed, into LangChain messages, without I/O.

`decoder` reads the events; `reasoning`, `tool_calls` and `split_characters` collect their parts; `chunks` makes the
chunks of a stream and `metadata` the `response_metadata`; `completeness` raises for responses that are not whole;
`content_blocks` reads LangChain's standard content blocks off our messages.
"""

from langchain_kimi._response.chunks import generation_chunk, generation_info
from langchain_kimi._response.completeness import check_complete, check_output_cap
from langchain_kimi._response.content_blocks import register_block_translator
from langchain_kimi._response.decoder import ResponseDecoder
from langchain_kimi._response.metadata import REPORT

register_block_translator()

__all__ = ["REPORT", "ResponseDecoder", "check_complete", "check_output_cap", "generation_chunk", "generation_info"]
