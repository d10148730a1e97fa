"""Encodes the user's settings as request fields; unsupported ones are dropped with a note or raise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_kimi._request.tools import name_of, wire_name
from langchain_kimi.catalogue import SAMPLING, Model, ToolChoice
from langchain_kimi.errors import IllegalRequestError, ToolChoiceError

THINKING_SETTINGS = ("thinking", "reasoning_effort", "keep_thinking")
WEB_SEARCH = "$web_search"
_SEARCH_WHILE_THINKING = 'formula_tools("moonshot/web-search:latest", model=model) searches while the model thinks'


@dataclass(frozen=True, slots=True)
class Note:
    """A change to what the user chose, or what they should know: warned of once per `topic` and model."""

    topic: str
    text: str
    once_a_process: bool = False
    """Whether all ChatKimi objects of the process warn of it once, instead of each of them."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """The request's thinking fields, and whether the model will think; None where it is not known."""

    thinks: bool | None
    fields: Mapping[str, Any] = field(default_factory=dict)


def can_be_instant(row: Model | None, *, elsewhere: bool) -> bool:
    """Whether thinking can be switched off; `elsewhere` means on another host than Kimi's own."""
    return row is not None and (row.thinking == "optional" or (elsewhere and row.instant_elsewhere))


def encode_thinking(
    row: Model | None,
    model: str,
    thinking: bool | str | None,
    effort: str | None,
    keep: bool | None,
    *,
    elsewhere: bool = False,
) -> Thinking:
    """The thinking fields for the settings `thinking`, `reasoning_effort` and `keep_thinking`.

    `elsewhere` means on another host than Kimi's own. Raises IllegalRequestError where the settings contradict each
    other or the model cannot do it.
    """
    switch, effort = _switch_and_effort(thinking, effort)
    if row is None:
        return _unknown_model(switch, effort, keep)
    if effort is not None and effort not in row.efforts:
        takes = f"only {', '.join(row.efforts)}" if row.efforts else "no effort"
        raise IllegalRequestError(f"{model} takes {takes}, not {effort!r}.{_efforts_way_out(row)}")
    if switch is False and row.thinking == "always" and not can_be_instant(row, elsewhere=elsewhere):
        lowest = f"; thinking={row.efforts[0]!r} is the least it does" if row.efforts else ""
        raise IllegalRequestError(f"{model} always thinks{lowest}. kimi-k2.6 takes thinking=False.")
    if switch is True and row.thinking == "never":
        raise IllegalRequestError(f"{model} cannot think. Leave `thinking` out, or use a thinking model.")
    thinks = row.thinking != "never" and switch is not False
    _check_keep(row, model, keep, thinks)
    fields: dict[str, Any] = {}
    if (row.thinking == "optional" and (switch is not None or keep)) or (row.thinking == "always" and not thinks):
        fields["thinking"] = {"type": "enabled" if thinks else "disabled"}
        if keep:
            fields["thinking"]["keep"] = "all"
    if effort is not None:
        fields["reasoning_effort"] = effort
    return Thinking(thinks, fields)


def resolve_search(settings: Mapping[str, Any], row: Model | None, notes: list[Note]) -> Mapping[str, Any]:
    """The settings of a request that may declare `$web_search`, Kimi's builtin search: thinking is switched off where
    the model can do without it and the user did not ask for it, because K2 models cannot think in such a request. Where
    the user asked for thinking, the settings stay, and `_rules` refuses the request.
    """
    if row is None or WEB_SEARCH not in map(name_of, settings.get("tools") or ()):
        return settings
    if row.family == "k3":
        text = f"{WEB_SEARCH} was reported broken on {row.id} (forum, July 2026). {_SEARCH_WHILE_THINKING}."
        notes.append(Note(WEB_SEARCH, text))
    chosen = any(key in settings for key in THINKING_SETTINGS) or "thinking" in settings.get("extra_body", {})
    if row.thinking != "optional" or chosen:
        return settings
    why = f"{row.id} does not think in requests with {WEB_SEARCH}: Kimi takes the two only apart"
    text = f"{why}. {_SEARCH_WHILE_THINKING}; thinking=False says that this is what you want."
    notes.append(Note(WEB_SEARCH, text))
    return {**settings, "thinking": False}


def _switch_and_effort(thinking: bool | str | None, effort: str | None) -> tuple[bool | None, str | None]:
    """`thinking` and `reasoning_effort` as a switch and an effort."""
    if isinstance(thinking, str):
        if effort is not None and effort != thinking:
            raise IllegalRequestError(
                f"thinking={thinking!r} and reasoning_effort={effort!r} contradict each other. Give one of them."
            )
        return True, thinking
    if thinking is False and effort is not None:
        raise IllegalRequestError(
            f"thinking=False and reasoning_effort={effort!r} contradict each other. Give one of them."
        )
    return thinking, effort


