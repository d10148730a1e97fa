"""Every reason for which Kimi refuses a chat request, as a table of small functions over the wire dict.

`check` answers with what the server would say, before anything is sent. Whether a model is served, keys, quotas and
token counts are the server's to judge.

Sources disagree on one thing throughout: the Open Platform puts "Invalid request: " before many messages, the
Kimi Code endpoint leaves it out. Where both were recorded, the Open Platform's form stands here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_kimi._rules.known_prefix import Judged, judged, longer, reduced
from langchain_kimi._rules.messages import MESSAGES
from langchain_kimi._rules.request import Request, Rule, Violation, row_of, thinking_of
from langchain_kimi._rules.settings import SETTINGS
from langchain_kimi._rules.tools import TOOLS

__all__ = ["RULES", "Judged", "Rule", "Violation", "check", "check_new", "judged", "thinks"]

RULES: tuple[Rule, ...] = SETTINGS + TOOLS + MESSAGES


def check(request: Mapping[str, Any], *, rules: Sequence[Rule] = RULES) -> list[Violation]:
    """Everything that Kimi would refuse in a body of POST /v1/chat/completions, in the order of the rules.

    An unknown model is held to the protocol only: shapes, names, schemas, ids and pairing. Never raises on odd JSON.
    """
    asked = Request(request)
    return [
        Violation(rule.name, path, message, rule.way_out, rule.status, rule.type)
        for rule in rules
        for path, message in rule.find(asked)
    ]


def check_new(known: Judged, request: Mapping[str, Any], count: int) -> Judged | None:
    """Judge a request that holds, of its messages, only those behind `known`.

    Where nothing is wrong: `known` with the first `count` of them. None where something may be, which `check` of the
    whole request tells, or where an exchange would be cut.
    """
    short = reduced(known, request)
    return None if short is None or check(short) else longer(known, request, count)


def thinks(request: Mapping[str, Any]) -> bool | None:
    """Whether the model thinks on this request, by its row and the `thinking` field; None for an unknown model."""
    return thinking_of(row_of(request), request)
