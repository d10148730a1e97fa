"""The HTTP library's exceptions, which may quote a header and thereby the key."""

import re

from langchain_kimi._redaction import mask_known

_ERRNO = re.compile(r"\[Errno -?\d+\] ")


def cause_text(error: BaseException) -> str:
    """The text of an exception of the HTTP library; only its type if its text may quote a header of the request."""
    text = "" if _quotes_request(error) else _ERRNO.sub("", str(error)).rstrip(".")
    return text or type(error).__name__


def cut_causes(error: BaseException) -> None:
    """Remove the exceptions that show a secret, with their causes, from the chain of causes of `error`."""
    link: BaseException | None = error
    while link is not None:
        cause = link.__cause__ or link.__context__
        if cause is not None and (_quotes_request(cause) or _shows_secret(cause)):
            link.__cause__ = link.__context__ = cause = None
        link = cause


def _quotes_request(error: BaseException) -> bool:
    return any(base.__name__ == "LocalProtocolError" for base in type(error).__mro__)


def _shows_secret(error: BaseException) -> bool:
    shown = f"{error} {error!r}"
    return mask_known(shown) != shown
