"""LangChain to wire: messages, tools and settings become the body of a chat request.

`encode_request` reads top to bottom: it resolves the settings, repairs the transcript, encodes settings, tools and the
new messages, checks them, and adds them to what the cache holds of the transcript's beginning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import orjson
from langchain_core.messages import BaseMessage

from langchain_kimi._hosts import DIALECTS, HostDialect
from langchain_kimi._request.encoded_messages import EncodedMessages, EncodingOptions
from langchain_kimi._request.hosts import reasoning_key, translate_fields
from langchain_kimi._request.missing_reasoning import lacks_reasoning
from langchain_kimi._request.output_cap import CAP, Fit, encode_cap, fit_cap, refitted_cap
from langchain_kimi._request.repair import Repair
from langchain_kimi._request.settings import (
    THINKING_SETTINGS,
    Note,
    Thinking,
    can_be_instant,
    encode_sampling,
    encode_thinking,
    resolve_search,
    resolve_tool_choice,
)
from langchain_kimi._request.tools import SURROGATES, Declared, Tools, renamed_tools, wire_name
from langchain_kimi._request.transcript import EncodedTranscript
from langchain_kimi._rules import Violation
from langchain_kimi._schema import normalise
from langchain_kimi._surrogates import replaced_in
from langchain_kimi.catalogue import SAMPLING, Model, find, suggestion
from langchain_kimi.errors import ContextOverflowError, IllegalRequestError, KimiError, NotFoundError, ToolChoiceError

_SURROGATES_NOTE = Note(
    "surrogates",
    "The request holds half a character (a lone surrogate, U+D800 to U+DFFF), which cannot be sent. U+FFFD is sent in "
    "its place; your messages and settings keep it. Look for text that was cut inside an emoji or decoded wrongly.",
)
_NOTICE_DAYS = 60
"""How long before its retirement a model is warned of."""
_SETTINGS = frozenset(
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
            "platform_day",
            "max_tokens_over_window",
            "strict",
            *SAMPLING,
        ),
    )
)


@dataclass(frozen=True)
class EncodedRequest:
    """A request as it goes on the wire, and what was changed on the way."""

    fields: dict[str, Any]
    """The body in Kimi's form, without its messages."""
    transcript: EncodedTranscript
    encoded: EncodedMessages
    dialect: HostDialect
    json: bytes
    """The request as the host reads it."""
    violations: list[Violation]
    """Why Kimi would refuse the request."""
    schemas: Mapping[str, Mapping[str, Any]]
    """The schema of each tool's arguments by the user's name."""
    names: Mapping[str, str]
    """The user's name of each tool whose name on the wire is another."""
    notes: tuple[Note, ...]
    """Changes to the user's settings, and reasoning that the messages lost."""
    fit: Fit
    """How the output cap fits into the window."""

    @property
    def overflow(self) -> ContextOverflowError | None:
        """Why nothing is to be sent: the request does not fit into the model's window."""
        return self.fit.overflow

    @property
    def messages(self) -> Sequence[BaseMessage]:
        """The messages that the request encodes: the user's, repaired."""
        return self.transcript.messages

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Changes to the transcript."""
        return self.transcript.repairs

    @property
    def calls_made(self) -> int:
        """How many tool calls the messages hold."""
        return self.encoded.calls

    @property
    def body(self) -> dict[str, Any]:
        """The whole request in Kimi's form."""
        return {**self.fields, "messages": self.transcript.wire()}

    def refitted(self, error: KimiError) -> "EncodedRequest | None":
        """The request that fits by the numbers in the host's refusal, its output cap lowered; None where none does."""
        cap = self.fields.get(CAP)
        if (smaller := refitted_cap(cap, self.fit.least, error)) is None:
            return None
        text = f"{error.args[0]} The request is sent again with an output cap of {smaller:,} tokens instead of {cap:,}."
        notes = (*self.notes, Note("smaller cap", text))
        fields = {**self.fields, CAP: smaller}
        return replace(self, fields=fields, json=_join_json(fields, self.encoded, self.dialect), notes=notes)


