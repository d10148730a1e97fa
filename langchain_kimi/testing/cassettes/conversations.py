"""The conversations in a recording: which request continues which earlier one."""

from dataclasses import dataclass
from typing import Any

from langchain_kimi.testing.cassettes.assistant_messages import AssistantMessage, parse_message
from langchain_kimi.testing.cassettes.matching import common_length


@dataclass(slots=True)
class RecordedTurn:
    """A chat request with its response."""

    at: int
    body: dict[str, Any]
    response: AssistantMessage

    @property
    def messages(self) -> list[Any]:
        messages = self.body.get("messages")
        return messages if isinstance(messages, list) else []

    @property
    def history(self) -> list[tuple[int, AssistantMessage]]:
        """The assistant messages with their indexes."""
        return [(at, parse_message(message)) for at, message in enumerate(self.messages) if is_assistant(message)]


def previous_turn(turn: RecordedTurn, turns: list[RecordedTurn]) -> RecordedTurn | None:
    """The turn that this one continues; None for the first turn of a conversation."""
    history = turn.history
    if not history:
        return None
    best: tuple[tuple[int, int, int], RecordedTurn] | None = None
    for earlier in turns:
        if earlier.response.error:
            continue
        common = common_length(earlier.messages, turn.messages)
        extends = common == len(earlier.messages) < len(turn.messages)
        repeated = max((at for at, message in history if earlier.response.is_repeated_by(message)), default=-1)
        if repeated < 0 and not (extends and is_assistant(turn.messages[common])):
            continue
        rank = (max(repeated, common if extends else -1), common, earlier.at)
        if best is None or rank > best[0]:
            best = rank, earlier
    return best[1] if best else None


def is_assistant(message: Any) -> bool:
    """Whether a message of a history is a whole assistant message."""
    return isinstance(message, dict) and message.get("role") == "assistant" and not message.get("partial")
