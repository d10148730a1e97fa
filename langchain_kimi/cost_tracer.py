"""`CostTracer`, LangSmith's tracer with the cost of each answer."""

from typing import Any
from uuid import UUID

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.tracers.langchain import LangChainTracer
from langchain_core.tracers.schemas import Run

from langchain_kimi.usage import is_from_cache, token_costs
from langchain_kimi.usage_meter import FEE


class CostTracer(LangChainTracer):
    """LangChain's tracer for LangSmith, which also reports what each answer of a Kimi model cost:
    `config={"callbacks": [CostTracer()]}`.

    Its parameters are those of `LangChainTracer`, which it replaces in the runs below it. Costs are in US dollars at
    list price, in the fields of `usage_metadata` from which LangSmith sums them: `input_cost`, `output_cost`,
    `total_cost` and their details. They are added to what is sent only: the message of your program stays as it is,
    because LangChain cannot add up usage with fractions. Answers of models without a known price have none. An answer
    that broke off or was cut short has the usage and the costs that its error carries. The runs of tools for which Kimi
    takes a fee, such as web searches, have it as their `total_cost`.
    """

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> Run:
        """A model responded."""
        return super().on_llm_end(_with_costs(response, self._requested_model(run_id)), run_id=run_id, **kwargs)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> Run:
        """A request failed, maybe after a part of its answer had arrived."""
        run, answer = self.run_map.get(str(run_id)), getattr(error, "message", None)
        if run is not None and isinstance(answer, AIMessage) and answer.usage_metadata:
            usage: Any = {**answer.usage_metadata, **_cost_fields(answer, self._requested_model(run_id))}
            run.set(usage_metadata=usage)
        return super().on_llm_error(error, run_id=run_id, **kwargs)

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool that Kimi runs reports its fee."""
        run = self.run_map.get(str(run_id))
        if name == FEE and run is not None and data["usd"] is not None:
            run.set(usage_metadata={"total_cost": data["usd"]})

    def _requested_model(self, run_id: UUID) -> str:
        run = self.run_map.get(str(run_id))
        return str(run.metadata.get("ls_model_name")) if run else ""


def _with_costs(response: LLMResult, requested_model: str) -> LLMResult:
    """The response with the costs of its answer, if it has one answer of a known price."""
    match response.generations:
        case [[ChatGeneration(message=AIMessage() as answer) as generation]] if not is_from_cache(answer):
            costs = _cost_fields(answer, requested_model)
        case _:
            return response
    if not costs:
        return response
    priced = answer.model_copy(update={"usage_metadata": {**(answer.usage_metadata or {}), **costs}})
    return response.model_copy(update={"generations": [[generation.model_copy(update={"message": priced})]]})


def _cost_fields(answer: AIMessage, requested_model: str) -> dict[str, Any]:
    """The costs of an answer in the fields of LangSmith's usage metadata; empty where they are unknown."""
    costs = token_costs(answer.usage_metadata, str(answer.response_metadata.get("model_name") or requested_model))
    if costs is None:
        return {}
    fields: dict[str, Any] = {
        "input_cost": costs.uncached + costs.cached + costs.cache_writes,
        "output_cost": costs.output,
        "total_cost": costs.total,
        "input_cost_details": {"cache_read": costs.cached},
        "output_cost_details": {"reasoning": costs.reasoning},
    }
    if costs.cache_writes:
        fields["input_cost_details"]["cache_creation"] = costs.cache_writes
    return fields
