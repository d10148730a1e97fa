"""Reads a validated object of a schema out of a model's response: from a tool call, else from JSON in the text."""

import json
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.utils.json import parse_partial_json
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import ValidationError as ValidationErrorV1

from langchain_kimi._json_schema import SchemaCheck
from langchain_kimi._raw_calls import reparse_calls
from langchain_kimi.errors import StructuredOutputError, without_links


@dataclass(frozen=True, slots=True)
class SchemaReader:
    """Reads objects of one schema."""

    schema: Any
    """The user's schema: a pydantic class, a TypedDict or a JSON Schema dict."""
    json_schema: dict[str, Any]
    by_call: bool
    """Whether the object is requested as the arguments of a tool call."""
    check: SchemaCheck = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", SchemaCheck(self.name, self.json_schema))

    @property
    def name(self) -> str:
        """The schema's name."""
        return str(self.json_schema.get("title", "answer"))

    def read(self, message: AIMessage) -> Any:
        """The validated object. Raises StructuredOutputError."""
        reparse_calls(message)
        for call in message.tool_calls:
            if call["name"] == self.name:
                return self._validate(call["args"], json.dumps(call["args"], ensure_ascii=False))
        text = message.text
        if message.invalid_tool_calls:
            invalid = message.invalid_tool_calls[0]
            raise StructuredOutputError(f"The arguments are no JSON object: {invalid['error']}", invalid["args"] or "")
        value = first_json_object(text)
        if value is None:
            why = "it is empty" if not text.strip() else "it holds no JSON object"
            finish_reason = message.response_metadata.get("finish_reason")
            raise StructuredOutputError(f"The answer is no {self.name}: {why} (finish_reason: {finish_reason}).", text)
        return self._validate(value, text)

    def read_partial(self, text: str) -> Any:
        """The object in the beginning of a text or of arguments, with the keys that have arrived. None where there is
        none yet, and where a pydantic class does not take what has arrived.
        """
        start = text.find("{")
        if start < 0:
            return None
        try:
            value = parse_partial_json(text[start:])
            return self._instance(value)
        except (ValueError, TypeError):
            return None

    def _validate(self, value: Any, text: str) -> Any:
        try:
            instance = self._instance(value)
        except (ValidationError, ValidationErrorV1) as error:
            raise StructuredOutputError(f"The answer is no valid {self.name}: {without_links(error)}", text) from error
        if instance is value and (reasons := self.check.reasons(value)):
            raise StructuredOutputError(f"The answer is no valid {self.name}: {reasons}", text)
        return instance

    def _instance(self, value: Any) -> Any:
        """The value as an instance of a pydantic class; the value itself for any other schema. Raises ValidationError
        of either version of pydantic.
        """
        if isinstance(self.schema, type) and issubclass(self.schema, BaseModel):
            return self.schema.model_validate(value)
        if isinstance(self.schema, type) and issubclass(self.schema, BaseModelV1):
            return self.schema.parse_obj(value)
        return value


def first_json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text: the whole text, in a code fence, or among words."""
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except ValueError:
            start = text.find("{", start + 1)
            continue
        return value if isinstance(value, dict) else None
    return None
