"""`langchain-kimi verify-host`: whether a host is a faithful Kimi, and how to set `ChatKimi` for it."""

import argparse
import os
from urllib.parse import urlsplit

from pydantic import SecretStr

from langchain_kimi._api_keys import NO_KEY, is_loopback
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.run import Report, estimate, run_checks
from langchain_kimi._http import Transport, transport_of
from langchain_kimi.chat_model import ChatKimi
from langchain_kimi.cli.command_errors import CHECK_FAILED, CommandError, one_line
from langchain_kimi.cli.host_report import estimate_line, write_json, write_report
from langchain_kimi.cli.output import write_error
from langchain_kimi.errors import KimiError

CASES = 50
_PROGRESS_STEP = 10


def run_verify_host_command(options: argparse.Namespace) -> int:
    """Check a host and print what it does; the exit status, 1 where something fails that agents need."""
    transport = _transport(options)
    cases = options.cases if options.cases is not None else 0 if options.quick else CASES
    report = Report(HostProfile(transport.base_url, options.model, cases, quick=options.quick))
    expected = estimate(report.profile)
    write_error(estimate_line(expected, options.model))
    write = write_json if options.json else write_report
    try:
        run_checks(report, transport, _show_progress)
    except KimiError as error:
        if not report.results:
            raise CommandError(f"the first request was not answered. {one_line(error)}") from error
        write(report, expected, options.api_key_env, interrupted=True)
        raise
    except KeyboardInterrupt:
        write(report, expected, options.api_key_env, interrupted=True)
        raise
    write(report, expected, options.api_key_env, interrupted=False)
    return CHECK_FAILED if report.failed_musts else 0


def _transport(options: argparse.Namespace) -> Transport:
    """The connection to the host with the account's key. Raises CommandError without one."""
    variable = options.api_key_env or "MOONSHOT_API_KEY"
    key = os.environ.get(variable, "").strip()
    if options.api_key_env and not key:
        raise CommandError(f"the variable {variable} holds no key. Set it, or name another one with --api-key-env.")
    if not key and not is_loopback(urlsplit(options.url).hostname or ""):
        raise CommandError(f"{NO_KEY} --api-key-env names another variable.")
    settings = {"model": options.model, "base_url": options.url, "timeout": options.timeout}
    return transport_of(ChatKimi(**settings, api_key=SecretStr(key) if key else None))


def _show_progress(group: str, answered: int, total: int) -> None:
    if answered < total and answered % _PROGRESS_STEP == 0:
        write_error(f"{group}: {f'{answered} of {total}' if answered else f'{total} requests'}")
