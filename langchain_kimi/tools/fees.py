"""Reports the fees of tools that Kimi runs to the callbacks of a `UsageMeter`."""

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event

from langchain_kimi.catalogue import fee_of
from langchain_kimi.usage_meter import FEE


def report_fee(tool: str) -> None:
    """Report the fee of one run of a tool, unless it is known to have none. Call it inside the run."""
    if (usd := fee_of(tool)) != 0:
        dispatch_custom_event(FEE, {"tool": tool, "usd": usd})


async def areport_fee(tool: str) -> None:
    """`report_fee` for asynchronous use."""
    if (usd := fee_of(tool)) != 0:
        await adispatch_custom_event(FEE, {"tool": tool, "usd": usd})
