"""`langchain-kimi balance`: the account's money."""

import argparse
from urllib.parse import urlsplit

from langchain_kimi._api_keys import HOSTS
from langchain_kimi.cli.command_errors import CHECK_FAILED
from langchain_kimi.cli.output import write_line
from langchain_kimi.platform import KimiPlatform


def run_balance_command(options: argparse.Namespace) -> int:
    """Print the balance; the exit status, 1 where the account is empty."""
    platform = KimiPlatform()
    balance = platform.balance()
    unit = currency(platform)
    write_line(f"{balance.available:.2f}{unit} available (cash {balance.cash:.2f}, vouchers {balance.voucher:.2f})")
    if balance.available <= 0:
        write_line("Kimi refuses requests of an account without balance. Top it up in the console.")
        return CHECK_FAILED
    return 0


def currency(platform: KimiPlatform) -> str:
    """The unit of the account's money with a space before it; empty where the host is not Kimi's own."""
    units = {urlsplit(url).netloc: unit for url, unit in zip(HOSTS.values(), (" USD", " CNY"), strict=True)}
    return units.get(urlsplit(platform.base_url).netloc, "")
