"""Tool names that Kimi takes, for names that it does not."""

import re
from functools import lru_cache
from hashlib import sha256

from langchain_kimi._surrogates import replaced

_LEGAL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST = 64
"""Characters; newer documents allow 128, older servers took 64."""


@lru_cache(maxsize=4096)
def wire_name(name: str) -> str:
    """The name on the wire: the name itself where it is legal, else letters, digits and a hash of the original.

    It depends on the name alone, so a name is the same in every request, whatever other tools there are. Names of
    Kimi's own functions, which begin with `$`, and the empty name stay as they are.
    """
    name = replaced(name)
    if not name or name.startswith("$") or _LEGAL.fullmatch(name):
        return name
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    if not readable[:1].isalpha():
        readable = f"tool_{readable}".rstrip("_")
    digest = sha256(name.encode()).hexdigest()[:8]
    return f"{readable[: _LONGEST - len(digest) - 1]}_{digest}"
