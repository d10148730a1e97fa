"""LangChain to wire: messages, tools and settings become the one dict that a chat request is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson
from langchain_core.messages import BaseMessage

from langchain_kimi._hosts import DIALECTS, HostDialect
from langchain_kimi._request.cap import CAP, Fit, fit_cap, refitted_cap
from langchain_kimi._request.conversation import Begun, Transcript, renamed
from langchain_kimi._request.encode_cache import Form
from langchain_kimi._request.hosts import reasoning_key, translate_fields
from langchain_kimi._request.missing_reasoning import lacks_reasoning
from langchain_kimi._request.names import wire_name
from langchain_kimi._request.repair import Repair
from langchain_kimi._request.replace_surrogates import REPLACED, RULE
from langchain_kimi._request.search import with_search
from langchain_kimi._request.settings import (
    Note,
    Thinking,
    can_be_instant,
    encode_sampling,
    encode_thinking,
    encode_tokens,
    resolve_tool_choice,
)
from langchain_kimi._request.tools import Declared, Tools
from langchain_kimi._rules import Violation
from langchain_kimi._schema import normalise
from langchain_kimi._surrogates import replaced_in
from langchain_kimi.catalogue import SAMPLING, Model, find, suggestion
from langchain_kimi.errors import ContextOverflowError, IllegalRequestError, KimiError, ToolChoiceError

_KNOBS = ("thinking", "reasoning_effort", "keep_thinking")
_OURS = frozenset(
    (
        *("model", "thinking", "reasoning_effort", "keep_thinking", "max_tokens", "max_completion_tokens", "stop"),
        *("tools", "tool_choice", "illegal_tool_choice", "strict_tools", "missing_reasoning", "parallel_tool_calls"),
        "on_cut_short",
        *(
            "extra_body",
            "response_format",
            "k2_ids",
            "host",
            "elsewhere",
            "max_tokens_over_window",
            "strict",
            *SAMPLING,
        ),
    )
)


@dataclass(frozen=True)
class Encoded:
    """A request as it goes on the wire, and what was changed on the way."""

    fields: dict[str, Any]
    """All of it but the messages, in Kimi's form."""
    transcript: Transcript
    dialect: HostDialect
    schemas: Mapping[str, Mapping[str, Any]]
    """The schema of each tool's arguments by the user's name."""
    names: Mapping[str, str]
    """The user's name of each tool whose name on the wire is another."""
    notes: tuple[Note, ...]
    """Changes to what the user chose, and thinking that the messages lost."""
    fit: Fit
    """How the output cap stands to the window."""

    @property
    def overflow(self) -> ContextOverflowError | None:
        """Why nothing is to be sent: the request does not fit into the model's window."""
        return self.fit.overflow

    def refitted(self, error: KimiError) -> "Encoded | None":
        """The request that fits by the numbers in the host's refusal, its output cap lowered; None where none does."""
        cap = self.fields.get(CAP)
        if (smaller := refitted_cap(cap, self.fit.least, error)) is None:
            return None
        text = f"{error.args[0]} The request is sent again with an output cap of {smaller:,} tokens instead of {cap:,}."
        notes = (*self.notes, Note("smaller cap", text))
        return replace(self, fields={**self.fields, CAP: smaller}, notes=notes)

    @cached_property
    def body(self) -> dict[str, Any]:
        """The whole request in Kimi's form."""
        return self.fields | {"messages": self.transcript.encoded()}

    @property
    def json(self) -> bytes:
        """The request as the host takes it."""
        head = orjson.dumps(translate_fields(self.fields, self.dialect))[:-1]
        return self.transcript.json(head + b',"messages":[', b"]}")

    @property
    def messages(self) -> Sequence[BaseMessage]:
        """The messages that the request encodes: the given ones, repaired."""
        return self.transcript.messages

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Changes to the transcript."""
        return self.transcript.repairs

    @property
    def violations(self) -> list[Violation]:
        """Why Kimi would refuse the request: what `rules.check` finds in it."""
        return self.transcript.violations

    @property
    def calls_made(self) -> int:
        """How many tool calls the messages hold."""
        return self.transcript.calls


def encode_request(
    chosen: Mapping[str, Any], messages: Sequence[BaseMessage], *, stream: bool, dialect: HostDialect = DIALECTS["kimi"]
) -> Encoded:
    """The request for `messages` under the settings `chosen` (ChatKimi's names; None and unset are the same).

    Raises IllegalRequestError for a setting that the model cannot take. `messages` come last in the body, so that the
    next request of a conversation begins with this one, byte for byte.
    """
    notes: list[Note] = []
    given: dict[str, Any] = _sendable({key: value for key, value in chosen.items() if value is not None}, notes)
    row = find(given["model"])
    given = dict(with_search(given, row, notes))
    host, elsewhere = str(given.get("host", "")), bool(given.get("elsewhere"))
    if given.get("missing_reasoning") == "thinking_off" and can_be_instant(row, elsewhere=elsewhere):
        given = _without_thinking(given, messages, notes)
    thinking = encode_thinking(
        row,
        given["model"],
        given.get("thinking"),
        given.get("reasoning_effort"),
        given.get("keep_thinking"),
        elsewhere=elsewhere,
    )
    form = Form(
        thinks=bool(thinking.thinks),
        pads=given.get("missing_reasoning") != "raise",
        inputs=tuple(row.inputs) if row else None,
        k2_ids=bool(given.get("k2_ids")),
        host=host if given.get("k2_ids") else "",
        reasoning=reasoning_key(messages, dialect, host),
    )
    begun = Begun.of(form, messages)
    tools = _usable_tools(given, notes)
    callable_tools = [*tools, *begun.brought]
    if begun.cleaned or any(tool.changes and tool.changes[-1].rule == RULE for tool in callable_tools):
        notes.append(REPLACED)
    fields = _encode_fields(given, row, thinking, tools, [tool.name for tool in callable_tools], notes, stream=stream)
    transcript = begun.encode(fields)
    sent, estimate = transcript.messages, transcript.tokens
    fit = fit_cap(fields, given, row, sent, estimate, thinks=thinking.thinks is not False, notes=notes)
    schemas = {tool.name: tool.schema for tool in callable_tools if tool.schema}
    names = transcript.called | renamed(tool.name for tool in callable_tools)
    return Encoded(fields, transcript, dialect, schemas, names, (*notes, *transcript.notes.values()), fit)


def _sendable(chosen: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    """The settings without surrogates; those in tools and `tool_choice` are replaced where tools are declared."""
    clean = {key: value if key in ("tools", "tool_choice") else replaced_in(value) for key, value in chosen.items()}
    if any(clean[key] is not value for key, value in chosen.items()):
        notes.append(REPLACED)
    return clean


def _without_thinking(given: dict[str, Any], messages: Sequence[BaseMessage], notes: list[Note]) -> dict[str, Any]:
    """The settings with thinking switched off where a message with tool calls has lost its reasoning."""
    if given.get("thinking") is False or not any(map(lacks_reasoning, messages)):
        return given
    text = (
        f"{given['model']} does not think in requests with an assistant message that calls tools and lost its "
        "reasoning, as missing_reasoning='thinking_off' says."
    )
    notes.append(Note("missing_reasoning", text))
    return {key: value for key, value in given.items() if key not in _KNOBS} | {"thinking": False}


def _encode_fields(
    given: Mapping[str, Any],
    row: Model | None,
    thinking: Thinking,
    tools: Sequence[Declared],
    callable_names: Sequence[str],
    notes: list[Note],
    *,
    stream: bool,
) -> dict[str, Any]:
    """The request without its messages."""
    choice = resolve_tool_choice(
        given.get("tool_choice"),
        callable_names,
        row=row,
        thinks=thinking.thinks,
        raises=given.get("illegal_tool_choice") == "raise",
        notes=notes,
    )
    model: str = given["model"]
    if row is None:
        meant = suggestion(model)
        hint = f" Did you mean {meant!r}?" if meant else ""
        text = f"{model} is not in the catalogue: only the rules of the protocol are checked.{hint}"
        notes.append(Note("model", text))
    if "parallel_tool_calls" in given:
        notes.append(Note("parallel_tool_calls", "parallel_tool_calls is dropped: Kimi has no such parameter."))
    body: dict[str, Any] = {"model": model}
    if tools:
        body["tools"] = [tool.wire for tool in tools]
    if choice is not None:
        body["tool_choice"] = choice
    body |= thinking.fields
    body |= encode_tokens(row, given, thinks=thinking.thinks is not False, notes=notes)
    body |= encode_sampling(row, given, thinks=thinking.thinks is not False, notes=notes)
    if stop := given.get("stop"):
        body["stop"] = stop
    if "response_format" in given:
        body["response_format"] = _encode_response_format(given["response_format"])
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= {key: value for key, value in given.items() if key not in _OURS}
    body |= given.get("extra_body", {})
    body.pop("messages", None)
    return body


def _usable_tools(given: Mapping[str, Any], notes: list[Note]) -> list[Declared]:
    """The tools that Kimi takes; one whose schema cannot be made legal is left out with a note, or raises."""
    usable = []
    tools = given.get("tools") or ()
    if not isinstance(tools, Tools):
        tools = Tools(tools)
    for tool in tools.declared:
        if not tool.problems:
            usable.append(tool)
            continue
        path, words = tool.problems[0]
        text = f"tool {tool.name!r}: Kimi would refuse its schema at {path or 'root'!r}: {words}"
        if given.get("strict_tools"):
            raise IllegalRequestError(f"{text}. Change the schema, or leave `strict_tools` out to go on without it.")
        if _forces(given.get("tool_choice"), tool.name):
            raise ToolChoiceError(f"{text}; so it cannot be the forced choice. Change the schema.")
        notes.append(Note(f"tool {tool.name}", f"{text}. The tool is left out of the request."))
    return usable


def _forces(choice: object, name: str) -> bool:
    function = choice.get("function") if isinstance(choice, Mapping) else None
    return choice == name or (isinstance(function, Mapping) and function.get("name") == name)


def _encode_response_format(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The response format with a legal name and schema. Raises IllegalRequestError where there is none."""
    named = wanted.get("json_schema")
    if not isinstance(named, Mapping) or not isinstance(named.get("schema"), Mapping):
        return dict(wanted)
    outcome = normalise(named["schema"])
    if outcome.problems:
        lines = [f"- at {path or 'root'!r}: {words}" for path, words in outcome.problems]
        raise IllegalRequestError("\n".join([f"Kimi would refuse the schema {named.get('name')!r}:", *lines]))
    name = {"name": wire_name(named["name"])} if isinstance(named.get("name"), str) else {}
    return {**wanted, "json_schema": {**named, **name, "schema": outcome.schema}}
