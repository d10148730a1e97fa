"""Token usage: where it is reported, whether it adds up, and the prefix cache."""

from collections.abc import Callable, Iterable

from langchain_kimi._host_checks.checks import DOCUMENTATION, STREAM_SPECIFICATION, Check, CheckResult, Group, Record
from langchain_kimi._host_checks.host_profile import HostProfile
from langchain_kimi._host_checks.responses import ChatRequest, HostResponse, user
from langchain_kimi.usage import is_inconsistent, usage_of_headers

_RULES = " ".join(f"Rule {number}: the door with the number {number} stays shut." for number in range(1, 31))
"""About 400 tokens: Kimi caches prompts of more than 256, in blocks."""

IN_STREAM = Check("usage_in_stream", "must", "a stream ends with its `usage`", STREAM_SPECIFICATION)
WHOLE = Check("usage_whole", "must", "a whole response has its `usage`", DOCUMENTATION)
DETAILS = Check(
    "usage_details",
    "should",
    "`usage` counts cached tokens and reasoning tokens in its details",
    STREAM_SPECIFICATION,
)
SUM = Check("usage_sum", "should", "parts of `usage` are within their wholes, and the total is the sum", DOCUMENTATION)
HEADERS = Check(
    "usage_headers",
    "should",
    "every answer has `X-Msh-Usage-Prompt-Tokens` and `-Cached-Tokens`, equal to its `usage`",
    STREAM_SPECIFICATION,
)
CACHED = Check("cached_tokens", "should", "a prompt that is sent again reports cached tokens", DOCUMENTATION)


def _requests(profile: HostProfile) -> list[ChatRequest]:
    messages = [{"role": "system", "content": _RULES}, user("Reply with OK.")]
    again = ChatRequest("cached", messages, 8, profile.light(), stream=False)
    return [again] * (2 if profile.quick else 3)


def _judge(profile: HostProfile, record: Record) -> list[CheckResult]:
    answers = [response for sent in record.values() for response in sent if response.is_answer]
    streamed = [response for response in answers if response.is_stream]
    whole = [response for response in answers if not response.is_stream]
    return [
        _in_stream(streamed, whole),
        _whole(streamed, whole),
        _every(DETAILS, answers, _lacks_details, "none needed: cached and reasoning tokens may be 0 in reports"),
        _every(SUM, answers, lambda one: is_inconsistent(one.wire_usage), "none needed: ChatKimi clamps the parts"),
        _every(HEADERS, answers, _odd_headers, "none: a stream that breaks off has no known price"),
        _cached(record["cached"]),
    ]


def _reported(responses: Iterable[HostResponse]) -> bool:
    return all(response.wire_usage for response in responses)


def _in_stream(streamed: list[HostResponse], whole: list[HostResponse]) -> CheckResult:
    if not streamed:
        return IN_STREAM.unclear("no stream")
    if _reported(streamed):
        return IN_STREAM.passed()
    if whole and _reported(whole):
        return IN_STREAM.differs("missing", "streaming=False: whole responses report it", streaming=False)
    return IN_STREAM.failed("missing", "none: AgentLimits(tokens=…, cost_usd=…) cannot bind; use turns and seconds")


def _whole(streamed: list[HostResponse], whole: list[HostResponse]) -> CheckResult:
    if not whole:
        return WHOLE.unclear("no whole response")
    if _reported(whole):
        return WHOLE.passed()
    if streamed and _reported(streamed):
        return WHOLE.differs("missing", "leave `streaming` unset: streams report it")
    return WHOLE.failed("missing", "none: AgentLimits(tokens=…, cost_usd=…) cannot bind; use turns and seconds")


def _every(
    check: Check, answers: list[HostResponse], is_odd: Callable[[HostResponse], bool], setting: str
) -> CheckResult:
    reporting = [response for response in answers if response.wire_usage]
    odd = sum(map(is_odd, reporting))
    if not reporting:
        return check.unclear("no answer reports usage")
    return check.differs(f"not so in {odd} of {len(reporting)} answers", setting) if odd else check.passed()


def _lacks_details(response: HostResponse) -> bool:
    usage = response.wire_usage or {}
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    has_prompt = isinstance(prompt, dict) and "cached_tokens" in prompt
    return not (has_prompt and isinstance(completion, dict) and "reasoning_tokens" in completion)


def _odd_headers(response: HostResponse) -> bool:
    reported, usage = usage_of_headers(response.headers, 0), response.usage
    if reported is None or usage is None:
        return True
    cached = usage.get("input_token_details", {}).get("cache_read", 0)
    return (reported["prompt_tokens"], reported["cached_tokens"]) != (usage["input_tokens"], cached)


def _cached(responses: list[HostResponse]) -> CheckResult:
    usages = [response.usage for response in responses if response.usage]
    if len(usages) < 2:
        return CACHED.unclear("no usage to see it in")
    cached = max(usage.get("input_token_details", {}).get("cache_read", 0) for usage in usages[1:])
    if cached:
        return CACHED.passed(f"{cached} of {usages[-1]['input_tokens']} tokens")
    return CACHED.failed("none: every turn costs the whole prompt", "AgentLimits(cost_usd=…), and Compaction early")


USAGE = Group("usage", (IN_STREAM, WHOLE, DETAILS, SUM, HEADERS, CACHED), _requests, _judge)
