"""LangChain to wire: messages, tools and settings become the body of a chat request.

`request` builds it: `repair` makes the transcript one that Kimi accepts, `messages` and `tools` encode it, `settings`
encodes what the user chose, `conversation` keeps what was encoded before, and `hosts` names the fields of other hosts.
"""

from langchain_kimi._request.dynamic_tools import dynamic_tools_message
from langchain_kimi._request.messages import encode_message
from langchain_kimi._request.request import Encoded, encode_request
from langchain_kimi._request.settings import Note, encode_thinking
from langchain_kimi._request.tools import Declared, Tools
from langchain_kimi._schema import Change

__all__ = [
    "Change",
    "Declared",
    "Encoded",
    "Note",
    "Tools",
    "dynamic_tools_message",
    "encode_message",
    "encode_request",
    "encode_thinking",
]
