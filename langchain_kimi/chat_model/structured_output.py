"""The ladder that gets a validated object out of a model, thinking or not.

A `Rung` says what the model takes; the answer is read the same way on every rung: from the call of the schema's tool,
else from JSON in the text (fenced or among words). After an answer that is no valid object the model is asked again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import ValidationError as ValidationErrorV1

from langchain_kimi._json_schema import SchemaCheck
from langchain_kimi._raw_calls import raw_calls, reparse_calls
from langchain_kimi._request.tools import Tools, encode_tool, recursive_schema
from langchain_kimi.errors import StructuredOutputError, without_links

Method = Literal["json_schema", "function_calling", "json_mode"]
VALIDATION_RETRIES = 1
UNFORCED_RETRIES = 2
"""How often the model is asked again after an answer that is no valid object, by default; more often where it cannot be
forced to call the schema's tool."""

_AS_OBJECT = "Answer again with one JSON object that fits the schema, and nothing else."


@dataclass(frozen=True, slots=True)
class Rung:
    """How a schema can be asked for from a model.

    `json_schema`: whether the model follows one (None: not known). `choice`: the strongest `tool_choice` it takes,
    under the call settings `settings`.
    """

    json_schema: bool | None
    choice: Literal["named", "required", "auto"]
    settings: Mapping[str, Any] = field(default_factory=dict)


