"""Rules on the request as a whole: its size."""

from langchain_kimi._rules.request import Breaches, Rule, WireRequest
from langchain_kimi.catalogue import MAX_REQUEST_BYTES


def body_size(request: WireRequest) -> Breaches:
    """A body that is larger than Kimi reads; the hosts of unknown models may read larger ones."""
    if request.row and request.size is not None and request.size > MAX_REQUEST_BYTES:
        yield f"body of {request.size:,} bytes", "Request exceeds the maximum size"


WHOLE_REQUEST: tuple[Rule, ...] = (
    Rule(
        "body_size",
        body_size,
        f"Kimi takes {MAX_REQUEST_BYTES:,} bytes. Send smaller pictures and videos, or upload them and send ms:// ids.",
        "official chat API page",
        413,
    ),
)
