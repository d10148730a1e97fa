"""langchain-tests' standard suites with thinking on, against a KimiServer that is played by one reply function."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, cast

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from langchain_kimi import ChatKimi
from langchain_kimi.testing import KimiServer
from tests.chat_model.standard.replies import reply

WORDS_INSTEAD = (
    "Kimi takes no forced tool_choice while it thinks: 'any' becomes 'auto' with a warning, and under 'auto' a model "
    "may answer in words"
)


NOT_FORCED = "the test binds tools without forcing a call, and this model talks wherever it may"


class TestUnit(ChatModelUnitTests):
    """The suite that sends nothing."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatKimi

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "kimi-k2.6", "api_key": "sk-standard"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        url = "https://kimi.example/v1"
        environment = {"MOONSHOT_API_KEY": "sk-from-env", "MOONSHOT_BASE_URL": url}
        return environment, {"model": "kimi-k2.6"}, {"api_key": "sk-from-env", "base_url": url}


class Integration(ChatModelIntegrationTests):
    """The suite over HTTP, for one model."""

    name = "kimi-k2.6"
    calls_on_auto = True
    url = ""

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Iterator[KimiServer]:
        with KimiServer(partial(reply, calls_on_auto=cls.calls_on_auto)) as server:
            cls.url = server.url
            yield server

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatKimi

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": self.name, "base_url": self.url, "api_key": "sk-standard"}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_image_inputs(self) -> bool:
        return False  # the suite fetches its pictures from the internet; tests/request/test_messages.py sends one

    @property
    def model_override_value(self) -> str:
        return "kimi-k2.7-code"

    @property
    def supported_usage_metadata_details(self) -> dict[Literal["invoke", "stream"], list[Any]]:
        return {"invoke": ["reasoning_output", "cache_read_input"], "stream": ["reasoning_output", "cache_read_input"]}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._ask("Think, then answer.", stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        long = "The same long beginning. " * 200
        self._ask(long, stream)
        return self._ask(long + "And a question.", stream)

    def _ask(self, text: str, stream: bool) -> AIMessage:
        model = ChatKimi(**self.chat_model_params)
        if not stream:
            return model.invoke(text)
        chunks = list(model.stream(text))
        return cast("AIMessage", sum(chunks[1:], chunks[0]))


class TestThinking(Integration):
    """kimi-k2.6, thinking, calls tools under `auto`."""


class TestRequired(Integration):
    """kimi-k3, always thinking, takes `required`; it would talk under `auto`."""

    name = "kimi-k3"
    calls_on_auto = False

    @pytest.mark.xfail(reason=NOT_FORCED)
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)


class TestWordsUnderAuto(Integration):
    """kimi-k2.6, thinking, answers in words wherever it may: every fallback is needed."""

    calls_on_auto = False

    @pytest.mark.xfail(reason=WORDS_INSTEAD)
    def test_tool_calling(self, model: BaseChatModel) -> None:
        super().test_tool_calling(model)

    @pytest.mark.xfail(reason=WORDS_INSTEAD)
    async def test_tool_calling_async(self, model: BaseChatModel) -> None:
        await super().test_tool_calling_async(model)

    @pytest.mark.xfail(reason=WORDS_INSTEAD)
    def test_bind_runnables_as_tools(self, model: BaseChatModel) -> None:
        super().test_bind_runnables_as_tools(model)

    @pytest.mark.xfail(reason=WORDS_INSTEAD)
    def test_tool_choice(self, model: BaseChatModel) -> None:
        super().test_tool_choice(model)

    @pytest.mark.xfail(reason=WORDS_INSTEAD)
    def test_tool_calling_with_no_arguments(self, model: BaseChatModel) -> None:
        super().test_tool_calling_with_no_arguments(model)

    @pytest.mark.xfail(reason=NOT_FORCED)
    def test_agent_loop(self, model: BaseChatModel) -> None:
        super().test_agent_loop(model)

    @pytest.mark.xfail(reason=WORDS_INSTEAD)
    def test_unicode_tool_call_integration(self, model: BaseChatModel) -> None:  # type: ignore[override]
        super().test_unicode_tool_call_integration(model)
