"""Rules on the request as a whole: its model and its size."""

from langchain_kimi._rules.request import Breaches, Rule, WireRequest
from langchain_kimi.catalogue import MAX_REQUEST_BYTES


def model_retired(request: WireRequest) -> Breaches:
    """A model that Kimi's own platform no longer serves."""
    if request.on_platform and request.row and request.row.retired:
        yield "model", f"Not found the model {request.row.id} or Permission denied"


def body_size(request: WireRequest) -> Breaches:
    """A body that is larger than Kimi reads; the hosts of unknown models may read larger ones."""
    if request.row and request.size is not None and request.size > MAX_REQUEST_BYTES:
        yield f"body of {request.size:,} bytes", "Request exceeds the maximum size"


MODEL_RETIRED = Rule(
    "model_retired",
    model_retired,
    "Use the successor that the catalogue names.",
    "official list of discontinued models; a log of August 2026",
    404,
    "resource_not_found_error",
)

WHOLE_REQUEST: tuple[Rule, ...] = (
    MODEL_RETIRED,
    Rule(
        "body_size",
        body_size,
        f"Kimi takes {MAX_REQUEST_BYTES:,} bytes. Send smaller pictures and videos, or upload them and send ms:// ids.",
        "official chat API page",
        413,
    ),
)
