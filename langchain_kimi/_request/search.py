"""`$web_search`, Kimi's builtin search: K2 models cannot think in a request that declares it."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi._request.settings import Note
from langchain_kimi._request.tools import name_of
from langchain_kimi.catalogue import Model

WEB_SEARCH = "$web_search"
_INSTEAD = 'formula_tools("moonshot/web-search:latest", model=model) searches while the model thinks'
_KNOBS = ("thinking", "reasoning_effort", "keep_thinking")


def with_search(given: Mapping[str, Any], row: Model | None, notes: list[Note]) -> Mapping[str, Any]:
    """The settings of a request, with thinking switched off where it declares `$web_search`, the model can do without
    and nobody asked for thinking. Where somebody did, they stay, and `rules` refuses the request.
    """
    if row is None or WEB_SEARCH not in map(name_of, given.get("tools") or ()):
        return given
    if row.family == "k3":
        notes.append(Note(WEB_SEARCH, f"{WEB_SEARCH} was found broken on {row.id} (forum, July 2026). {_INSTEAD}."))
    asked = any(key in given for key in _KNOBS) or "thinking" in given.get("extra_body", {})
    if row.thinking != "optional" or asked:
        return given
    why = f"{row.id} does not think in requests with {WEB_SEARCH}: Kimi takes the two only apart"
    notes.append(Note(WEB_SEARCH, f"{why}. {_INSTEAD}; thinking=False says that this is what you want."))
    return {**given, "thinking": False}
