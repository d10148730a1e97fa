"""The policies of `create_kimi_agent` as a middleware for LangChain's `create_agent` and deepagents."""

from langchain_kimi.middleware.middleware import KimiMiddleware
from langchain_kimi.middleware.middleware_state import KimiMiddlewareState

__all__ = ["KimiMiddleware", "KimiMiddlewareState"]
