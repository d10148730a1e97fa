"""`response_metadata`, with the ids of the request and the response."""

from langchain_kimi._response import ResponseDecoder
from langchain_kimi.testing import said
from tests.conftest import Serve, kimi
from tests.response.helpers import event, joined, whole


def test_metadata_is_there_once_with_the_ids_of_the_response() -> None:
    headers = {"msh-request-id": "r-1", "x-trace-id": "t-1", "content-type": "text/event-stream"}
    events = [event({"content": "x"}), event({"content": "y"}), {**event({}, "stop"), "system_fingerprint": "fp"}]
    for metadata in (
        joined(events, headers=headers).response_metadata,
        joined(events, headers=headers, v1=True).response_metadata,
        ResponseDecoder(headers=headers)
        .decode_body({**whole({"content": "xy"}, "stop"), "system_fingerprint": "fp"})
        .response_metadata,
    ):
        metadata.pop("output_version", None)
        assert metadata == {
            "model_name": "kimi-k2.6",
            "id": "chatcmpl-7",
            "created": 1790000000,
            "system_fingerprint": "fp",
            "model_provider": "moonshot",
            "finish_reason": "stop",
            "normalized_finish_reason": "stop",
            "request_id": "r-1",
            "trace_id": "t-1",
        }


async def test_ids_of_the_request_are_in_the_metadata(serve: Serve) -> None:
    model = kimi(serve(lambda request: said("ok")))
    whole = kimi(serve([said("ok")]), streaming=False).invoke("go")
    chunks = list(model.stream("go"))
    joined = chunks[0] + chunks[1:]
    for message in (model.invoke("go"), await model.ainvoke("go"), whole, joined):
        assert len(message.response_metadata["request_id"]) == 32
