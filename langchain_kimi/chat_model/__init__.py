"""`ChatKimi`, the LangChain chat model."""

from langchain_kimi.chat_model.model import ChatKimi

__all__ = ["ChatKimi"]
