"""`langchain-kimi doctor`: why Kimi does not answer, from the key to the model.

Exit status: 0 where all is well, 1 where something was found, 2 where it could not be asked.
"""

import time

from langchain_kimi.catalogue import find
from langchain_kimi.cli.account import currency
from langchain_kimi.cli.terminal import cause, write_line
from langchain_kimi.endpoints import HOSTS, ModelInfo
from langchain_kimi.errors import AuthenticationError, KimiError
from langchain_kimi.platform import KimiPlatform


def check_account(model: str) -> int:
    """Print one line for each thing that must be right; the exit status."""
    try:
        platform = KimiPlatform(max_retries=0, timeout=20)
    except KimiError as error:
        _found(False, "key", cause(error))
        return 2
    region = {url: f" (region {name})" for name, url in HOSTS.items()}.get(platform.base_url, "")
    _found(True, "host", f"{platform.base_url}{region}")
    begun = time.perf_counter()
    try:
        models = platform.models()
    except AuthenticationError as error:
        _found(True, "reachable", _milliseconds(begun))
        _found(False, "key", _other_region(platform) or cause(error))
        return 1
    except KimiError as error:
        _found(False, "reachable", cause(error))
        return 1
    _found(True, "reachable", _milliseconds(begun))
    _found(True, "key", f"accepted; it sees {len(models)} models")
    return max(_check_model(model, models), _check_balance(platform))


def _check_model(model: str, models: list[ModelInfo]) -> int:
    if any(one.id == model for one in models):
        _found(True, "model", f"{model} may be asked")
        return 0
    row = find(model)
    if row and row.retired:
        why = f"{row.id} was retired on {row.retired}; its successor is {row.successor}"
    elif row and row.efforts:
        why = f"{model} is not among the account's models; the K3 family needs a top-up (vouchers do not count)"
    else:
        why = f"{model} is not among the account's models: {', '.join(one.id for one in models) or 'none'}"
    _found(False, "model", why)
    return 1


def _check_balance(platform: KimiPlatform) -> int:
    try:
        balance = platform.balance()
    except KimiError as error:
        _found(False, "balance", cause(error))
        return 1
    enough = balance.available > 0
    hint = "" if enough else ": Kimi answers no requests, top the account up"
    _found(enough, "balance", f"{balance.available:.2f}{currency(platform)}{hint}")
    return 0 if enough else 1


def _other_region(platform: KimiPlatform) -> str | None:
    """What to do where the key is one of Kimi's other host."""
    for region, url in HOSTS.items():
        if platform.base_url in HOSTS.values() and url != platform.base_url:
            try:
                KimiPlatform(region=region, max_retries=0, timeout=20).models()  # type: ignore[arg-type]
            except KimiError:
                continue
            return f'refused here, but it works with region="{region}" or MOONSHOT_BASE_URL={url}'
    return None


def _milliseconds(begun: float) -> str:
    return f"answered in {(time.perf_counter() - begun) * 1000:.0f} ms"


def _found(good: bool, what: str, text: str) -> None:
    write_line(f"{'✓' if good else '✗'} {what:9} {text}")
