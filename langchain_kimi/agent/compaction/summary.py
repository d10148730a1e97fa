"""The summary of removed messages: the requests in which the model writes it, and the message that holds it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.exceptions import ContextOverflowError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs
from langgraph.constants import TAG_NOSTREAM
from langgraph.errors import GraphBubbleUp

from langchain_kimi import tokens
from langchain_kimi._finish_reasons import CONTENT_FILTER, LENGTH
from langchain_kimi._raw_calls import raw_calls, reasoning_text
from langchain_kimi._steps import Steps
from langchain_kimi.agent.compaction.archive import message_text
from langchain_kimi.agent.compaction.draft import Draft
from langchain_kimi.agent.compaction.message_groups import SUMMARY, is_summary, is_user_message, summary_fields
from langchain_kimi.agent.compaction.recorded_usage import OUTDATED_USAGE
from langchain_kimi.agent.compaction.shortening import cut_to_tokens
from langchain_kimi.agent.model_call import VISIBLE_TOOLS
from langchain_kimi.agent.model_request import ModelRequest, request_with_retry
from langchain_kimi.agent.team.visible_messages import indented, plain_name
from langchain_kimi.errors import KimiError

_SUMMARY_OF = (
    "[This is a summary of the earlier conversation, which was removed to save space. It was written for you and is no "
    "message of the user's.]"
)
_NOTE_ON = (
    "[The earlier conversation was removed to save space. This note was written for you and is no message of the "
    "user's.]"
)
_NO_SUMMARY = "{} earlier exchanges were removed here to save space, and there is no summary of them."
_TASK = "The conversation began with this request of the user's:\n{}"
_RECALL = "The removed messages can be fetched back with the tool `recall`."

_MAX_WORDS = "Write at most {} words."
_EARLIER = "<summary_of_what_was_before>\n{}\n</summary_of_what_was_before>"
_PART = "<conversation>\n{}\n</conversation>"
_WORDS_PER_TOKEN = 0.6
_MIN_PART = 200
"""The tokens of conversation that every request has at least."""
_MAX_REQUESTS = 12
_MAX_REFUSALS = 2
"""How often a request that is refused as too long is tried with half of its part."""


@dataclass(slots=True)
class Summary:
    """A summary, or why there is none, with all answers of the model: they count as the agent's usage."""

    text: str | None = None
    why: str = ""
    answers: list[AIMessage] = field(default_factory=list)


class SummaryRequest(ModelRequest):
    """A request whose answer does not appear on the `messages` stream of the agent."""

    def _config(self, config: RunnableConfig) -> RunnableConfig:
        # Merged at once: LangChain completes each part from the run's own config, whose metadata would win.
        own: RunnableConfig = {"tags": [TAG_NOSTREAM], "run_name": "summary"}
        return merge_configs(config, {**own, "metadata": dict(self.metadata)} if self.metadata else own)


def summarise(
    model: BaseChatModel,
    prompt: str,
    parts: Sequence[str],
    earlier: str,
    *,
    max_request: int,
    max_summary: int,
    metadata: Mapping[str, Any] | None = None,
) -> Steps[Summary]:
    """Let the model summarise the parts of a conversation, after a summary of what was earlier.

    Parts that do not fit into one request of `max_request` tokens are summarised in several, each with the summary so
    far. A request that is refused as too long is tried with half of its part, twice at most. Failures are returned in
    `why`. `metadata`: of each request, for callbacks and streams.
    """
    summary, so_far, done = Summary(), earlier, 0
    instructions = f"{prompt}\n{_MAX_WORDS.format(max(int(max_summary * _WORDS_PER_TOKEN), 30))}"
    max_request = max(max_request, _MIN_PART)
    refusals = 0
    for _ in range(_MAX_REQUESTS):
        overhead = tokens.count_text(instructions) + tokens.count_text(so_far)
        count, text = _first_parts(parts[done:], max(max_request - overhead, _MIN_PART))
        sections = [instructions, *([_EARLIER.format(so_far)] if so_far else []), _PART.format(text)]
        request = SummaryRequest(model, [HumanMessage("\n\n".join(sections))], metadata=metadata or {})
        try:
            answer: AIMessage = yield from request_with_retry(request, summary.answers)
        except ContextOverflowError as error:
            refusals += 1
            if max_request <= 2 * _MIN_PART or refusals > _MAX_REFUSALS:
                summary.why = f"not even a small part fitted: {error}"
                return summary
            max_request = (overhead + tokens.count_text(text)) // 2
            continue
        except GraphBubbleUp:
            raise
        except Exception as error:
            if isinstance(error, KimiError) and error.message is not None:
                summary.answers.append(error.message)
            summary.why = f"{type(error).__name__}: {error}"
            return summary
        summary.answers.append(answer)
        so_far = answer.text.strip()
        if why := _why_unusable(answer):
            summary.why = why
            return summary
        done += count
        if done >= len(parts):
            summary.text = cut_to_tokens(so_far, max_summary)
            return summary
    summary.why = f"it would need more than {_MAX_REQUESTS} requests"
    return summary


