"""`langchain-kimi doctor`: why Kimi does not answer, from the key to the model."""

import argparse
import time

from langchain_kimi._api_keys import HOSTS
from langchain_kimi._clock import CLOCK
from langchain_kimi.catalogue import find, proposal
from langchain_kimi.cli.balance import currency
from langchain_kimi.cli.command_errors import CHECK_FAILED, NOT_RUN, one_line
from langchain_kimi.cli.output import write_line
from langchain_kimi.errors import AuthenticationError, KimiError
from langchain_kimi.platform import KimiPlatform


def run_doctor_command(options: argparse.Namespace) -> int:
    """Print one line for each check; the exit status."""
    try:
        platform = KimiPlatform(max_retries=0, timeout=20)
    except KimiError as error:
        _write_check(False, "key", one_line(error))
        return NOT_RUN
    region = {url: f" (region {name})" for name, url in HOSTS.items()}.get(platform.base_url, "")
    _write_check(True, "host", f"{platform.base_url}{region}")
    started = time.perf_counter()
    try:
        models = [model.id for model in platform.models()]
    except AuthenticationError as error:
        _write_check(True, "reachable", _milliseconds(started))
        _write_check(False, "key", _other_region(platform) or one_line(error))
        return CHECK_FAILED
    except KimiError as error:
        _write_check(False, "reachable", one_line(error))
        return CHECK_FAILED
    _write_check(True, "reachable", _milliseconds(started))
    _write_check(True, "key", f"accepted; its models: {', '.join(models) or 'none'}")
    return max(_check_model(options.model, models), _check_balance(platform))


def _check_model(model: str, models: list[str]) -> int:
    row = find(model)
    retirement = row.retirement_text(CLOCK.today()) if row else ""
    if model in models:
        _write_check(True, "model", f"{model} is available. {retirement}".rstrip(". "))
        return 0
    known = [retirement, row.access] if row else []
    instead = f"Use {proposal(model, models)} (--model)." if models else ""
    why = " ".join(filter(None, [f"{model} is not among the account's models.", *known, instead]))
    _write_check(False, "model", why.removesuffix("."))
    return CHECK_FAILED


def _check_balance(platform: KimiPlatform) -> int:
    try:
        balance = platform.balance()
    except KimiError as error:
        _write_check(False, "balance", one_line(error))
        return CHECK_FAILED
    enough = balance.available > 0
    hint = "" if enough else ": Kimi refuses requests until the account is topped up"
    _write_check(enough, "balance", f"{balance.available:.2f}{currency(platform)}{hint}")
    return 0 if enough else CHECK_FAILED


def _other_region(platform: KimiPlatform) -> str | None:
    """What to do where the key belongs to Kimi's other host."""
    for region, url in HOSTS.items():
        if platform.base_url in HOSTS.values() and url != platform.base_url:
            try:
                KimiPlatform(region=region, max_retries=0, timeout=20).models()  # type: ignore[arg-type]
            except KimiError:
                continue
            return f'refused here, but it works with region="{region}" or MOONSHOT_BASE_URL={url}'
    return None


def _milliseconds(started: float) -> str:
    return f"answered in {(time.perf_counter() - started) * 1000:.0f} ms"


def _write_check(passed: bool, name: str, text: str) -> None:
    write_line(f"{'✓' if passed else '✗'} {name:9} {text}")
