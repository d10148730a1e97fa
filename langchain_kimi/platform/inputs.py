"""What LangChain's models take, as messages."""

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue


def messages_of(given: LanguageModelInput) -> list[BaseMessage]:
    """Messages out of a prompt, a text, or messages in any form."""
    if isinstance(given, PromptValue):
        return given.to_messages()
    return convert_to_messages([given] if isinstance(given, str) else given)
