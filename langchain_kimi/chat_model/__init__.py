"""`ChatKimi`, the LangChain chat model, and what goes with it: pictures, tools that join later, `init_chat_model`."""

from langchain_kimi._request import dynamic_tools_message
from langchain_kimi.chat_model.media import amedia_block, media_block
from langchain_kimi.chat_model.model import ChatKimi
from langchain_kimi.chat_model.register import register_with_langchain

__all__ = ["ChatKimi", "amedia_block", "dynamic_tools_message", "media_block", "register_with_langchain"]
