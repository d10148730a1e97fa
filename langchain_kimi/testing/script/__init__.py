"""Scripts: the replies of a scripted model."""

from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import (
    ErrorReply,
    Reply,
    Script,
    ScriptedToolCall,
    called,
    cut_after,
    empty,
    error_event,
    garbage,
    no_choice,
    overloaded,
    rate_limited,
    raw_call,
    refused,
    said,
    slowly,
    stall,
    thought,
    too_many,
)
from langchain_kimi.testing.script.schema_replies import continued, shaped
from langchain_kimi.testing.script.yaml_script import conversation

__all__ = [
    "ErrorReply",
    "Reply",
    "Request",
    "Script",
    "ScriptedToolCall",
    "called",
    "continued",
    "conversation",
    "cut_after",
    "empty",
    "error_event",
    "garbage",
    "no_choice",
    "overloaded",
    "rate_limited",
    "raw_call",
    "refused",
    "said",
    "shaped",
    "slowly",
    "stall",
    "thought",
    "too_many",
]
