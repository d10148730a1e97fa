"""`ChatKimi`, the LangChain chat model, and what goes with it: pictures, tools that join later, `init_chat_model`."""

from langchain_kimi.chat_model.media import amedia_block, media_block
from langchain_kimi.chat_model.model import ChatKimi
from langchain_kimi.chat_model.register import register_with_langchain
from langchain_kimi.encode import tools_message

__all__ = ["ChatKimi", "amedia_block", "media_block", "register_with_langchain", "tools_message"]