def removed_parts(draft: Draft, max_result: int) -> tuple[list[str], str]:
    """The removed exchanges as texts, and the texts of earlier summaries among them.

    `max_result`: the tokens beyond which a result, or any other text that is not the user's, is cut.
    """
    exchanges = [group for group in draft.removed if group.kind != "summary"]
    parts = [exchange_text([draft.messages[index] for index in group.indexes], max_result) for group in exchanges]
    summaries = [summary_fields(message) for message in draft.removed_messages() if is_summary(message)]
    return parts, "\n\n".join(str(fields["text"]) for fields in summaries if fields.get("text"))


def exchange_text(messages: Iterable[BaseMessage], max_tokens: int) -> str:
    """Messages as text. A text is cut to `max_tokens`, the user's to four times as many.

    Further lines of an entry are indented, so that a result cannot imitate the user's words.
    """
    lines: list[str] = []
    for message in messages:
        text = message_text(message).strip()
        if isinstance(message, AIMessage):
            if reasoning := (reasoning_text(message) or "").strip():
                lines.append(f"Assistant, thinking: {cut_to_tokens(reasoning, max_tokens)}")
            if text:
                lines.append(f"Assistant: {cut_to_tokens(text, max_tokens)}")
            lines += [
                f"Assistant calls {call['name']}: {cut_to_tokens(call['arguments'], max_tokens)}"
                for call in raw_calls(message)
            ]
        elif isinstance(message, ToolMessage):
            name = plain_name(message.name or message.tool_call_id)
            lines.append(f"Result of {name}: {cut_to_tokens(text, max_tokens)}")
        else:
            lines.append(f"User: {cut_to_tokens(text, 4 * max_tokens)}")
    return "\n".join(map(indented, lines))


def summary_message(draft: Draft, summary: Summary, max_tokens: int, *, archived: bool) -> HumanMessage:
    """The message that replaces the removed ones: the summary, or a note that there is none, with the user's task."""
    removed = draft.removed_messages()
    earlier = [summary_fields(message) for message in removed if is_summary(message)]
    users = [message for message in removed if is_user_message(message)]
    task = next((str(fields["task"]) for fields in earlier if fields.get("task")), "")
    if not task and users:
        task = cut_to_tokens(users[0].text, max_tokens // 6)
    if summary.text is None:
        texts = [str(fields["text"]) for fields in earlier if fields.get("text")]
        text = "\n\n".join([*texts, _NO_SUMMARY.format(draft.exchanges)])
    else:
        text = summary.text
    text = cut_to_tokens(text, max_tokens * 2 // 3)
    sections = [_NOTE_ON if summary.text is None else _SUMMARY_OF, *([_TASK.format(task)] if task else []), text]
    if archived:
        sections.append(_RECALL)
    fields = {
        "task": task,
        "text": text,
        "turns": sum(int(one.get("turns", 0)) for one in earlier) + len(users),
        "exchanges": sum(int(one.get("exchanges", 0)) for one in earlier) + draft.exchanges,
    }
    kwargs: dict[str, Any] = {SUMMARY: fields, OUTDATED_USAGE: draft.outdated_usage}
    with_tools = next((message for message in removed if VISIBLE_TOOLS in message.additional_kwargs), None)
    if with_tools is not None:  # the tools of the first request stay those that requests declare
        kwargs[VISIBLE_TOOLS] = with_tools.additional_kwargs[VISIBLE_TOOLS]
    return HumanMessage("\n\n".join(sections), id=removed[0].id, additional_kwargs=kwargs)


def _why_unusable(answer: AIMessage) -> str:
    """Why an answer is not a summary; empty where it is one."""
    if not answer.text.strip():
        return "the summary was empty"
    finish = answer.response_metadata.get("finish_reason")
    if finish == CONTENT_FILTER:
        return "the summary was withheld by moderation"
    return "the summary was cut at the output cap" if finish in LENGTH else ""


def _first_parts(parts: Sequence[str], max_tokens: int) -> tuple[int, str]:
    """How many of the first parts fit, at least one, and their text."""
    total, count = 0, 0
    for part in parts:
        total += tokens.count_text(part) + 1
        if count and total > max_tokens:
            break
        count += 1
    return count, cut_to_tokens("\n\n".join(parts[:count]), max_tokens)
