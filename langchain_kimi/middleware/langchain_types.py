"""What the middleware uses of the package langchain, which is not a dependency of the rest."""

try:
    from langchain.agents import AgentState
    from langchain.agents.middleware.types import (
        AgentMiddleware,
        ExtendedModelResponse,
        ModelRequest,
        ModelResponse,
        OmitFromInput,
        PrivateStateAttr,
    )
    from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
except ImportError as error:
    raise ImportError(
        "langchain_kimi.middleware needs the package langchain: pip install 'langchain-kimi-agent[middleware]'."
    ) from error

__all__ = [
    "AgentMiddleware",
    "AgentState",
    "AutoStrategy",
    "ExtendedModelResponse",
    "ModelRequest",
    "ModelResponse",
    "OmitFromInput",
    "PrivateStateAttr",
    "ProviderStrategy",
    "ToolStrategy",
]
