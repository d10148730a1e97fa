"""Checks the parameters of `create_kimi_agent` and `create_kimi_team`, and converts models and tools."""

from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import import_module
from inspect import signature
from typing import Any, get_type_hints, is_typeddict

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langchain_core.tools import tool as as_tool

from langchain_kimi._parameter_names import suggested_parameter
from langchain_kimi.agent.usage_limits.limits import AgentLimits
from langchain_kimi.usage import cost_of

_MODEL_HINT = 'give a chat model such as ChatKimi(model="kimi-k3"), or a model\'s name such as "kimi-k3"'


def suggested_parameter_or_limit(name: str, known: Sequence[str]) -> str:
    """`suggested_parameter` for functions with a parameter `limits`: a limit belongs into its AgentLimits."""
    limit = name.removeprefix("max_")
    if limit in signature(AgentLimits).parameters:
        return f"Did you mean limits=AgentLimits({limit}=…)?"
    return suggested_parameter(name, known)


def to_chat_model(model: Any, owner: str) -> BaseChatModel:
    """The chat model. A name becomes a ChatKimi, or with a provider (`openai:gpt-5`) a model of `init_chat_model`.

    `owner` is the function or class whose parameter it is, for errors.
    """
    check_model(model, owner)
    if not isinstance(model, str):
        chosen: BaseChatModel = model
        return chosen
    provider, colon, name = model.partition(":")
    if not colon or provider == "moonshot":
        # Imported here by name: the agent works with any chat model and otherwise does not depend on this one.
        kimi: BaseChatModel = import_module("langchain_kimi").ChatKimi(model=name if colon else model)
        return kimi
    try:
        init_chat_model = import_module("langchain.chat_models").init_chat_model
    except ImportError:
        raise ImportError(f"{owner}: model={model!r} names a provider, which needs the package langchain.") from None
    named: BaseChatModel = init_chat_model(model)
    return named


def to_tools(tools: Sequence[BaseTool | Callable[..., Any]]) -> list[BaseTool]:
    """The tools, with functions converted to tools."""
    return [tool if isinstance(tool, BaseTool) else as_tool(tool) for tool in tools]


def check_model(model: Any, owner: str) -> None:
    """Raise TypeError unless the model is a chat model or a name."""
    if not (model.strip() if isinstance(model, str) else hasattr(model, "bind_tools") and not isinstance(model, type)):
        raise TypeError(f"{owner}: model={model!r} is no chat model; {_MODEL_HINT}.")


def check_types(owner: str, **parameters: tuple[Any, type]) -> None:
    """Raise TypeError for a parameter that is neither None nor of its type."""
    for name, (value, kind) in parameters.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{owner}: {name}={value!r} is no {kind.__name__}; give {kind.__name__}(…) or None.")


def check_tools(owner: str, tools: Any) -> None:
    """Raise TypeError unless `tools` is a sequence of tools and functions."""
    if isinstance(tools, str) or not isinstance(tools, Sequence):
        raise TypeError(f"{owner}: tools={tools!r} is no list; give a list of tools or functions, such as [search].")
    for tool in tools:
        if not callable(tool) and not isinstance(tool, BaseTool):
            raise TypeError(f"{owner}: tools has {tool!r}, which is no tool; give tools or functions, such as search.")


def check_state_schema(schema: type, base: type) -> None:
    """Raise ValueError unless a `state_schema` is a TypedDict that extends the base."""
    if not is_typeddict(schema):
        raise ValueError(f"state_schema={schema!r}: give a TypedDict that extends {base.__name__}.")
    if missing := get_type_hints(base).keys() - get_type_hints(schema).keys():
        raise ValueError(f"state_schema lacks {', '.join(sorted(missing))}: let it extend {base.__name__}.")


def check_sequential_tools(sequential: Collection[str], tools: Collection[str]) -> None:
    """Raise ValueError if `sequential_tools` names a tool that does not exist."""
    if isinstance(sequential, str) or (unknown := set(sequential) - set(tools)):
        known = ", ".join(tools) or "none"
        wrong = repr(sequential) if isinstance(sequential, str) else ", ".join(sorted(unknown))
        raise ValueError(f"sequential_tools names {wrong}; the tools are: {known}.")


def check_prices(limits: AgentLimits, models: Iterable[str]) -> None:
    """Raise ValueError if the cost is limited and the price of one of these models is unknown."""
    if limits.cost_usd is None:
        return
    nothing: Any = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    for name in models:
        if cost_of(nothing, name) is None:
            raise ValueError(
                f"AgentLimits(cost_usd={limits.cost_usd}): no price is known of the model {name!r}, so its cost "
                "cannot be limited. Give `tokens` instead."
            )
