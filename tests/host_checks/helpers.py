"""Checks of a host that run without waiting, and what they did not find good."""

from langchain_kimi import ChatKimi
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.run import Report, run_checks
from langchain_kimi._http import transport_of
from langchain_kimi.testing import KimiServer
from tests.clock import VirtualClock, with_clock
from tests.conftest import KEY


def checked(server: KimiServer, model: str = "kimi-k2.6", cases: int = 2, *, quick: bool = False) -> Report:
    """The report on a server; waits before retries pass at once."""
    chat = with_clock(ChatKimi(model=model, base_url=server.url, api_key=KEY, timeout=20.0), VirtualClock())  # type: ignore[arg-type]
    report = Report(HostProfile(server.url, model, cases, quick=quick))
    run_checks(report, transport_of(chat), lambda group, answered, total: None)
    return report


def not_passed(report: Report) -> dict[str, str]:
    return {result.check.name: result.outcome for result in report.results if result.outcome != "passed"}
