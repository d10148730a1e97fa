"""`langchain-kimi doctor`: why Kimi does not answer, from the key to the model."""

import argparse
import time

from langchain_kimi._api_keys import HOSTS
from langchain_kimi._endpoints import ModelInfo
from langchain_kimi.catalogue import find
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
        models = platform.models()
    except AuthenticationError as error:
        _write_check(True, "reachable", _milliseconds(started))
        _write_check(False, "key", _other_region(platform) or one_line(error))
        return CHECK_FAILED
    except KimiError as error:
        _write_check(False, "reachable", one_line(error))
        return CHECK_FAILED
    _write_check(True, "reachable", _milliseconds(started))
    _write_check(True, "key", f"accepted; it sees {len(models)} models")
    return max(_check_model(options.model, models), _check_balance(platform))


def _check_model(model: str, models: list[ModelInfo]) -> int:
    if any(one.id == model for one in models):
        _write_check(True, "model", f"{model} is available")
        return 0
    row = find(model)
    if row and row.retired:
        why = row.retirement.removesuffix(".")
    elif row and row.family == "k3":
        why = f"{model} is not among the account's models; the K3 family needs a top-up (vouchers do not count)"
    else:
        why = f"{model} is not among the account's models: {', '.join(one.id for one in models) or 'none'}"
    _write_check(False, "model", why)
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