def encode_request(
    settings: Mapping[str, Any],
    messages: Sequence[BaseMessage],
    *,
    stream: bool,
    dialect: HostDialect = DIALECTS["kimi"],
) -> EncodedRequest:
    """Encode the request for `messages` under `settings` (ChatKimi's names; None and unset are the same).

    Raises NotFoundError for a model that Kimi's platform retired, where that is where the request goes, and
    IllegalRequestError for a setting that the model does not take.
    """
    notes: list[Note] = []
    settings = _without_surrogates({key: value for key, value in settings.items() if value is not None}, notes)
    row = find(settings["model"])
    _check_retirement(row, settings, notes)
    settings = resolve_search(settings, row, notes)
    elsewhere = bool(settings.get("elsewhere"))
    if settings.get("missing_reasoning") == "thinking_off" and can_be_instant(row, elsewhere=elsewhere):
        settings = _without_thinking(settings, messages, notes)
    thinking = encode_thinking(
        row,
        settings["model"],
        settings.get("thinking"),
        settings.get("reasoning_effort"),
        settings.get("keep_thinking"),
        elsewhere=elsewhere,
    )
    transcript = EncodedTranscript(_encoding_options(settings, row, thinking, messages, dialect), messages)
    tools = _usable_tools(settings, notes)
    callable_tools = [*tools, *transcript.dynamic_tools]
    if transcript.had_surrogates or any(map(_had_surrogates, callable_tools)):
        notes.append(_SURROGATES_NOTE)
    names = [tool.name for tool in callable_tools]
    fields = _encode_fields(settings, row, thinking, tools, names, notes, stream=stream)
    encoded = transcript.encode()
    thinks = thinking.thinks is not False
    fit = fit_cap(fields, settings, row, encoded.tokens, transcript.count_certain, thinks=thinks, notes=notes)
    json = _join_json(fields, encoded, dialect)
    violations = transcript.check(fields, size=len(json), elsewhere=elsewhere)
    return EncodedRequest(
        fields=fields,
        transcript=transcript,
        encoded=encoded,
        dialect=dialect,
        json=json,
        violations=violations,
        schemas={tool.name: schema for tool in callable_tools if (schema := tool.schema)},
        names={**encoded.renamed, **renamed_tools(names)},
        notes=(*notes, *encoded.notes.values()),
        fit=fit,
    )


def _check_retirement(row: Model | None, settings: Mapping[str, Any], notes: list[Note]) -> None:
    """Add a note on a retirement that is near; raise NotFoundError for a model that Kimi's platform retired."""
    day: date | None = settings.get("platform_day")
    if row is None or row.retirement is None or day is None:
        return
    text = row.retirement_text(day)
    if row.is_retired(day):
        raise NotFoundError(f"{text} Nothing was sent.")
    if (row.retirement.day - day).days <= _NOTICE_DAYS:
        way_out = f"`langchain-kimi migrate --to {row.retirement.successor} PATH` compares your recordings and logs."
        notes.append(Note("retirement", f"{text} {way_out}", once_a_process=True))


def _encoding_options(
    settings: Mapping[str, Any],
    row: Model | None,
    thinking: Thinking,
    messages: Sequence[BaseMessage],
    dialect: HostDialect,
) -> EncodingOptions:
    k2_ids, host = bool(settings.get("k2_ids")), str(settings.get("host", ""))
    return EncodingOptions(
        thinks=bool(thinking.thinks),
        pad_reasoning=settings.get("missing_reasoning") != "raise",
        inputs=tuple(row.inputs) if row else None,
        k2_ids=k2_ids,
        host=host if k2_ids else "",
        reasoning_key=reasoning_key(messages, dialect, host),
    )


