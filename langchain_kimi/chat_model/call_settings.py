"""Which keywords one call of the model takes; any other is a mistake that would go unnoticed onto the wire."""

from collections.abc import Collection
from difflib import get_close_matches

from langchain_kimi.errors import IllegalRequestError

OF_LANGCHAIN = (
    *("stream", "tools", "tool_choice", "response_format", "parallel_tool_calls", "strict", "max_completion_tokens"),
    *("ls_structured_output_format", "structured_output_format"),
)
"""Keywords that LangChain and its agents pass beside the model's own settings."""


def check_call_settings(given: Collection[str], settings: Collection[str], fields: Collection[str]) -> None:
    """Raise IllegalRequestError for keywords of a call that are none of the model's `settings`.

    `fields` are all arguments of the constructor, some of which hold for the model and not for a call.
    """
    known = (*settings, *OF_LANGCHAIN)
    for name in given:
        if name in known:
            continue
        if name in fields:
            raise IllegalRequestError(
                f"{name}= is set when the model is made, not for one call. Make a second ChatKimi with it."
            )
        near = get_close_matches(name, known, 1)
        hint = f"Did you mean {near[0]}=? " if near else ""
        raise IllegalRequestError(
            f"ChatKimi takes no setting {name}= at call time. {hint}A field that is meant for the host goes through "
            f'extra_body={{"{name}": …}}.'
        )
