"""Every reason for which Kimi refuses a chat request, as a table of small functions over the wire dict.

`check` returns what the server would say, before anything is sent. Whether a model is served, keys, quotas and token
counts are left to the server.

Sources disagree on one thing throughout: the Open Platform puts "Invalid request: " before many messages, the
Kimi Code endpoint leaves it out. Where both were recorded, the Open Platform's form stands here.
"""

from langchain_kimi._rules.check import RULES, check, checked_prefix, is_valid_prefix, thinks
from langchain_kimi._rules.exchanges import NOTHING_CHECKED, CheckedPrefix
from langchain_kimi._rules.request import Rule, Violation

__all__ = [
    "NOTHING_CHECKED",
    "RULES",
    "CheckedPrefix",
    "Rule",
    "Violation",
    "check",
    "checked_prefix",
    "is_valid_prefix",
    "thinks",
]