def _join_json(fields: dict[str, Any], encoded: EncodedMessages, dialect: HostDialect) -> bytes:
    """The request as JSON, in one copy of what may be megabytes.

    The messages come last, so that the next request of a conversation begins with this one, byte for byte.
    """
    head = orjson.dumps(translate_fields(fields, dialect))[:-1] + b',"messages":['
    parts = [*encoded.json] or [b""]
    parts[0] = head + parts[0]
    parts[-1] += b"]}"
    return b",".join(parts)


def _without_surrogates(settings: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    """The settings with U+FFFD for each lone surrogate, except in tools and `tool_choice`, which `tools` cleans."""
    clean = {key: value if key in ("tools", "tool_choice") else replaced_in(value) for key, value in settings.items()}
    if any(clean[key] is not value for key, value in settings.items()):
        notes.append(_SURROGATES_NOTE)
    return clean


def _had_surrogates(tool: Declared) -> bool:
    return bool(tool.changes) and tool.changes[-1].rule == SURROGATES


def _without_thinking(
    settings: Mapping[str, Any], messages: Sequence[BaseMessage], notes: list[Note]
) -> Mapping[str, Any]:
    """The settings with thinking switched off where a message with tool calls has lost its reasoning."""
    if settings.get("thinking") is False or not any(map(lacks_reasoning, messages)):
        return settings
    text = (
        f"{settings['model']} does not think in requests with an assistant message that calls tools and lost its "
        "reasoning, as missing_reasoning='thinking_off' says."
    )
    notes.append(Note("missing_reasoning", text))
    return {key: value for key, value in settings.items() if key not in THINKING_SETTINGS} | {"thinking": False}


def _encode_fields(
    settings: Mapping[str, Any],
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
        settings.get("tool_choice"),
        callable_names,
        row=row,
        thinks=thinking.thinks,
        raises=settings.get("illegal_tool_choice") == "raise",
        notes=notes,
    )
    model: str = settings["model"]
    if row is None:
        meant = suggestion(model)
        hint = f" Did you mean {meant!r}?" if meant else ""
        text = f"{model} is not in the catalogue: only the rules of the protocol are checked.{hint}"
        notes.append(Note("model", text))
    if "parallel_tool_calls" in settings:
        notes.append(Note("parallel_tool_calls", "parallel_tool_calls is dropped: Kimi has no such parameter."))
    body: dict[str, Any] = {"model": model}
    if tools:
        body["tools"] = [tool.wire for tool in tools]
    if choice is not None:
        body["tool_choice"] = choice
    body |= thinking.fields
    body |= encode_cap(row, settings, thinks=thinking.thinks is not False, notes=notes)
    elsewhere = bool(settings.get("elsewhere"))
    body |= encode_sampling(row, settings, thinks=thinking.thinks is not False, notes=notes, elsewhere=elsewhere)
    if stop := settings.get("stop"):
        body["stop"] = stop
    if "response_format" in settings:
        body["response_format"] = _encode_response_format(settings["response_format"])
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= {key: value for key, value in settings.items() if key not in _SETTINGS}
    body |= settings.get("extra_body", {})
    body.pop("messages", None)
    return body


def _usable_tools(settings: Mapping[str, Any], notes: list[Note]) -> list[Declared]:
    """The tools that Kimi takes; one whose schema cannot be made legal is left out with a note, or raises."""
    usable = []
    tools = settings.get("tools") or ()
    if not isinstance(tools, Tools):
        tools = Tools(tools)
    for tool in tools.declared:
        if not tool.problems:
            usable.append(tool)
            continue
        path, words = tool.problems[0]
        text = f"tool {tool.name!r}: Kimi would refuse its schema at {path or 'root'!r}: {words}"
        if settings.get("strict_tools"):
            raise IllegalRequestError(f"{text}. Change the schema, or leave `strict_tools` out to go on without it.")
        if _forces(settings.get("tool_choice"), tool.name):
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
