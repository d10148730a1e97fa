"""What callbacks get of a call: the names under which tracers look for the model, its settings and its finish."""

from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.outputs import LLMResult

from langchain_kimi.testing import said
from tests.conftest import FOUR_WAYS, KEY, Serve, kimi


class Recorder(BaseCallbackHandler):
    """Records the start and the end of one call."""

    run_inline = True

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.serialized, self.started = serialized, kwargs

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.response = response


async def record(model: Any, way: str) -> Recorder:
    recorder = Recorder()
    config: Any = {"callbacks": [recorder]}
    if way == "invoke":
        model.invoke("a", config)
    elif way == "stream":
        list(model.stream("a", config))
    elif way == "ainvoke":
        await model.ainvoke("a", config)
    else:
        _ = [part async for part in model.astream("a", config)]
    return recorder


@FOUR_WAYS
async def test_names_that_tracers_read(serve: Serve, way: str) -> None:
    model = kimi(serve([said("x")]), "kimi-k2.6", max_tokens=20_000, stop="END")
    recorded = await record(model, way)
    assert recorded.serialized["kwargs"]["model"] == "kimi-k2.6"
    assert recorded.serialized["kwargs"]["max_tokens"] == 20_000
    assert recorded.started["invocation_params"]["stop"] == ["END"]
    assert recorded.started["metadata"]["ls_stop"] == ["END"]
    ((generation,),) = recorded.response.generations
    assert (generation.generation_info or {})["finish_reason"] == "stop"
    assert KEY not in repr((recorded.serialized, recorded.started))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_settings_of_a_call_replace_those_of_the_model(serve: Serve, name: str) -> None:
    model = kimi(serve([said("x")]), "kimi-k2.6", max_tokens=20_000, stop="END")
    recorded = await record(model.bind(**{name: 30_000, "stop": ["STOP"]}), "invoke")
    assert recorded.started["metadata"]["ls_max_tokens"] == 30_000
    assert recorded.started["invocation_params"]["stop"] == ["STOP"]
    assert recorded.started["metadata"]["ls_stop"] == ["STOP"]


async def test_a_copy_of_a_model_is_named_by_its_own_settings(serve: Serve) -> None:
    model = kimi(serve([said("x"), said("y")]), "kimi-k2.6")
    await record(model, "invoke")
    recorded = await record(model.model_copy(update={"model": "kimi-k3"}), "invoke")
    assert recorded.serialized["kwargs"]["model"] == "kimi-k3"


async def test_a_whole_response_names_its_model_and_id(serve: Serve) -> None:
    recorded = await record(kimi(serve([said("x")])), "invoke")
    ((generation,),) = recorded.response.generations
    metadata = generation.message.response_metadata  # type: ignore[union-attr]
    assert recorded.response.llm_output == {"model_name": "kimi-k2.6", "id": metadata["id"]}


def test_langchains_cache_tells_models_with_other_stops_apart(serve: Serve) -> None:
    server, cache = serve([said("one"), said("two")]), InMemoryCache()
    texts = [kimi(server, cache=cache, stop=[stop]).invoke("a").text for stop in ("A", "B", "A")]
    assert texts == ["one", "two", "one"]