def _unknown_model(switch: bool | None, effort: str | None, keep: bool | None) -> Thinking:
    fields: dict[str, Any] = {}
    if effort is not None:
        fields["reasoning_effort"] = effort
    elif switch is not None or keep:
        fields["thinking"] = {"type": "disabled" if switch is False else "enabled"}
        if keep:
            fields["thinking"]["keep"] = "all"
    return Thinking(True if effort is not None else switch, fields)


def _efforts_way_out(row: Model) -> str:
    if row.efforts:
        return ""
    return " Use thinking=True or False." if row.thinking == "optional" else " Leave it out."


def _check_keep(row: Model, model: str, keep: bool | None, thinks: bool) -> None:
    if keep and (row.keeps == "never" or not thinks):
        why = "has no `keep`" if thinks else "does not think in this request"
        raise IllegalRequestError(f"keep_thinking=True: {model} {why}. Leave `keep_thinking` out.")
    if keep is False and row.keeps == "always":
        raise IllegalRequestError(f"keep_thinking=False: {model} always reads its earlier reasoning. Leave it out.")


def encode_sampling(
    row: Model | None, settings: Mapping[str, Any], *, thinks: bool, notes: list[Note], elsewhere: bool = False
) -> dict[str, float]:
    """The sampling fields, less those that the model pins to one value; on other hosts that value is sent if chosen."""
    chosen: dict[str, float] = {key: settings[key] for key in SAMPLING if key in settings}
    pinned = row.pinned(thinks) if row else {}
    lost = {key: value for key, value in chosen.items() if key in pinned and value != pinned[key]}
    if lost and row:
        dropped = ", ".join(f"{key}={value}" for key, value in lost.items())
        accepted = ", ".join(f"{key}={pinned[key]}" for key in lost)
        notes.append(Note("sampling", f"{dropped} is dropped: {row.id} takes only {accepted} here. Leave it out."))
    return {key: value for key, value in chosen.items() if key not in pinned or (elsewhere and key not in lost)}


def resolve_tool_choice(
    choice: str | bool | Mapping[str, Any] | None,
    names: Sequence[str],
    *,
    row: Model | None,
    thinks: bool | None,
    raises: bool,
    notes: list[Note],
) -> str | dict[str, Any] | None:
    """`choice` as the model takes it here; the nearest legal value and a note where it does not.

    `any` and True mean `required`. `raises` turns the note into a ToolChoiceError.
    """
    wanted, name = _form(choice)
    if wanted is None:
        return None
    if wanted == "named" and name not in names:
        raise ToolChoiceError(f"tool_choice names {name!r}, which is none of the tools: {', '.join(names) or 'none'}.")
    legal = row.choices(thinks is not False) if row else frozenset({wanted})
    if wanted in ("required", "named") and not names:
        legal = legal - {"required", "named"}
    if wanted in legal:
        return {"type": "function", "function": {"name": wire_name(name)}} if wanted == "named" else wanted
    nearest: ToolChoice = "required" if wanted == "named" and "required" in legal else "auto"
    model = row.id if row else "the model"
    why = "without tools" if not names else f"while {model} thinks" if thinks else f"by {model}"
    text = f"tool_choice={choice!r} is not taken {why}"
    if raises:
        raise ToolChoiceError(f"{text}: it takes {', '.join(sorted(legal))}.")
    notes.append(Note("tool_choice", f"{text}, so {nearest!r} is sent: the model may answer without a call."))
    return nearest


def _form(choice: str | bool | Mapping[str, Any] | None) -> tuple[ToolChoice | None, str]:
    """Which of the four forms a choice has, and the tool it names."""
    if choice is None or choice is False:
        return None, ""
    if choice is True or choice in ("any", "required"):
        return "required", ""
    if choice == "auto":
        return "auto", ""
    if choice == "none":
        return "none", ""
    if isinstance(choice, str):
        return "named", choice
    if isinstance(choice, Mapping):
        if choice.get("type") in ("auto", "none", "any", "required"):
            return _form(choice["type"])
        function = choice.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            return "named", function["name"]
    raise ToolChoiceError(
        f"tool_choice={choice!r} has no known form. Use 'auto', 'none', 'required', a tool's name or "
        "{'type': 'function', 'function': {'name': …}}."
    )
