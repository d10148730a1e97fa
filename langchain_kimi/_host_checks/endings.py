"""How answers end: finish reasons, output caps, errors, and a connection that the client drops."""

from langchain_kimi._host_checks.checks import DOCUMENTATION, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, user
from langchain_kimi.catalogue import default_output

CAP = 12
_COUNTING = "Count from 1 to 300, in words, with commas."
NO_MODEL = "kimi-model-that-does-not-exist"

REASONS = Check("finish_reasons", "should", "`stop` after a text, `tool_calls` after calls", DOCUMENTATION)
LENGTH = Check(
    "finish_length", "must", "`max_completion_tokens` ends the answer, with the finish reason `length`", DOCUMENTATION
)
ERRORS = Check(
    "error_bodies", "should", "an error is a status of 4xx with JSON: `error.type` and `error.message`", DOCUMENTATION
)
CANCELLATION = Check(
    "cancellation", "must", "after a client has dropped a stream, the next request is answered", DOCUMENTATION
)


def _requests(profile: HostProfile) -> list[ChatRequest]:
    light, counting = profile.light(), [user(_COUNTING)]
    return [
        ChatRequest("capped", counting, CAP, light, stream=False),
        ChatRequest("capped_by_alias", counting, CAP, {"max_completion_tokens": None, "max_tokens": CAP, **light}),
        ChatRequest("unknown_model", [user("Hi.")], CAP, {"model": NO_MODEL}, stream=False),
        ChatRequest("no_messages", [], CAP, {}),
    ]


def _judge(profile: HostProfile, record: Record) -> list[CheckResult]:
    return [_reasons(record), _length(profile, record), _errors([*record["unknown_model"], *record["no_messages"]])]


def _reasons(record: Record) -> CheckResult:
    answers = [response for name in ("greeting", "parallel") for response in record[name] if response.is_answer]
    for response in answers:
        expected = "tool_calls" if response.calls else "stop"
        if response.finish_reason not in (expected, "length", None):
            what = "calls" if response.calls else "a text"
            observed = f"`{response.finish_reason}` after {what}"
            return REASONS.differs(observed, "none needed: ChatKimi looks at the calls")
    return REASONS.passed()


def _length(profile: HostProfile, record: Record) -> CheckResult:
    capped, alias = record["capped"][0], record["capped_by_alias"][0]
    if _is_capped(capped):
        return LENGTH.passed()
    if _is_capped(alias):
        cap, setting = default_output(profile.row), 'extra_body={"max_tokens": …} beside max_tokens'
        return LENGTH.differs(f"only `max_tokens` does: {_end(capped)}", setting, extra_body={"max_tokens": cap})
    return LENGTH.failed(_end(capped), "none: an answer that was cut looks whole")


def _is_capped(response: HostResponse) -> bool:
    return response.is_answer and response.finish_reason == "length"


def _end(response: HostResponse) -> str:
    return f"finish reason `{response.finish_reason}`" if response.is_answer else response.outcome


def _errors(responses: list[HostResponse]) -> CheckResult:
    for response in responses:
        if response.is_answer:
            return ERRORS.differs(f"{response.request.name}: answered as if nothing were wrong", "none needed")
        if not 400 <= response.status < 500 or not _is_error_object(response):
            label = response.headers.get("content-type", "no content type").partition(";")[0]
            observed = f"{response.request.name}: {response.status or 'no status'} with {label}"
            return ERRORS.differs(observed, "none needed: ChatKimi reads the body, and retries what may pass")
    return ERRORS.passed()


def _is_error_object(response: HostResponse) -> bool:
    bodies = [chunk.get("error") for chunk in response.chunks]
    return any(isinstance(body, dict) and body.get("message") and body.get("type") for body in bodies)


def _drop_requests(profile: HostProfile) -> list[ChatRequest]:
    question = [user("Write a story of 50 words about a lighthouse.")]
    return [
        ChatRequest("dropped", question, 64, profile.light(), leaves=True, retries=False),
        ChatRequest("after_drop", [user("Reply with OK.")], CAP, profile.light(), retries=False),
    ]


def _judge_drop(profile: HostProfile, record: Record) -> list[CheckResult]:
    dropped, after = record["dropped"][0], record["after_drop"][0]
    if dropped.status != 200:
        return [CANCELLATION.unclear(f"there was no stream to drop: {dropped.outcome}")]
    if after.is_answer:
        return [CANCELLATION.passed()]
    return [CANCELLATION.failed(after.outcome, "a smaller `timeout`, and no cancelled runs on this host")]


ENDINGS = Group("endings", (REASONS, LENGTH, ERRORS), _requests, _judge)
DROPPED = Group("dropped connection", (CANCELLATION,), _drop_requests, _judge_drop)