def structured_output(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    *,
    method: Method | None,
    rung: Rung,
    include_raw: bool,
    strict: bool | None,
    keep_tools: Sequence[Any] = (),
    max_validation_retries: int | None = None,
    bound: Mapping[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """A runnable from a model's input to an object of `schema`, or to raw, parsed and parsing_error.

    `keep_tools` stay in the request, where they hold the prefix that Kimi's cache knows; none of them is called. After
    an answer that is no valid object the model is asked again, with the answer and the errors, at most
    `max_validation_retries` times.
    """
    if max_validation_retries is not None and not (type(max_validation_retries) is int and max_validation_retries >= 0):
        raise ValueError(f"max_validation_retries={max_validation_retries!r}: give a whole number, 0 or more.")
    if method not in (None, "json_schema", "function_calling", "json_mode"):
        raise ValueError(f"method={method!r} is none of 'json_schema', 'function_calling', 'json_mode'.")
    if method is None:
        method = "json_schema" if rung.json_schema else "function_calling"
    if method == "json_schema" and rung.json_schema is False:
        method = "function_calling"
    reading = Reading(schema, _json_schema(schema, method), by_call=method == "function_calling")
    kept = {"tools": Tools.of(keep_tools), "tool_choice": "none"} if keep_tools else {}
    asking = {
        **(kept if method != "function_calling" else {}),
        **_asking(schema, method, reading, rung, strict),
        "ls_structured_output_format": {"kwargs": {"method": method}, "schema": reading.json_schema},
        **bound,
    }
    if max_validation_retries is None:
        unforced = method == "function_calling" and rung.choice == "auto"
        max_validation_retries = UNFORCED_RETRIES if unforced else VALIDATION_RETRIES
    return _runnable(model.bind(**asking), reading, include_raw, tries=1 + max_validation_retries)


def _asking(
    schema: dict[str, Any] | type, method: Method, reading: "Reading", rung: Rung, strict: bool | None
) -> dict[str, Any]:
    """The call settings that ask for the schema."""
    if method == "json_mode":
        return {"response_format": {"type": "json_object"}}
    if method == "json_schema":
        # Without `strict` kimi-k2.6 tends to add fields, whatever its documented default.
        named = {"name": reading.name, "schema": reading.json_schema, "strict": strict is not False}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    tool = encode_tool(schema, strict=strict)
    choice = {"type": "function", "function": {"name": tool["function"]["name"]}}
    return {"tools": [tool], "tool_choice": choice if rung.choice == "named" else rung.choice, **rung.settings}


def _json_schema(schema: dict[str, Any] | type, method: Method) -> dict[str, Any]:
    """The JSON Schema that an answer must have, under its name as title."""
    if method == "function_calling":
        function = encode_tool(schema)["function"]
        return {"title": function["name"], **function["parameters"]}
    return {**convert_to_json_schema(schema), **(recursive_schema(schema) or {})}


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads an object of one schema out of a message."""

    schema: Any
    json_schema: dict[str, Any]
    by_call: bool
    """Whether the object is asked for as the arguments of a tool call."""
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
                return self._validated(call["args"], json.dumps(call["args"], ensure_ascii=False))
        text = message.text
        if message.invalid_tool_calls:
            unusable = message.invalid_tool_calls[0]
            raise StructuredOutputError(
                f"The arguments are no JSON object: {unusable['error']}", unusable["args"] or ""
            )
        found = _json_in(text)
        if found is None:
            why = "it is empty" if not text.strip() else "it holds no JSON object"
            ended = message.response_metadata.get("finish_reason")
            raise StructuredOutputError(f"The answer is no {self.name}: {why} (finish_reason: {ended}).", text)
        return self._validated(found, text)

    def _validated(self, value: Any, text: str) -> Any:
        try:
            if isinstance(self.schema, type) and issubclass(self.schema, BaseModel):
                return self.schema.model_validate(value)
            if isinstance(self.schema, type) and issubclass(self.schema, BaseModelV1):
                return self.schema.parse_obj(value)
        except (ValidationError, ValidationErrorV1) as error:
            raise StructuredOutputError(f"The answer is no valid {self.name}: {without_links(error)}", text) from error
        if reasons := self.check.reasons(value):
            raise StructuredOutputError(f"The answer is no valid {self.name}: {reasons}", text)
        return value


def _json_in(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text: the whole of it, in a fence, or among words."""
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


def _runnable(
    model: Runnable[LanguageModelInput, AIMessage], reading: Reading, include_raw: bool, *, tries: int
) -> Runnable[LanguageModelInput, Any]:
    """Asks, reads, and asks again after a failure while tries are left."""

    def ask(given: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        messages = _messages(given)
        for left in reversed(range(tries)):
            answer = model.invoke(messages, config, **kwargs)
            outcome = _outcome(reading, answer)
            if outcome["parsing_error"] is None or not left:
                break
            messages = _again(messages, outcome, reading)
        return _given_back(outcome, include_raw)

    async def aask(given: Any, config: RunnableConfig, **kwargs: Any) -> Any:
        messages = _messages(given)
        for left in reversed(range(tries)):
            answer = await model.ainvoke(messages, config, **kwargs)
            outcome = _outcome(reading, answer)
            if outcome["parsing_error"] is None or not left:
                break
            messages = _again(messages, outcome, reading)
        return _given_back(outcome, include_raw)

    return RunnableLambda(ask, afunc=aask, name="structured_output")


def _messages(given: Any) -> list[BaseMessage]:
    if isinstance(given, PromptValue):
        return given.to_messages()
    return [HumanMessage(given)] if isinstance(given, str) else convert_to_messages(given)


def _outcome(reading: Reading, answer: AIMessage) -> dict[str, Any]:
    try:
        return {"raw": answer, "parsed": reading.read(answer), "parsing_error": None}
    except StructuredOutputError as error:
        return {"raw": answer, "parsed": None, "parsing_error": error}


def _given_back(outcome: dict[str, Any], include_raw: bool) -> Any:
    if include_raw:
        return outcome
    if outcome["parsing_error"] is not None:
        raise outcome["parsing_error"]
    return outcome["parsed"]


def _again(messages: Sequence[BaseMessage], outcome: dict[str, Any], reading: Reading) -> list[BaseMessage]:
    """The conversation that tells the model what was wrong."""
    answer: AIMessage = outcome["raw"]
    wanted = "Call the tool with arguments that fit its schema." if reading.by_call else _AS_OBJECT
    wrong = f"{outcome['parsing_error'].args[0]}\n{wanted}"
    calls = raw_calls(answer)
    told: list[BaseMessage] = [ToolMessage(wrong, tool_call_id=call["id"] or "", status="error") for call in calls]
    return [*messages, answer, *(told or [HumanMessage(wrong)])]
