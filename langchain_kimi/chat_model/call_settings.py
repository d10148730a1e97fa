"""Checks the names of settings, so that a misspelt one raises instead of going unnoticed onto the wire."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from pydantic import AliasChoices, BaseModel

from langchain_kimi.errors import IllegalRequestError

LANGCHAIN_KEYWORDS = (
    *("stream", "tools", "tool_choice", "response_format", "parallel_tool_calls", "strict", "max_completion_tokens"),
    *("ls_structured_output_format", "structured_output_format"),
)
"""Keywords that LangChain and its agents pass beside the model's own settings."""


def check_call_settings(names: Iterable[str], settings: Collection[str], fields: Collection[str]) -> None:
    """Raise IllegalRequestError for the keyword of a call that is none of the model's `settings`.

    `fields` are all arguments of the constructor, some of which apply to the model and not to a call.
    """
    known = (*settings, *LANGCHAIN_KEYWORDS)
    for name in names:
        if name in known:
            continue
        if name in fields:
            raise IllegalRequestError(
                f"{name}= is set when the model is made, not for one call. Make a second ChatKimi with it."
            )
        raise IllegalRequestError(f"ChatKimi takes no setting {name}= at call time. {suggest_setting(name, known)}")


def suggest_setting(name: str, known: Collection[str]) -> str:
    """Sentences that name the nearest known setting, and the way for other fields of the request."""
    near = get_close_matches(name, known, 1)
    suggestion = f"Did you mean {near[0]}=? " if near else ""
    return f'{suggestion}A field that is meant for the host goes through extra_body={{"{name}": …}}.'


def constructor_names(model: type[BaseModel]) -> list[str]:
    """The names of the constructor's arguments, their aliases included."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        if isinstance(alias := field.validation_alias, AliasChoices):
            names += [choice for choice in alias.choices if isinstance(choice, str) and choice != name]
    return names
