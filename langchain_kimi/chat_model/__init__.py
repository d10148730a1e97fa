"""`ChatKimi`, the LangChain chat model, with content blocks of media, dynamic tools and `init_chat_model`."""

from langchain_kimi._hosts import DialectName
from langchain_kimi._request import dynamic_tools_message
from langchain_kimi.chat_model.media import MediaSource, amedia_block, media_block
from langchain_kimi.chat_model.model import ChatKimi
from langchain_kimi.chat_model.model_settings import CacheOptions
from langchain_kimi.chat_model.register import register_with_langchain
from langchain_kimi.chat_model.structured_output import StructuredOutputMethod

__all__ = [
    "CacheOptions",
    "ChatKimi",
    "DialectName",
    "MediaSource",
    "StructuredOutputMethod",
    "amedia_block",
    "dynamic_tools_message",
    "media_block",
    "register_with_langchain",
]
