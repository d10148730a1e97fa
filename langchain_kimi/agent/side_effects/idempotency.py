"""A key for each tool call, which stays the same when a crashed run is resumed."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg
from langchain_core.utils.pydantic import get_fields

from langchain_kimi._surrogates import replaced


class InjectedIdempotencyKey(InjectedToolArg):
    """Annotates the parameter of a tool that receives the idempotency key of the call.

        def pay(amount: int, key: Annotated[str, InjectedIdempotencyKey]) -> str: ...

    The model does not see the parameter. See `idempotency_key` for the key.
    """


@dataclass(frozen=True, slots=True)
class CallIdentity:
    """What tells one tool call from all others, and stays the same over crashes."""

    thread: str
    namespace: str
    """The checkpoint namespace of the agent, which is empty unless it runs inside another graph."""
    message: str
    """The id of the message with the call."""
    call: ToolCall
    """The call as it runs."""

    @property
    def key(self) -> str:
        """The idempotency key."""
        call = self.call
        parts = [self.thread, self.namespace, self.message, call["id"], call["name"], call["args"]]
        return str(uuid5(NAMESPACE_OID, replaced(json.dumps(parts, ensure_ascii=False, sort_keys=True, default=repr))))


_running: ContextVar[CallIdentity | None] = ContextVar("kimi_running_call", default=None)


def idempotency_key() -> str:
    """The idempotency key of the tool call that is running, for a tool or any code that it calls.

    It is a UUID as text: the same when the call runs again after a crash, and another one for another call, other
    arguments, another thread, and the same call id in another message. Without a thread, it holds for one run.

    Raises RuntimeError outside of a tool call of an agent of this package.
    """
    identity = _running.get()
    if identity is None:
        raise RuntimeError("idempotency_key() was called outside of a tool call of a Kimi agent or team.")
    return identity.key


def identity_of(call: ToolCall, message: str, config: RunnableConfig, run_id: str) -> CallIdentity:
    """The identity of a call from the config of the node that runs it. `run_id` stands in for a missing thread."""
    configurable = config.get("configurable", {})
    namespace = str(configurable.get("checkpoint_ns", "")).rpartition("|")[0]
    return CallIdentity(str(configurable.get("thread_id") or run_id), namespace, message, call)


@contextmanager
def running(identity: CallIdentity) -> Iterator[None]:
    """A block in which the call runs, and `idempotency_key` returns its key."""
    token = _running.set(identity)
    try:
        yield
    finally:
        _running.reset(token)


def with_injected_key(tool: BaseTool) -> BaseTool:
    """The tool, or a copy that fills the parameters annotated with InjectedIdempotencyKey."""
    schema: Any = tool.args_schema
    fields = {} if schema is None or isinstance(schema, dict) else get_fields(schema)
    names = [name for name, field in fields.items() if any(map(_is_key, getattr(field, "metadata", ())))]
    if not names:
        return tool
    kind: Any = type(tool)

    class Keyed(kind):  # type: ignore[misc]
        def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return super().invoke(_with_key(input, names), config, **kwargs)

        async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
            return await super().ainvoke(_with_key(input, names), config, **kwargs)

    copy = tool.model_copy()
    copy.__class__ = Keyed  # ToolNode takes injected arguments out of a call, so that no model can forge them
    return copy


def _with_key(tool_input: Any, names: Sequence[str]) -> Any:
    """The input of a tool, a tool call or its arguments alone, with the key."""
    keys = dict.fromkeys(names, idempotency_key())
    if tool_input.get("type") == "tool_call":
        return {**tool_input, "args": {**tool_input["args"], **keys}}
    return {**tool_input, **keys}


def _is_key(annotation: Any) -> bool:
    return annotation is InjectedIdempotencyKey or isinstance(annotation, InjectedIdempotencyKey)
