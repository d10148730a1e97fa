"""Retirements: a warning before, an error after, and what a 404 for a model says. Only today's date is replaced."""

import warnings
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from langchain_kimi import ChatKimi, KimiWarning, catalogue
from langchain_kimi._api_keys import HOSTS
from langchain_kimi.catalogue import MODELS, Model, Retirement, find
from langchain_kimi.chat_model import reports
from langchain_kimi.errors import NotFoundError
from langchain_kimi.testing import refused, said
from tests.clock import VirtualClock, with_clock
from tests.conftest import KEY, SYNC_AND_ASYNC, Serve, kimi

DAY = date(2027, 3, 31)
OFFICIAL = Model(
    id="kimi-announced",
    context=262_144,
    default_output=32_768,
    family="k2",
    thinking="always",
    seen=("test",),
    retirement=Retirement(DAY, source="Kimi's announcement of a test"),
)


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "_OF_PROCESS", reports.Reports())
    monkeypatch.setitem(catalogue._BY_ID, OFFICIAL.id, OFFICIAL)


@pytest.fixture
def platform(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that passes for Kimi's own platform."""
    server = serve(lambda request: said("ok"), models=[OFFICIAL.id])
    monkeypatch.setitem(HOSTS, "intl", server.url)
    return server.url


def model_on(day: date, url: str, model: str = OFFICIAL.id) -> ChatKimi:
    return with_clock(ChatKimi(model=model, base_url=url, api_key=KEY, max_retries=0), VirtualClock(day=day))


async def ask(model: ChatKimi, way: str) -> str:
    return (model.invoke("hi") if way == "sync" else await model.ainvoke("hi")).text


@SYNC_AND_ASYNC
async def test_a_model_within_60_days_of_its_retirement_warns_once_in_a_process(platform: str, way: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await ask(model_on(date(2027, 1, 29), platform), way) == "ok"  # 61 days before
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):  # two objects, and two calls of each
            model = model_on(date(2027, 1, 30), platform)
            assert [await ask(model, way), await ask(model, way)] == ["ok", "ok"]
    assert [str(warning.message) for warning in caught] == [
        "Kimi's platform retires kimi-announced on 2027-03-31 (Kimi's announcement of a test); its successor is "
        "'kimi-k3'. `langchain-kimi migrate --to kimi-k3 PATH` compares your recordings and logs."
    ]
    assert caught[0].filename == __file__


@SYNC_AND_ASYNC
async def test_after_its_official_day_nothing_is_sent(platform: str, way: str) -> None:
    model = model_on(DAY, platform)
    with pytest.raises(NotFoundError, match=r"retired kimi-announced on 2027-03-31; its successor is 'kimi-k3'\. Noth"):
        await ask(model, way)


async def test_after_a_day_that_is_only_reported_the_platform_is_asked(platform: str) -> None:
    with pytest.warns(KimiWarning, match="which Kimi's own pages do not confirm"):
        assert await ask(model_on(date(2027, 2, 1), platform, "kimi-k2.6"), "sync") == "ok"


async def test_other_hosts_are_asked_without_a_warning(serve: Serve) -> None:
    server = serve(lambda request: said("ok"), models=[OFFICIAL.id])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (OFFICIAL.id, "kimi-k2.6"):
            assert await ask(model_on(date(2027, 4, 1), server.url, model), "sync") == "ok"


LISTS = "`langchain-kimi doctor` lists the models of your account."
MAY_BE = "It may be retired, misspelt, or not open to this account."


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("another-model", f"{MAY_BE} {LISTS}"),
        ("kimi-k3.2", f"{MAY_BE} Did you mean 'kimi-k3'? {LISTS}"),
        (
            "kimi-k2-thinking",
            f"Kimi's platform retired kimi-k2-thinking on 2026-05-25; its successor is 'kimi-k3'. {LISTS}",
        ),
        (
            "kimi-k2.6",
            f"{MAY_BE} kimi-k2.6 is reported to be retired on Kimi's platform on 2026-12-31, which Kimi's own pages do "
            "not confirm (dev.to/aihubmix, November 2026); its successor is 'kimi-k3'. Accounts registered since "
            f"2026-10-31 are reported not to have it. {LISTS}",
        ),
        (
            "kimi-k3",
            f"{MAY_BE} The K3 family is open to accounts that were topped up; vouchers do not count. {LISTS}",
        ),
    ],
)
def test_a_404_says_what_it_may_mean_and_how_to_list_models(serve: Serve, model: str, words: str) -> None:
    text = f"Not found the model {model} or Permission denied"
    server = serve([refused(404, "resource_not_found_error", text)], models=[model])
    with pytest.raises(NotFoundError) as caught:
        kimi(server, model).invoke("hi")
    assert str(caught.value).endswith(f"{text}. {words}")
    assert len(server.requests) == 1  # nothing is fetched behind the user's back
    assert server.calls == []


def test_every_retirement_has_a_source_and_a_successor_that_is_current() -> None:
    for row in MODELS:
        if row.retirement:
            successor: Any = find(row.retirement.successor)
            assert row.retirement.source
            assert successor is not None
            assert successor.retirement is None
