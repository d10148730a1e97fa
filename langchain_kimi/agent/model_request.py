"""Requests to an agent's model, which are sent again if an answer is not complete."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import merge_configs

from langchain_kimi import tokens
from langchain_kimi._finish_reasons import ABNORMAL
from langchain_kimi._steps import Operation, Steps
from langchain_kimi.agent.measured_times import measured_times
from langchain_kimi.agent.thread_messages import is_complete, is_empty
from langchain_kimi.catalogue import find
from langchain_kimi.errors import AnswerCutShort, IncompleteAnswerError, KimiError


class ModelOperation(Operation, Protocol):
    """A request to a model, as an operation for `run_steps`."""

    @property
    def messages(self) -> Sequence[BaseMessage]:
        """What the model reads."""

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The request with these keyword arguments of the model's call."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A request to a model that is called by itself."""

    model: Runnable[Any, Any]
    messages: Sequence[BaseMessage]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the call."""
    callbacks: Sequence[BaseCallbackHandler] = ()
    """Handlers of this request, in addition to the run's."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Metadata of this request for the run's handlers and streams."""

    def run(self, config: RunnableConfig) -> Any:
        """The model's answer."""
        return self.model.invoke(self.messages, self._config(config), **self.settings)

    async def arun(self, config: RunnableConfig) -> Any:
        """The model's answer."""
        return await self.model.ainvoke(self.messages, self._config(config), **self.settings)

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """The request with these keyword arguments of the call."""
        return replace(self, settings=settings)

    def _config(self, config: RunnableConfig) -> RunnableConfig:
        if not (self.callbacks or self.metadata):
            return config
        return merge_configs(config, {"callbacks": list(self.callbacks), "metadata": dict(self.metadata)})


class CompleteAnswers:
    """Gets complete answers of one model with these tools."""

    def __init__(self, model: BaseChatModel, tools: Sequence[Any]) -> None:
        self.name = model_name(model)
        self._tools = tools
        # The second request after an answer that was cut in its thinking needs the output cap of the first.
        returns_cut = getattr(model, "on_cut_short", None) == "return"
        self._settings: dict[str, Any] = {"on_cut_short": "raise"} if returns_cut else {}
        # A request that fits only with a reduced output cap is refused as long as the thread can be made shorter.
        default_cap = hasattr(model, "max_tokens_over_window") and getattr(model, "max_tokens", None) is None
        self._full_cap: dict[str, Any] = {"max_tokens_over_window": "raise"} if default_cap else {}

    @property
    def can_reduce_cap(self) -> bool:
        """Whether a request that was refused as too long may fit with a smaller output cap."""
        return bool(self._full_cap)

    def steps(
        self, request: ModelOperation, billed: list[AIMessage], *, full_cap: bool, retry_empty: bool
    ) -> Steps[AIMessage]:
        """The answer. Those of failed attempts are added to `billed`.

        The request is sent once more if the answer broke off, if it used up its output cap by thinking (with twice the
        cap), or, with `retry_empty`, if it has neither text nor calls. With `full_cap`, a request that leaves less
        space than the output cap is refused. Raises IncompleteAnswerError if the host gave up on the answer.

        The answer holds when the first request began and how long all of them took.
        """
        started, start = time.time(), time.perf_counter()
        answer = yield from self._complete(request, billed, full_cap=full_cap, retry_empty=retry_empty)
        times = measured_times(started, time.perf_counter() - start)
        return answer.model_copy(update={"additional_kwargs": {**answer.additional_kwargs, **times}})

    def _complete(
        self, request: ModelOperation, billed: list[AIMessage], *, full_cap: bool, retry_empty: bool
    ) -> Steps[AIMessage]:
        request = request.with_settings({**self._settings, **(self._full_cap if full_cap else {})})
        try:
            answer = yield from self._with_larger_cap(request, billed)
            if retry_empty and is_empty(answer) and is_complete(answer):
                billed.append(answer)
                answer = yield from self._with_larger_cap(request, billed)
        except IncompleteAnswerError as error:
            if error.finish_reason in ABNORMAL:
                raise
            answer = error.message  # its calls do not run
        return answer

    def _with_larger_cap(self, request: ModelOperation, billed: list[AIMessage]) -> Steps[AIMessage]:
        """The answer, from a second request with a larger output cap if the first used up its cap by thinking."""
        answer: AIMessage
        try:
            answer = yield from request_with_retry(request, billed)
            return answer
        except AnswerCutShort as cut:
            billed.append(cut.message)
            settings = {**self._settings, **self._larger_cap(cut, request.messages)}
        try:
            answer = yield from request_with_retry(request.with_settings(settings), billed)
        except AnswerCutShort as cut:
            answer = cut.message
        return answer

    def _larger_cap(self, cut: AnswerCutShort, messages: Sequence[BaseMessage]) -> dict[str, int]:
        """Twice the output cap of the answer that was cut in its thinking, at most what the window allows, and never
        less than before. Empty if the cap is not known.
        """
        usage, row = cut.message.usage_metadata, find(self.name)
        cap = max(cut.max_tokens or 0, usage["output_tokens"] if usage else 0)
        if not cap:
            return {}
        larger = 2 * cap
        if row is not None:
            prompt = usage["input_tokens"] if usage else tokens.count(messages, self._tools) * 11 // 10
            larger = min(larger, row.output_limit, row.context - prompt)
        return {"max_tokens": max(larger, cap)}


def model_name(model: BaseChatModel) -> str:
    """The model's id, `unknown` if it has none."""
    return str(getattr(model, "model", None) or getattr(model, "model_name", None) or "unknown")


def request_with_retry(request: Operation, billed: list[AIMessage]) -> Steps[Any]:
    """The answer to a request, which is sent once more if the first answer broke off. That answer is added to `billed`.

    Raises IncompleteAnswerError for an answer that is not complete, whichever model gave it.
    """
    try:
        return _checked((yield request))
    except KimiError as error:
        if not error.broke_off:
            raise
        billed.append(error.message or AIMessage(""))
    return _checked((yield request))


def _checked(answer: Any) -> Any:
    reason = answer.response_metadata.get("finish_reason") if isinstance(answer, AIMessage) else None
    if reason in ABNORMAL:
        name = str(answer.response_metadata.get("model_name") or "The model")
        raise IncompleteAnswerError.of(str(reason), answer, name)
    return answer
