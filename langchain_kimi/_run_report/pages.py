"""Renders pages: HTML with its style and its script inside, and a policy that forbids it everything else."""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from langchain_kimi._recorded_runs import MessagePart, RecordedRun
from langchain_kimi._recorded_runs.recorded_run import MessageRole, RunStatus
from langchain_kimi._run_report.formats import (
    format_clock_time,
    format_count,
    format_json,
    format_plain_json,
    format_seconds,
    format_share,
    format_text,
    format_usd,
)
from langchain_kimi._run_report.run_difference import RunDifference
from langchain_kimi._run_report.run_view import RunView, question_calls

if TYPE_CHECKING:
    from jinja2 import Environment

_EARLY_SCRIPT = 'document.documentElement.classList.add("script")'
"""Runs before the page is laid out, so that what needs the script is there, and what the script can show is not yet."""
_NOT_INSTALLED = "Reports need Jinja2. Install it with `pip install 'langchain-kimi-agent[report]'`."
_SHOWN_PICTURES = tuple(f"data:image/{kind};base64," for kind in ("png", "jpeg", "gif", "webp"))
_LONG_LINES, _LONG_CHARACTERS = 14, 1_200
"""What is longer than this is folded."""
_ROWS_AT_ONCE = 100
"""Rows of the table of calls that are shown without a click: a long table takes long to lay out."""
_FORMATS = (
    format_clock_time,
    format_count,
    format_json,
    format_plain_json,
    format_seconds,
    format_share,
    format_text,
    format_usd,
)
"""What templates use as filters, by these names."""
_STATUSES: dict[RunStatus, str] = {
    "finished": "finished",
    "waiting": "waits for a person",
    "interrupted": "interrupted, or still running",
    "unknown": "not known",
}
_ROLES: dict[MessageRole, str] = {"system": "System", "user": "User", "assistant": "Answer", "tool": "Result"}


def report_page(runs: Sequence[RecordedRun], *, title: str = "", content: bool = True) -> str:
    """The page of one or more runs; `content` says whether they still have theirs.

    Raises ImportError if Jinja2 is not installed.
    """
    views = [RunView(run, "" if number == 1 else f"r{number}-") for number, run in enumerate(runs, 1)]
    return _rendered("report.html.j2", title=title or ", ".join(run.name for run in runs), views=views, content=content)


def difference_page(first: RecordedRun, second: RecordedRun, *, title: str = "") -> str:
    """The page of two runs side by side. Raises ImportError if Jinja2 is not installed."""
    view = RunDifference(first, second)
    missing = list(dict.fromkeys([*first.missing, *second.missing]))
    return _rendered("difference.html.j2", title=title or f"{first.name} and {second.name}", view=view, missing=missing)


def _rendered(template: str, **values: Any) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(_EARLY_SCRIPT)}' '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(policy=policy, style=style, script=script, early_script=_EARLY_SCRIPT, **values)
    )


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> "Environment":
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError(_NOT_INSTALLED) from error
    environment = Environment(
        loader=PackageLoader("langchain_kimi._run_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {function.__name__: function for function in _FORMATS}
    environment.globals |= {"rows_at_once": _ROWS_AT_ONCE, "statuses": _STATUSES, "roles": _ROLES}
    environment.filters |= {
        "is_long": is_long,
        "is_shown": is_shown_picture,
        "as_text": _as_text,
        "question_calls": question_calls,
    }
    return environment


def is_long(text: str) -> bool:
    """Whether a text is folded."""
    return len(text) > _LONG_CHARACTERS or text.count("\n") >= _LONG_LINES


def is_shown_picture(part: MessagePart) -> bool:
    """Whether a page can show a picture: one that the message holds, in a format without scripts."""
    return part.kind == "picture" and part.value.startswith(_SHOWN_PICTURES)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
