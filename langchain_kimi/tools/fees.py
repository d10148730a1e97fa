"""What tools that Kimi runs cost beside tokens, told where a `UsageMeter` hears it."""

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event

from langchain_kimi.catalogue import fee_of
from langchain_kimi.usage_meter import FEE


def tell_fee(tool: str) -> None:
    """Tell the fee of one run of a tool, if it has one or none is known; call it inside the run."""
    if (usd := fee_of(tool)) != 0:
        dispatch_custom_event(FEE, {"tool": tool, "usd": usd})


async def atell_fee(tool: str) -> None:
    """`tell_fee` for asynchronous use."""
    if (usd := fee_of(tool)) != 0:
        await adispatch_custom_event(FEE, {"tool": tool, "usd": usd})
