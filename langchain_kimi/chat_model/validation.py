"""Pydantic's errors without the inputs that they are about."""

from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from langchain_kimi._redaction import MASK, escape_controls, redact


def without_inputs(error: ValidationError) -> ValidationError:
    """Pydantic's error with the same words, but none of the inputs: a misspelt `api_key` would be one of them."""
    details = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        words = escape_controls(redact(each["msg"]))
        kind = PydanticCustomError(cast(Any, each["type"]), "{words}", {"words": words})
        details.append(InitErrorDetails(type=kind, loc=each["loc"], input=MASK))
    return ValidationError.from_exception_data(error.title, details, hide_input=True)
