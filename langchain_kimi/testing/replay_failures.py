"""Failures of replayed tests, as pytest shows them: the lines of the test and the app, then what was not replayed."""

import copy
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

import langchain_kimi
from langchain_kimi.testing.cassettes import CannotReplay, CassetteError

if TYPE_CHECKING:
    from _pytest._code.code import ReprFileLocation

_LIBRARIES = (
    *dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(langchain_kimi.__file__).parent),
)


def explain(item: pytest.Item, error: BaseException, report: pytest.TestReport, misses: Sequence[CannotReplay]) -> None:
    """Shorten the report of a failure that a cassette caused, or else add the requests that could not be replayed.

    With `--full-trace`, every frame stays.
    """
    cause = next(_cassette_errors(error, set()), None)
    if cause is not None and not item.config.getoption("fulltrace", False):
        report.longrepr = item.repr_failure(_without_library_frames(item, error, cause))
        _set_summary(report, cause)
    elif misses and cause is None:
        report.sections.append(("kimi cassette", "\n".join(map(str, misses))))
        _set_summary(report, misses[0])


def failure_text(misses: Sequence[CannotReplay]) -> str:
    """What a test fails with that passed in spite of requests that could not be replayed."""
    return "\n".join([misses[0].summary, *map(str, misses)])


def _cassette_errors(error: BaseException | None, seen: set[int]) -> Iterator[CassetteError]:
    """The errors of cassettes from which an exception came, through wrappers and groups."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    if isinstance(error, CassetteError):
        yield error
    inner: Iterable[BaseException] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for each in (*inner, error.__cause__, error.__context__):
        yield from _cassette_errors(each, seen)


def _without_library_frames(
    item: pytest.Item, error: BaseException, cause: CassetteError
) -> pytest.ExceptionInfo[BaseException]:
    """The cassette's error, raised where the test or the app called a library."""
    shown = copy.copy(cause)
    shown.__cause__, shown.__suppress_context__ = None, True
    shown.__dict__.pop("__notes__", None)  # LangGraph's, on the task that was running
    entries = list(_tracebacks(error))
    own = [each for each in entries if not _is_library(each.tb_frame.f_code.co_filename, item)]
    trace = None
    for each in reversed(own or entries):
        trace = TracebackType(trace, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return pytest.ExceptionInfo.from_exc_info((type(shown), shown.with_traceback(trace), trace))  # type: ignore[arg-type]


def _tracebacks(error: BaseException) -> Iterator[TracebackType]:
    trace = error.__traceback__
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_library(file: str, item: pytest.Item) -> bool:
    return file != str(item.path) and file.startswith(("<", *_LIBRARIES))


def _set_summary(report: pytest.TestReport, error: CassetteError) -> None:
    """Makes what differs the report's line in pytest's summary."""
    crash: ReprFileLocation | None = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = error.summary if isinstance(error, CannotReplay) else str(error)
