"""Converts the inputs of LangChain's models to messages."""

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue


def messages_of(prompt: LanguageModelInput) -> list[BaseMessage]:
    """The messages of a prompt value, a text, or messages in any form."""
    if isinstance(prompt, PromptValue):
        return prompt.to_messages()
    return convert_to_messages([prompt] if isinstance(prompt, str) else prompt)
