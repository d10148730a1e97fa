"""`UsageMeter`, a callback handler that sums the usage of many responses."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import LLMResult

from langchain_kimi._cache_breaks import AnsweredRequest, CacheBreak, CacheBreaks, Identity, PromptFingerprint
from langchain_kimi._clock import CLOCK
from langchain_kimi.usage import Usage, answers_by_prompt, is_from_cache

FEE = "kimi_fee"
"""The custom event with which a tool that Kimi runs reports its fee: `{"tool": uri, "usd": fee or None}`."""

_MAX_CACHE_BREAKS = 1_000

_Key = TypeVar("_Key")


class RunKey(NamedTuple):
    """What a sum belongs to: the id of the outermost run and, inside a graph, the names of the agent and the node."""

    root: UUID
    agent: str | None = None
    node: str | None = None


class _OpenRequest(NamedTuple):
    """A request without a response yet."""

    run: RunKey
    model: str
    prompt: PromptFingerprint | None = None
    identity: Identity = ()
    sent: float = 0.0


class UsageMeter(BaseCallbackHandler):
    """A callback handler that sums the usage of all models below it: `config={"callbacks": [meter]}`.

    It counts the responses to agents, sub-agents, retries and internal calls, and the fees of tools that Kimi runs, in
    synchronous and asynchronous runs. Threads may share one meter. Of a response that broke off, the prompt counts as
    Kimi's headers report it and the output as estimated from what arrived; without these headers its cost is unknown.
    A refused request and an answer from LangChain's cache do not count. Each outermost run adds entries to `by_run` for
    the lifetime of the meter.
    """

    run_inline = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._roots: dict[UUID, UUID] = {}
        self._open_requests: dict[UUID, _OpenRequest] = {}
        self._by_run: dict[tuple[RunKey, str], Usage] = {}
        self._conversations = CacheBreaks(lambda: self._clock.now())
        self._clock = CLOCK
        self._responses = 0
        self._cache_breaks: deque[CacheBreak] = deque(maxlen=_MAX_CACHE_BREAKS)

    def __repr__(self) -> str:
        return f"UsageMeter({self.total})"

    @property
    def total(self) -> Usage:
        """The sum of everything."""
        return sum(self._sums(lambda run, model: None).values(), Usage())

    @property
    def by_model(self) -> dict[str, Usage]:
        """The sums per model id, as the answers name it; fees stand under the tool's name."""
        return self._sums(lambda run, model: model)

    @property
    def by_agent(self) -> dict[str | None, Usage]:
        """The sums per agent, by its name; None stands for requests outside of agents."""
        return self._sums(lambda run, model: run.agent)

    @property
    def by_agent_and_model(self) -> dict[tuple[str | None, str], Usage]:
        """The sums per agent and model id."""
        return self._sums(lambda run, model: (run.agent, model))

    @property
    def by_run(self) -> dict[RunKey, Usage]:
        """The sums per outermost run, agent and node."""
        return self._sums(lambda run, model: run)

    @property
    def cache_breaks(self) -> list[CacheBreak]:
        """The last 1,000 requests that found less in the prefix cache than the request before them had put there.

        Each has the reasons, and the tokens and money that it took again. The meter keeps hashes of the last requests
        of 256 conversations for this; messages that come back with other content, as after a compaction, count, a
        conversation that only begins like another does not.
        """
        with self._lock:
            return list(self._cache_breaks)

    def _sums(self, key: Callable[[RunKey, str], _Key]) -> dict[_Key, Usage]:
        with self._lock:
            parts = list(self._by_run.items())
        sums: dict[_Key, Usage] = {}
        for (run, model), spent in parts:
            own = key(run, model)
            sums[own] = sums.get(own, Usage()) + spent
        return sums

    # LangChain's callbacks.

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A run began, maybe inside another."""
        self._begin(run_id, kwargs.get("parent_run_id"))

    def on_tool_start(self, serialized: Any, input_str: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool began; a model in it belongs to the run that the tool is in."""
        self._begin(run_id, kwargs.get("parent_run_id"))

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A request to a model begins."""
        root, metadata = self._begin(run_id, kwargs.get("parent_run_id")), kwargs.get("metadata") or {}
        run = RunKey(root, metadata.get("lc_agent_name"), metadata.get("langgraph_node"))
        settings = kwargs.get("invocation_params") or {}
        prompt = PromptFingerprint.of(messages[0], settings) if len(messages) == 1 else None
        model, thread = str(metadata.get("ls_model_name") or "unknown"), metadata.get("thread_id")
        with self._lock:
            request = _OpenRequest(run, model, prompt, (thread, run.agent), self._clock.now())
            self._open_requests[run_id] = request

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model responded."""
        self._count(run_id, _billed_answers(response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A request failed: the answer that the error carries counts, else what had arrived.

        A response that broke off before any usage arrived counts as a request of unknown cost.
        """
        carried = getattr(error, "message", None)
        arrived = [carried] if isinstance(carried, AIMessage) else _billed_answers(kwargs.get("response"))
        unknown = [AIMessage("")] if getattr(error, "broke_off", False) else []
        self._count(run_id, arrived or unknown)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A run ended."""
        self._end(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A run failed."""
        self._end(run_id)

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool that Kimi runs reports its fee."""
        if name == FEE:
            metadata = kwargs.get("metadata") or {}
            with self._lock:
                root = self._roots.get(run_id, run_id)
                run = RunKey(root, metadata.get("lc_agent_name"), metadata.get("langgraph_node"))
                tool = str(data["tool"])
                self._by_run[run, tool] = self._by_run.get((run, tool), Usage()) + Usage.of_fee(data["usd"])

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool ended."""
        self._end(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed."""
        self._end(run_id)

    def _begin(self, run_id: UUID, parent: UUID | None) -> UUID:
        """The outermost run that this one is in, as far as the meter knows."""
        with self._lock:
            root = run_id if parent is None else self._roots.get(parent, parent)
            self._roots[run_id] = root
        return root

    def _end(self, run_id: UUID) -> None:
        with self._lock:
            self._roots.pop(run_id, None)

    def _count(self, run_id: UUID, answers: list[AIMessage]) -> None:
        self._end(run_id)
        with self._lock:
            request = self._open_requests.pop(run_id, _OpenRequest(RunKey(run_id), "unknown"))
            for answer in answers:
                self._responses += 1
                model = str(answer.response_metadata.get("model_name") or request.model)
                spent = Usage.of_answer(answer, request.model)
                own = request.run, model
                self._by_run[own] = self._by_run.get(own, Usage()) + spent
                self._find_break(request, answer, model)

    def _find_break(self, request: _OpenRequest, answer: AIMessage, model: str) -> None:
        prompt, usage = request.prompt, answer.usage_metadata
        if prompt is None or usage is None:
            return
        answered = AnsweredRequest(
            self._responses, request.run.agent, model, prompt, request.identity, usage, request.sent
        )
        if (lost := self._conversations.answered(answered)) is not None:
            self._cache_breaks.append(lost)


def _billed_answers(result: LLMResult | None) -> list[AIMessage]:
    """The answers with usage of their own: all answers to one prompt share the usage of one request."""
    firsts = [answer for answers in answers_by_prompt(result) for answer in answers[:1]]
    return [answer for answer in firsts if not is_from_cache(answer)]
