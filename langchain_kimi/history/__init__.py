"""The transcript's grammar: every call answered once, in order, right after its message, and nothing empty.

`repair` is a pure function that never touches its input; `transcript` pairs calls with results, `content` cleans what
each message says.
"""

from langchain_kimi.history.content import NO_OUTPUT
from langchain_kimi.history.transcript import MISSING_RESULT, START, Repair, Repaired, Settled, repair

__all__ = ["MISSING_RESULT", "NO_OUTPUT", "START", "Repair", "Repaired", "Settled", "repair"]
