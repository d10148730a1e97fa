"""JSON mode, text mode and schemas through `with_structured_output` and `bind`; cache and safety fields."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from langchain_kimi.errors import IllegalRequestError, StructuredOutputError
from langchain_kimi.testing import said, thought
from tests.conftest import Serve, kimi


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


OSLO = '{"name": "Oslo", "inhabitants": 717710}'


async def test_json_mode_gives_a_validated_object(serve: Serve) -> None:
    server = serve([thought("Oslo.").saying(OSLO), said(OSLO), said(OSLO)])
    model = kimi(server).with_structured_output(City, method="json_mode")
    oslo = City(name="Oslo", inhabitants=717710)
    assert model.invoke("The largest city of Norway, as JSON?") == await model.ainvoke("As JSON?") == oslo
    assert server.requests[0].json["response_format"] == {"type": "json_object"}
    raw = kimi(server).with_structured_output(City, method="json_mode", include_raw=True).invoke("As JSON?")
    assert (raw["parsed"], raw["parsing_error"], raw["raw"].text) == (oslo, None, OSLO)


def test_json_mode_without_json_raises_with_the_text(serve: Serve) -> None:
    with pytest.raises(StructuredOutputError, match="no JSON object") as caught:
        kimi(serve([said("Oslo!")] * 2)).with_structured_output(City, method="json_mode").invoke("As JSON?")
    assert caught.value.llm_output == "Oslo!"


FORMATS = [
    ({"type": "text"}, {"type": "text"}),
    ({"type": "json_object"}, {"type": "json_object"}),
]


@pytest.mark.parametrize(("given", "sent"), FORMATS)
async def test_a_bound_format_goes_out_as_it_is(serve: Serve, given: Any, sent: Any) -> None:
    server = serve([said(OSLO), said(OSLO)])
    model = kimi(server).bind(response_format=given)
    assert model.invoke("As JSON?").text == (await model.ainvoke("As JSON?")).text == OSLO
    assert [request.json["response_format"] for request in server.requests] == [sent, sent]


@pytest.mark.parametrize("given", [City, City.model_json_schema()])
def test_a_class_or_a_schema_asks_for_its_json(serve: Serve, given: Any) -> None:
    server = serve([said(OSLO)])
    assert kimi(server).bind(response_format=given).invoke("The largest city of Norway?").text == OSLO
    sent = server.requests[0].json["response_format"]
    assert (sent["type"], sent["json_schema"]["name"], sent["json_schema"]["strict"]) == ("json_schema", "City", True)
    assert sent["json_schema"]["schema"]["required"] == ["name", "inhabitants"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("json", "has no known form"),
        (["json_object"], "has no known form"),
        ({"type": "xml"}, "text, json_object or json_schema"),
        ({"type": "json_schema"}, "json_schema is required"),
    ],
)
async def test_another_format_is_refused_here(serve: Serve, given: Any, words: str) -> None:
    server = serve([])
    with pytest.raises(IllegalRequestError, match=words):
        kimi(server).invoke("As JSON?", response_format=given)
    with pytest.raises(IllegalRequestError, match=words):
        await kimi(server).ainvoke("As JSON?", response_format=given)
    assert server.requests == []


def test_cache_and_safety_fields_go_out_and_tell_cached_answers_apart(serve: Serve) -> None:
    server = serve([said("Hello."), said("Hello.")])
    fields: dict[str, Any] = {
        "prompt_cache_key": "s1",
        "prompt_cache_options": {"mode": "implicit", "ttl": "1h"},
        "safety_identifier": "5f4d",
    }
    model = kimi(server, "kimi-k3", **fields)
    model.invoke("Hello.")
    assert {name: server.requests[0].json[name] for name in fields} == fields
    kimi(server, "kimi-k3").bind(**fields).invoke("Hello.")
    assert {name: server.requests[1].json[name] for name in fields} == fields
    plain = kimi(server, "kimi-k3")
    for name, value in fields.items():
        assert dict(model._identifying_params)[name] == value
        assert kimi(server, "kimi-k3", **{name: value})._identifying_params != plain._identifying_params


@pytest.mark.parametrize("options", [{"ttl": "2h"}, {"mode": "explicit"}, "1h"])
def test_cache_options_that_kimi_does_not_know_are_refused(serve: Serve, options: Any) -> None:
    with pytest.raises(ValidationError, match="prompt_cache_options"):
        kimi(serve([]), prompt_cache_options=options)
