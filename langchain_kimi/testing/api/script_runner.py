"""A script while it is played: which reply is next, and what went wrong with it."""

import logging
import os
from collections import deque
from dataclasses import dataclass, field, replace

from langchain_kimi.testing.api.response import Answer, whole
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import Refused, Reply, Script
from langchain_kimi.testing.script.wire_json import encode

logger = logging.getLogger("langchain_kimi.testing")

STATUS = 400
"""The HTTP status where a script failed: one that no client repeats, since the next attempt would fail as well."""
ERROR_TYPE = "script_error"


class ScriptError(AssertionError):
    """A script and what was asked of it do not fit: no reply left, replies left over, or another request expected."""


def error_body(error: ScriptError) -> bytes:
    """What a client reads where the script failed: Kimi's error object, which says that Kimi is not to blame."""
    message = f"{error}. This is a failure of the test's script, not of Kimi."
    return encode({"error": {"message": message, "type": ERROR_TYPE, "code": STATUS}})


@dataclass(frozen=True)
class ScriptFailure(Refused):
    """The reply to a request for which the script failed."""

    status: int = STATUS
    type: str = ERROR_TYPE
    error: ScriptError = field(default_factory=ScriptError)

    @property
    def body(self) -> bytes:
        return error_body(self.error)

    def answer(self) -> Answer:
        """The answer to the request. Whoever can raises `script_error` instead."""
        return replace(whole(self.status, self.body), script_error=self.error)


class Play:
    """The replies of one double. A list is used up in order of arrival; a function is asked by many threads."""

    def __init__(self, script: Script) -> None:
        if isinstance(script, os.PathLike):
            from langchain_kimi.testing.script.yaml_script import conversation

            script = conversation(script)
        self._function = script if callable(script) else None
        self._replies: deque[Reply] = deque()
        for reply in () if callable(script) else script:
            if not isinstance(reply, Reply):
                raise TypeError(f"a script is made of replies such as said('…') or called('…'), not of {reply!r}")
            self._replies.extend(reply.repeated())
        self.errors: list[str] = []

    @property
    def left(self) -> int:
        """How many replies were not used; 0 for a function."""
        return len(self._replies)

    @property
    def waits(self) -> bool:
        """Whether a function is asked, which may wait for something."""
        return self._function is not None

    def next(self, request: Request) -> Reply | None:
        """The next reply of a list, to be called in order of arrival; None where a function is to be asked."""
        if self._function is not None:
            return None
        if not self._replies:
            return self.failed(f"the script has no reply left for request {request.number}: {request.asked}")
        reply = self._replies.popleft()
        if problem := reply.unexpected(request):
            return self.failed(f"request {request.number} is not the one expected: {problem}")
        return reply

    def asked(self, request: Request) -> Reply:
        """The function's reply."""
        assert self._function is not None
        try:
            reply = self._function(request)
        except BaseException as error:  # pytest.fail() is no Exception
            return self.raised(request, error)
        if not isinstance(reply, Reply):
            return self.failed(f"the script gave {reply!r} for request {request.number}, which is no Reply")
        if problem := reply.unexpected(request):
            return self.failed(f"request {request.number} is not the one expected: {problem}")
        return reply

    def raised(self, request: Request, error: BaseException) -> ScriptFailure:
        """The answer where the script's own code raised."""
        return self.failed(f"the script raised at request {request.number}: {type(error).__name__}: {error}", error)

    def failed(self, message: str, cause: BaseException | None = None) -> ScriptFailure:
        """The answer where the script failed, which is noted and logged."""
        self.errors.append(message)
        logger.error("%s", message)
        error = ScriptError(message)
        error.__cause__ = cause
        return ScriptFailure(message=message, error=error)

    def verify(self, last: str) -> None:
        """Raises ScriptError unless all went as scripted; `last` says what was asked last."""
        lines = list(self.errors)
        if self._replies:
            shown = "".join(f"\n  {reply.shown}" for reply in list(self._replies)[:5])
            lines.append(f"{len(self._replies)} replies of the script were not asked for; {last}. Left:{shown}")
        if lines:
            raise ScriptError("\n".join(lines))
