"""`ScriptRunner`: plays a script: the next reply, and the failures of the script itself."""

import logging
import os
from collections import deque
from dataclasses import dataclass, field, replace

from langchain_kimi.testing.api.http_response import HttpResponse, full_response
from langchain_kimi.testing.script.chat_request import Request
from langchain_kimi.testing.script.reply import ErrorReply, Reply, Script
from langchain_kimi.testing.serialization import encode_json

logger = logging.getLogger("langchain_kimi.testing")

_STATUS = 400
"""The HTTP status if a script failed. Clients do not retry it, since the next attempt would fail as well."""
_ERROR_TYPE = "script_error"


class ScriptError(AssertionError):
    """A script does not fit the requests: no reply is left, replies are left over, or another request was expected."""


def error_body(error: ScriptError) -> bytes:
    """The body of the response if the script failed: Kimi's error object, which names the script as the cause."""
    message = f"{error}. This is a failure of the test's script, not of Kimi."
    return encode_json({"error": {"message": message, "type": _ERROR_TYPE, "code": _STATUS}})


@dataclass(frozen=True)
class ScriptFailure(ErrorReply):
    """The reply to a request at which the script failed."""

    status: int = _STATUS
    type: str = _ERROR_TYPE
    error: ScriptError = field(default_factory=ScriptError)

    @property
    def body(self) -> bytes:
        return error_body(self.error)

    def response(self) -> HttpResponse:
        """The response to the request. A caller in the same process raises its `script_error` instead."""
        return replace(full_response(self.status, self.body), script_error=self.error)


class ScriptRunner:
    """The replies of one fake API. A list is used up in order of arrival; a function is called by many threads."""

    def __init__(self, script: Script) -> None:
        if isinstance(script, os.PathLike):
            from langchain_kimi.testing.script.yaml_script import conversation

            script = conversation(script)
        if isinstance(script, str):
            raise TypeError("a script consists of replies, not of a text; for a file, give Path('model.yaml')")
        if isinstance(script, Reply):
            raise TypeError("a script consists of replies; put a single reply into a list: [said('…')]")
        self._function = script if callable(script) else None
        self._replies: deque[Reply] = deque()
        for reply in () if callable(script) else script:
            if not isinstance(reply, Reply):
                raise TypeError(f"a script consists of replies such as said('…') or called('…'), not of {reply!r}")
            self._replies.extend(reply.repeated())
        self.errors: list[str] = []

    @property
    def left(self) -> int:
        """How many replies were not used; 0 for a function."""
        return len(self._replies)

    @property
    def may_block(self) -> bool:
        """Whether the script is a function, which may wait for something."""
        return self._function is not None

    def next_reply(self, request: Request) -> Reply | None:
        """The next reply of a list; None if the script is a function. Has to be called in order of arrival."""
        if self._function is not None:
            return None
        if not self._replies:
            return self.fail(f"the script has no reply left for request {request.number}: {request.summary}")
        return self._expected(request, self._replies.popleft())

    def call_function(self, request: Request) -> Reply:
        """The reply that the function returns."""
        assert self._function is not None
        try:
            reply = self._function(request)
        except BaseException as error:  # pytest.fail() is no Exception
            return self.fail_with(error, request)
        if not isinstance(reply, Reply):
            return self.fail(f"the script returned {reply!r} for request {request.number}, which is no Reply")
        return self._expected(request, reply)

    def _expected(self, request: Request, reply: Reply) -> Reply:
        if mismatch := reply.mismatch(request):
            return self.fail(f"request {request.number} is not the one expected: {mismatch}")
        return reply

    def fail_with(self, error: BaseException, request: Request) -> ScriptFailure:
        """The reply if the script's own code raised."""
        return self.fail(f"the script raised at request {request.number}: {type(error).__name__}: {error}", error)

    def fail(self, message: str, cause: BaseException | None = None) -> ScriptFailure:
        """The reply if the script failed. The failure is recorded and logged."""
        self.errors.append(message)
        logger.error("%s", message)
        error = ScriptError(message)
        error.__cause__ = cause
        return ScriptFailure(message=message, error=error)

    def verify(self, last_request: str) -> None:
        """Raises ScriptError if the script failed or has replies left; `last_request` describes the last request."""
        lines = list(self.errors)
        if self._replies:
            left = "".join(f"\n  {reply.summary}" for reply in list(self._replies)[:5])
            unused = "1 reply of the script was" if self.left == 1 else f"{self.left} replies of the script were"
            lines.append(f"{unused} not used; the last request was {last_request}. Left:{left}")
        if lines:
            raise ScriptError("\n".join(lines))
