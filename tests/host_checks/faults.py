"""Faults of hosts, planted between KimiServer and its client: what a host does otherwise than Kimi."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from langchain_kimi.testing import KimiServer
from langchain_kimi.testing.api.http_response import ConnectionCut, HttpResponse, error_response, full_response

Json = dict[str, Any]
Answer = Callable[[Json], HttpResponse]
Fault = Callable[[Json, Answer], HttpResponse]
"""Answers a chat request by means of the faithful server."""
DONE = b"data: [DONE]\n\n"


class FaultyServer(KimiServer):
    """A KimiServer whose chat requests and responses pass through a fault."""

    def __init__(self, script: Any, fault: Fault, **settings: Any) -> None:
        super().__init__(script, **settings)
        self._fault = fault

    def respond(self, method: str, path: str, headers: Any, body: bytes) -> HttpResponse:
        faithful = super().respond
        if not path.endswith("/chat/completions"):
            return faithful(method, path, headers, body)
        return self._fault(
            json.loads(body), lambda request: faithful(method, path, headers, json.dumps(request).encode())
        )


def in_request(change: Callable[[Json], Json]) -> Fault:
    """The host reads another request than it was sent."""
    return lambda request, answer: answer(change(request))


def in_documents(change: Callable[[list[Json]], Iterable[Json]], *, done: bool = True, whole: bool = True) -> Fault:
    """The host sends other chunks, or another whole body; `done` says whether `[DONE]` follows."""

    def fault(request: Json, answer: Answer) -> HttpResponse:
        response = answer(request)
        if response.status != 200:
            return response
        body = b"".join(response.body)
        if not body.startswith(b"data:"):
            content = json.dumps(next(iter(change([json.loads(body)])))).encode() if whole else body
            return _with_body(response, content)
        chunks = [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
        events = [b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in change(chunks)]
        return _with_body(response, b"".join(events) + DONE * done)

    return fault


def in_parts(change: Callable[[Json], Any]) -> Fault:
    """Each delta and each message is changed in place."""

    def change_documents(documents: list[Json]) -> list[Json]:
        for choice in choices(documents):
            change(choice.get("delta", choice.get("message")))
        return documents

    return in_documents(change_documents)


def in_choices(change: Callable[[Json], Any], *, whole: bool = True) -> Fault:
    """Each choice is changed in place."""

    def change_documents(documents: list[Json]) -> list[Json]:
        for choice in choices(documents):
            change(choice)
        return documents

    return in_documents(change_documents, whole=whole)


def in_usage(change: Callable[[Json], Any]) -> Fault:
    """Each `usage` object is changed in place."""

    def change_documents(documents: list[Json]) -> list[Json]:
        holders = [*documents, *choices(documents)]
        for usage in {id(one["usage"]): one["usage"] for one in holders if one.get("usage")}.values():
            change(usage)
        return documents

    return in_documents(change_documents)


def both(first: Fault, second: Fault) -> Fault:
    """Two faults, the second nearer to the server."""
    return lambda request, answer: first(request, lambda changed: second(changed, answer))


def choices(documents: list[Json]) -> Iterator[Json]:
    for document in documents:
        yield from document["choices"]


def calls_in(request: Json) -> list[Json]:
    """The calls in the history of a request."""
    return [call for message in request.get("messages", ()) for call in message.get("tool_calls") or ()]


def refuses(holds: Callable[[Json], bool], status: int = 400) -> Fault:
    """The host answers some requests with an error."""

    def fault(request: Json, answer: Answer) -> HttpResponse:
        return error_response(status, "server_error", "It cannot be done") if holds(request) else answer(request)

    return fault


def wedges() -> Fault:
    """After a story, whose reader leaves, no request is answered."""
    stories: list[Json] = []

    def fault(request: Json, answer: Answer) -> HttpResponse:
        if stories:
            return HttpResponse(200, {"content-type": "text/event-stream"}, _cut())
        if "Write a story" in str(request["messages"][-1:]):
            stories.append(request)
        return answer(request)

    return fault


def _cut() -> Iterator[bytes]:
    raise ConnectionCut
    yield b""


def _with_body(response: HttpResponse, body: bytes) -> HttpResponse:
    if "content-length" in response.headers:
        response.headers["content-length"] = str(len(body))
    return replace(response, body=iter([body]))


# The faults.


def _drop_reasoning(part: Json) -> None:
    part.pop("reasoning_content", None)


def _other_key_out(part: Json) -> None:
    if "reasoning_content" in part:
        part["reasoning"] = part.pop("reasoning_content")


def _other_key_in(request: Json) -> Json:
    for message in request["messages"]:
        if "reasoning" in message:
            message["reasoning_content"] = message.pop("reasoning")
    return request


def _forget_reasoning(request: Json) -> Json:
    for message in request["messages"]:
        if message.get("reasoning_content"):
            message["reasoning_content"] = " "
    return request


def _without(*names: str) -> Callable[[Json], Json]:
    return lambda request: {name: value for name, value in request.items() if name not in names}


def _wrong_arguments(part: Json) -> None:
    for call in part.get("tool_calls") or ():
        function = call["function"]
        if "name" in function:
            function["arguments"] = '{"wrong": 1}'
        else:
            function["arguments"] = ""


def _same_ids(part: Json) -> None:
    for call in part.get("tool_calls") or ():
        if "id" in call:
            call["id"] = "call_0"


def _one_call(part: Json) -> None:
    if part.get("tool_calls"):
        part["tool_calls"] = [call for call in part["tool_calls"] if call["index"] == 0]


def _calls_without_index(part: Json) -> None:
    for call in part.get("tool_calls") or ():
        del call["index"]


def _leaked_calls(part: Json) -> None:
    if part.pop("tool_calls", None):
        part["content"] = "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"


def _foreign(request: Json) -> bool:
    return any(not re.fullmatch(r"(functions\.)?\w+:\d+(~\d+)?", call["id"]) for call in calls_in(request))


def _broken(request: Json) -> bool:
    return any(not call["function"]["arguments"].endswith("}") for call in calls_in(request))


def _repaired(request: Json) -> bool:
    return any("invalid_arguments" in call["function"]["arguments"] for call in calls_in(request))


def _repeated(request: Json) -> bool:
    ids = [call["id"] for call in calls_in(request)]
    return len(set(ids)) < len(ids)


def _suffixed(request: Json) -> bool:
    return any("~" in call["id"] for call in calls_in(request))


def _padded(request: Json) -> bool:
    return any(message.get("reasoning_content") == " " for message in request["messages"])


def _no_usage(holder: Json) -> None:
    holder.pop("usage", None)


def _no_stream_usage(documents: list[Json]) -> list[Json]:
    for holder in (*documents, *choices(documents)):
        _no_usage(holder)
    return [document for document in documents if document["choices"]]


def _no_whole_usage(request: Json, answer: Answer) -> HttpResponse:
    return answer(request) if request.get("stream") else in_documents(_no_stream_usage)(request, answer)


def _no_cache(usage: Json) -> None:
    usage["cached_tokens"] = usage["prompt_tokens_details"]["cached_tokens"] = 0


def _no_headers(request: Json, answer: Answer) -> HttpResponse:
    response = answer(request)
    headers = {name: value for name, value in response.headers.items() if not name.lower().startswith("x-msh-usage")}
    return replace(response, headers=headers)


def _no_cache_headers(request: Json, answer: Answer) -> HttpResponse:
    response = answer(request)
    zero = {name: "0" for name in response.headers if name.lower() == "x-msh-usage-cached-tokens"}
    return replace(response, headers=response.headers | zero)


def _no_details(usage: Json) -> None:
    del usage["prompt_tokens_details"], usage["completion_tokens_details"]


def _wrong_sum(usage: Json) -> None:
    usage["total_tokens"] += 1


def _finish(old: str, new: str | None) -> Callable[[Json], None]:
    def change(choice: Json) -> None:
        if choice["finish_reason"] == old:
            choice["finish_reason"] = new

    return change


def _no_finish(choice: Json) -> None:
    choice["finish_reason"] = None


def _no_role(choice: Json) -> None:
    choice.get("delta", {}).pop("role", None)


def _changing_id(documents: list[Json]) -> list[Json]:
    return [{**document, "id": f"chatcmpl-{number}"} for number, document in enumerate(documents)]


def _two_choices(documents: list[Json]) -> list[Json]:
    doubled = [{**one, "choices": [*one["choices"], {**one["choices"][0], "index": 1}]} for one in documents[1:2]]
    return [*documents[:1], *doubled, *documents[2:]]


def _halves(documents: list[Json]) -> Iterator[Json]:
    for document in documents:
        delta = document["choices"][0].get("delta", {}) if document["choices"] else {}
        if "🙂" in (delta.get("content") or ""):
            for half in ("\ud83d", "\ude42"):
                yield {**document, "choices": [{**document["choices"][0], "delta": {"content": half}}]}
            delta["content"] = delta["content"].replace("🙂", "")
        yield document


def _page_errors(request: Json, answer: Answer) -> HttpResponse:
    response = answer(request)
    if response.status == 200:
        return response
    return full_response(200, b"<html><body>Something went wrong</body></html>", {"content-type": "text/html"})


def _errors_as_success(request: Json, answer: Answer) -> HttpResponse:
    response = answer(request)
    return response if response.status == 200 else replace(response, status=200)


def _never_streams(request: Json, answer: Answer) -> HttpResponse:
    return answer(_without("stream", "stream_options")(request))


def _ignores_cap(request: Json, answer: Answer) -> HttpResponse:
    is_capped = "max_tokens" in request or request.get("max_completion_tokens", 0) > 12
    return answer(request) if is_capped else in_choices(_finish("length", "stop"))(request, answer)


def _extra_line(request: Json, answer: Answer) -> HttpResponse:
    response = answer(request)
    body = b"".join(response.body)
    return _with_body(response, b"event: chunk\n" + body if body.startswith(b"data:") else body)


def faults() -> dict[str, Fault]:
    """Each fault by its name, made anew, because some of them remember."""
    return {
        "reasoning dropped": in_parts(_drop_reasoning),
        "reasoning under another key": both(in_parts(_other_key_out), in_request(_other_key_in)),
        "reasoning not read": in_request(_forget_reasoning),
        "thinking cannot be switched off": in_request(_without("thinking")),
        "required ignored": in_request(_without("tool_choice")),
        "json_schema ignored": in_request(_without("response_format")),
        "required and json_schema ignored": in_request(_without("tool_choice", "response_format")),
        "invalid arguments": in_parts(_wrong_arguments),
        "calls leaked into the text": both(in_choices(_finish("tool_calls", "stop")), in_parts(_leaked_calls)),
        "duplicate ids": in_parts(_same_ids),
        "foreign ids refused": refuses(_foreign),
        "repeated ids break the host": refuses(_repeated, 500),
        "suffixed ids refused": refuses(_suffixed),
        "broken arguments break the host": refuses(_broken, 500),
        "repaired arguments refused": refuses(_repaired),
        "padded reasoning refused": refuses(_padded),
        "parallel calls collapsed": in_parts(_one_call),
        "no cached tokens": both(in_usage(_no_cache), _no_cache_headers),
        "no usage in the stream": in_documents(_no_stream_usage, whole=False),
        "no usage in whole responses": _no_whole_usage,
        "no usage": in_documents(_no_stream_usage),
        "no usage headers": _no_headers,
        "no usage details": in_usage(_no_details),
        "usage that does not add up": in_usage(_wrong_sum),
        "stop after calls": in_choices(_finish("tool_calls", "stop")),
        "stop at the cap": in_choices(_finish("length", "stop")),
        "max_completion_tokens ignored": _ignores_cap,
        "no [DONE]": in_documents(list, done=False),
        "no finish reason in the stream": in_choices(_no_finish, whole=False),
        "no role in the first chunk": in_choices(_no_role),
        "changing ids of chunks": in_documents(_changing_id),
        "two choices in a chunk": in_documents(_two_choices),
        "calls without an index": in_parts(_calls_without_index),
        "half characters": in_documents(_halves),
        "an extra line in events": _extra_line,
        "no streams": _never_streams,
        "errors as pages with status 200": _page_errors,
        "errors with status 200": _errors_as_success,
        "a dropped connection wedges the host": wedges(),
    }
