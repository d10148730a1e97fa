"""Rewrites pydantic's errors about the constructor's arguments: without their values, and with the nearest setting."""

from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from langchain_kimi._redaction import MASK, escape_controls, redact
from langchain_kimi.chat_model.call_settings import constructor_names, suggest_setting


def constructor_error(error: ValidationError, model: type[BaseModel]) -> ValidationError:
    """Pydantic's error without the values, one of which may be a key under a misspelt name.

    For an argument that `model` does not have, the text names the nearest one that it has.
    """
    details = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        text = escape_controls(redact(_unknown_argument(each, model) or each["msg"]))
        custom = PydanticCustomError(cast(Any, each["type"]), "{text}", {"text": text})
        details.append(InitErrorDetails(type=custom, loc=each["loc"], input=MASK))
    return ValidationError.from_exception_data(error.title, details, hide_input=True)


def _unknown_argument(details: ErrorDetails, model: type[BaseModel]) -> str | None:
    """The text of the error for an argument that the model does not have; None for any other error."""
    if details["type"] != "extra_forbidden" or len(details["loc"]) != 1:
        return None
    name = str(details["loc"][0])
    return f"{model.__name__} takes no setting {name}=. {suggest_setting(name, constructor_names(model))}"
