"""Raises for responses that are not whole."""

from langchain_core.messages import AIMessage

from langchain_kimi._finish_reasons import ABNORMAL, calls_may_run
from langchain_kimi.catalogue import find
from langchain_kimi.errors import AnswerCutShort, IncompleteAnswerError


def check_complete(message: AIMessage, host: str) -> None:
    """Raise IncompleteAnswerError where the finish reason says that the host gave up on the response, or where there is
    no text and no tool call may run: moderation withheld the rest, or the finish reason is unknown.
    """
    reason = message.response_metadata.get("finish_reason")
    unusable = not calls_may_run(reason) and not message.text.strip()
    if reason in ABNORMAL or unusable:
        raise IncompleteAnswerError.of(str(reason), message, host)


def check_output_cap(message: AIMessage, max_tokens: int | None = None) -> None:
    """Raise AnswerCutShort where the response spent its whole output cap on thinking: it has neither text nor tool
    calls.

    `max_tokens` is the cap that was sent, where it is known.
    """
    if message.response_metadata.get("finish_reason") != "length" or message.text.strip():
        return
    if message.tool_calls or message.invalid_tool_calls:
        return
    usage = message.usage_metadata
    cap = f" of {max_tokens:,} tokens" if max_tokens else ""
    used = f" ({usage['output_tokens']:,} output tokens were used)" if usage else ""
    row = find(str(message.response_metadata.get("model_name") or ""))
    remedies = ["raise max_tokens, which counts thinking too"]
    if row is None or row.thinking == "optional":
        remedies.append("switch thinking off (thinking=False)")
    if row and row.efforts:
        remedies.append(f"let it think less (thinking={row.efforts[0]!r})")
    error = AnswerCutShort(
        f"The answer reached its output cap{cap} while the model was still thinking{used}, so that it has neither text "
        f"nor tool calls: {', or '.join(remedies)}. `on_cut_short='return'` returns such an answer instead."
    )
    error.message, error.max_tokens = message, max_tokens
    raise error
