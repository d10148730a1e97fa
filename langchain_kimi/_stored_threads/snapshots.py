"""Full copies of the messages of a checkpoint, which take the place of its ancestors."""

from typing import Any

from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from langchain_kimi._stored_threads.retention import MESSAGES, StoredCheckpoint
from langchain_kimi.agent.state import add_kimi_messages


class ExactSerializer:
    """A checkpointer's serializer that notices values which it would not write as they were read.

    These are values of classes that this process does not have. Rewriting them would lose them.
    """

    def __init__(self, serializer: Any) -> None:
        self._serializer = serializer
        self.is_exact = True

    def dumps_typed(self, value: Any) -> tuple[str, bytes]:
        """The type and the bytes of a value."""
        return self._serializer.dumps_typed(value)  # type: ignore[no-any-return]

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """The value of a type and bytes."""
        value = self._serializer.loads_typed(data)
        written = self.dumps_typed(value)
        self.is_exact = self.is_exact and (written[0], bytes(written[1])) == (data[0], bytes(data[1]))
        return value


def messages_snapshot(saver: BaseCheckpointSaver[Any], thread_id: str, checkpoint: StoredCheckpoint) -> Any:
    """The messages of a checkpoint as a value that the checkpointer stores; None if they cannot be copied exactly."""
    exact = ExactSerializer(saver.serde)
    original, saver.serde = saver.serde, exact
    try:
        config: Any = {
            "configurable": {
                "thread_id": thread_id,
                "checkpoint_ns": checkpoint.namespace,
                "checkpoint_id": checkpoint.checkpoint_id,
            }
        }
        history = saver.get_delta_channel_history(config=config, channels=[MESSAGES])[MESSAGES]
    finally:
        saver.serde = original
    channel: DeltaChannel[Any] = DeltaChannel(add_kimi_messages).from_checkpoint(history.get("seed", _NO_MESSAGES))
    channel.replay_writes(history["writes"])
    return _DeltaSnapshot(channel.get()) if exact.is_exact else None


_NO_MESSAGES: list[Any] = []
