"""Each fault that is planted in a faithful server is found, and nothing else is."""

import pytest

from tests.host_checks.faults import FaultyServer, faults
from tests.host_checks.helpers import checked, not_passed
from tests.host_checks.scripted_model import obedient

K26 = "kimi-k2.6"


QUICK = ("reasoning dropped", "a dropped connection wedges the host")


"""The faults of the quick tests."""


FOUND: dict[str, dict[str, str]] = {
    "reasoning dropped": {"reasoning_returned": "failed", "reasoning_key": "unclear", "thinking_off": "unclear"},
    "reasoning under another key": {"reasoning_key": "differs"},
    "reasoning not read": {"reasoning_read": "failed"},
    "thinking cannot be switched off": {"thinking_off": "failed"},
    "required ignored": {"tool_choice_required": "failed"},
    "json_schema ignored": {"json_schema": "differs"},
    "required and json_schema ignored": {"tool_choice_required": "failed", "json_schema": "failed"},
    "invalid arguments": {"arguments": "failed", "parallel_calls": "failed"},
    "calls leaked into the text": {"arguments": "failed", "parallel_calls": "failed", "tool_choice_required": "failed"},
    "duplicate ids": {"call_ids": "differs"},
    "foreign ids refused": {"foreign_ids": "differs"},
    "repeated ids break the host": {"repeated_ids": "differs"},
    "suffixed ids refused": {"repeated_ids": "failed"},
    "broken arguments break the host": {"broken_arguments": "differs"},
    "repaired arguments refused": {"broken_arguments": "failed"},
    "padded reasoning refused": {"padded_reasoning": "differs"},
    "parallel calls collapsed": {"parallel_calls": "failed"},
    "no cached tokens": {"cached_tokens": "failed"},
    "no usage in the stream": {"usage_in_stream": "differs"},
    "no usage in whole responses": {"usage_whole": "differs", "cached_tokens": "unclear"},
    "no usage": {
        **dict.fromkeys(["usage_in_stream", "usage_whole"], "failed"),
        **dict.fromkeys(["usage_details", "usage_sum", "usage_headers", "cached_tokens"], "unclear"),
    },
    "no usage headers": {"usage_headers": "differs"},
    "no usage details": {"usage_details": "differs"},
    "usage that does not add up": {"usage_sum": "differs"},
    "stop after calls": {"finish_reasons": "differs"},
    "stop at the cap": {"finish_length": "failed"},
    "max_completion_tokens ignored": {"finish_length": "differs"},
    "no [DONE]": {"stream_done": "differs"},
    "no finish reason in the stream": {"stream_finish": "differs"},
    "no role in the first chunk": {"stream_role": "differs"},
    "changing ids of chunks": {"stream_fields": "differs"},
    "two choices in a chunk": {"stream_choices": "differs"},
    "calls without an index": {"stream_calls": "differs"},
    "half characters": {"stream_characters": "differs"},
    "an extra line in events": {"stream_events": "differs"},
    "no streams": {"stream_events": "differs", "usage_in_stream": "unclear"},
    "errors as pages with status 200": {"error_bodies": "differs"},
    "errors with status 200": {"error_bodies": "differs"},
    "a dropped connection wedges the host": {"cancellation": "failed"},
}


"""The checks that do not pass with each fault, on kimi-k2.6."""


def test_every_fault_is_tried() -> None:
    assert list(FOUND) == list(faults())


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FOUND]
)
def test_a_fault_is_found_and_nothing_else(name: str) -> None:
    with FaultyServer(obedient, faults()[name], strict=False) as server:
        assert not_passed(checked(server)) == FOUND[name]
