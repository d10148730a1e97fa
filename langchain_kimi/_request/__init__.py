"""LangChain to wire: messages, tools and settings become the body of a chat request.

`request` reads top to bottom: `settings` and `output_cap` encode the user's settings, `tools` the tools, `repair` and
`content` make the transcript one that Kimi accepts, `messages` encodes each message once (`encode_cache`), and `hosts`
names the fields of other hosts.
"""

from langchain_kimi._request.messages import encode_message
from langchain_kimi._request.request import EncodedRequest, encode_request
from langchain_kimi._request.settings import Note, encode_thinking
from langchain_kimi._request.tools import Declared, Tools, dynamic_tools_message
from langchain_kimi._schema import Change

__all__ = [
    "Change",
    "Declared",
    "EncodedRequest",
    "Note",
    "Tools",
    "dynamic_tools_message",
    "encode_message",
    "encode_request",
    "encode_thinking",
]
