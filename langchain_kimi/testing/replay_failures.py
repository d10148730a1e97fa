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


def shorten_failure(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException] | None
) -> pytest.ExceptionInfo[BaseException] | None:
    """A failure that a cassette caused, without the frames of libraries; any other failure as it is.

    With `--full-trace`, every frame stays.
    """
    cause = _cause(excinfo)
    if excinfo is None or cause is None or item.config.getoption("fulltrace", False):
        return excinfo
    return _without_library_frames(item, excinfo.value, cause)


def explain_failure(
    report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException] | None, misses: Sequence[CannotReplay]
) -> None:
    """Make the difference the report's line in the summary, and the end of a failure that came of it."""
    cause = _cause(excinfo)
    if cause is None and misses:
        report.sections.append(("kimi cassette", "\n".join(map(str, misses))))
    if error := cause or (misses[0] if misses else None):
        _set_summary(report, error)


def failure_text(misses: Sequence[CannotReplay]) -> str:
    """What a test fails with that passed in spite of requests that could not be replayed."""
    return "\n".join([misses[0].summary, *map(str, misses)])


def _cause(excinfo: pytest.ExceptionInfo[BaseException] | None) -> CassetteError | None:
    return next(_cassette_errors(excinfo.value, set()), None) if excinfo else None


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
