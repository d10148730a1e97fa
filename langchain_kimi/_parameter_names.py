"""Errors for misspelt keyword arguments of functions and classes: they name the parameter that was probably meant."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Class = TypeVar("_Class", bound=type)


def suggested_parameter(name: str, known: Sequence[str]) -> str:
    """A sentence that names the parameter that was probably meant, or else all of them."""
    near = get_close_matches(name, known, 1)
    return f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(known)}."


def checks_parameter_names(
    suggest: Callable[[str, Sequence[str]], str] = suggested_parameter,
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Decorates a function so that its TypeError for an unknown parameter ends with what `suggest` returns."""

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        known = [name for name in signature(function).parameters if name != "self"]
        owner = function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            for name in kwargs:
                if name not in known:
                    raise TypeError(f"{owner}() has no argument {name!r}. {suggest(name, known)}")
            return function(*args, **kwargs)

        return checked

    return decorate


def checks_field_names(cls: _Class) -> _Class:
    """Decorates a class so that its TypeError for an unknown keyword names those that exist, and the nearest one."""
    cls.__init__ = checks_parameter_names(_nearest_and_all)(cls.__init__)  # type: ignore[misc]
    return cls


def _nearest_and_all(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return f"{meant}It has {', '.join(known)}."
