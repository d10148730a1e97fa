"""Arguments of `create_kimi_agent` and `create_kimi_team` that are wrong, in plain sentences; and models by name."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool

_P = ParamSpec("_P")
_T = TypeVar("_T")

_WAYS = 'give a chat model such as ChatKimi(model="kimi-k2.6"), or a model\'s name such as "kimi-k2.6"'


def with_known_arguments(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """The function, which names the nearest argument where it gets one that it does not have."""
    known = list(signature(function).parameters)

    @wraps(function)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for name in kwargs:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}."
                raise TypeError(f"{function.__name__}() has no argument {name!r}. {hint}")
        return function(*args, **kwargs)

    return checked


def chat_model(model: Any, where: str) -> BaseChatModel:
    """The model; a name becomes a ChatKimi, or with a provider (`openai:gpt-5`) what LangChain makes of it.

    `where` says in errors whose argument it is.
    """
    check_model(model, where)
    if not isinstance(model, str):
        chosen: BaseChatModel = model
        return chosen
    provider, colon, name = model.partition(":")
    if not colon or provider == "moonshot":
        # Looked up by name: an agent works with any chat model, and needs this one only here.
        made: BaseChatModel = import_module("langchain_kimi").ChatKimi(model=name if colon else model)
        return made
    try:
        init_chat_model = import_module("langchain.chat_models").init_chat_model
    except ImportError:
        raise ImportError(f"{where}: model={model!r} names a provider, which needs the package langchain.") from None
    named: BaseChatModel = init_chat_model(model)
    return named


def check_model(model: Any, where: str) -> None:
    """Raise TypeError for what is neither a chat model nor a name."""
    if not (model.strip() if isinstance(model, str) else hasattr(model, "bind_tools") and not isinstance(model, type)):
        raise TypeError(f"{where}: model={model!r} is no chat model; {_WAYS}.")


def check_kinds(where: str, **given: tuple[Any, type]) -> None:
    """Raise TypeError for an argument of another kind than it must have; None is allowed."""
    for name, (value, kind) in given.items():
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{where}: {name}={value!r} is no {kind.__name__}; give {kind.__name__}(…) or None.")


def check_tools(where: str, tools: Any) -> None:
    """Raise TypeError where `tools` is no list of tools."""
    if isinstance(tools, str) or not isinstance(tools, Sequence):
        raise TypeError(f"{where}: tools={tools!r} is no list; give a list of tools or functions, such as [search].")
    for tool in tools:
        if not callable(tool) and not isinstance(tool, BaseTool):
            raise TypeError(f"{where}: tools has {tool!r}, which is no tool; give tools or functions, such as search.")
