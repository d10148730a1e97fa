"""`Secrets`: which values are secret, and where they occur in a text.

Secret are: values of environment variables with names such as `…_KEY`, keys and cookies in the headers of a recorded
request or response, ids of accounts and organisations, texts of a known form such as `sk-…`, and the findings of
Kingfisher, MongoDB's detector. Each is replaced by `<secret:NAME>`. The home folder, whose name is often a person's,
becomes `<secret:home>`, and on replay the home folder of the current user, so that tools find a recorded path.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from langchain_kimi._redaction import any_form, is_secret_header
from langchain_kimi.testing.cassettes.cassette_errors import CassetteError

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|PRIVATE|BEARER", re.IGNORECASE)
_MIN_LENGTH = 8
_MIN_DETECTED_LENGTH = 6
_PARAMETERS = (
    *("api_key", "apikey", "api-key", "key", "token", "access_token", "refresh_token", "auth_token", "client_secret"),
    *("secret", "password", "passwd", "pwd", "signature", "sig", "X-Amz-Signature", "X-Amz-Security-Token"),
    "X-Goog-Signature",
)
_AFTER_PARAMETER = "|".join(f"(?<=[?&;]{name}=)" for name in _PARAMETERS)
_FORMS = (
    ("account", r"(?<=Your account )(?!(?:is|has|request|reached)\b)[^\s<]+(?:<[^>\s]*>)?"),
    ("key", r"\bsk-[A-Za-z0-9_-]{6,}"),
    ("key", r"\b(?:gh[pousr]_|github_pat_|xox[abeprs]-|hf_|tvly-|pplx-|lsv2_|GOCSPX-)[A-Za-z0-9_-]{16,}"),
    ("key", r"\bA(?:KI|SI)A[A-Z0-9]{16}\b"),
    ("key", r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    ("key", r"(?<=Bearer )(?!<secret:)[A-Za-z0-9._~+/=-]{8,}"),
    (
        "private-key",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----)(?:[A-Za-z0-9+/=:,\r\n-]|(?<=[:,]) |\\[nr]))*"
        r"(?:-----END [A-Z ]*PRIVATE KEY-----)?",
    ),
    ("password", r"(?<=://)(?!<secret:)[^\s/@:\"'<>\\]{0,256}:(?!<secret:)[^\s/@\"'<>\\]{1,256}(?=@)"),
    ("parameter", rf"(?i:(?<==)(?:{_AFTER_PARAMETER})(?!<secret:)[^&;#\s\"'<>\\]{{8,}})"),
    ("account", r"\b(?:org|ak|proj|cak)-(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{6,}"),
)
"""Forms that the detector does not know, finds only beside other words, or misses if a stream is cut inside them."""
_FORM = re.compile(
    "|".join(f"(?P<{name.replace('-', '_')}_{number}>{form})" for number, (name, form) in enumerate(_FORMS))
)
_HOME = b"<secret:home>"
SECRET_MASK = re.compile(r"<secret:[^>\s]*>")


class Secrets:
    """The values that must not be written.

    `extra` are further values; `environment` and `home` are by default those of the process.
    """

    def __init__(
        self, extra: Iterable[str] = (), environment: Mapping[str, str] | None = None, home: str | None = None
    ) -> None:
        self._home = os.path.expanduser("~") if home is None else home
        self._named_values: dict[str, str] = {}
        self._searched: set[int] = set()
        self._names: list[str] = []
        """The names of the groups of `_values`."""
        self._values: re.Pattern[str] | None = None
        for value in extra:
            self.learn(value, "declared", min_length=1)
        for name, value in (os.environ if environment is None else environment).items():
            if _SECRET_NAME.search(name) and not os.path.exists(value):
                self.learn(value, name)
        self.learn(self._home, "home", min_length=4)

    def learn(self, value: str, name: str, min_length: int = _MIN_LENGTH) -> None:
        """Adds a value, which is then found as JSON, a URL or HTML writes it. Too short values are not added."""
        value = value.strip()
        if len(value) >= min_length:
            self._named_values.setdefault(value, name)
            self._values = None

    def learn_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Adds the keys and cookies in the headers of a request or a response."""
        for name, value in headers:
            if name.lower() in ("cookie", "set-cookie"):
                for pair in value.split(";")[: None if name.lower() == "cookie" else 1]:
                    self.learn(pair.partition("=")[2], "cookie")
            elif is_secret_header(name):
                self.learn(value.rpartition(" ")[2], "key")

    def learn_texts(self, texts: Iterable[str]) -> None:
        """Adds the secrets that the detector or a known form finds. Texts are searched once.

        Raises CassetteError if the detector is not installed.
        """
        for text in (SECRET_MASK.sub("masked", text) for text in texts):
            if (digest := hash(text)) not in self._searched:
                self._searched.add(digest)
                for secret, name in (*_detect_secrets(text), *_match_forms(text)):
                    self.learn(secret, name, min_length=_MIN_DETECTED_LENGTH)

    def occur_in(self, text: str) -> bool:
        """Whether the text contains a secret."""
        values = self._values_pattern()
        return _FORM.search(text) is not None or (values is not None and values.search(text) is not None)

    def mask(self, text: str) -> str:
        """The text with a mask for each secret."""
        for start, end, mask in reversed(self.spans(text)):
            text = text[:start] + mask + text[end:]
        return text

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and mask of each secret in a text; overlapping ones are merged."""
        matches = [(*match.span(), _form_name(match)) for match in _FORM.finditer(text)]
        if values := self._values_pattern():
            matches += [(*match.span(), self._names[(match.lastindex or 1) - 1]) for match in values.finditer(text)]
        merged: list[tuple[int, int, str]] = []
        for start, end, name in sorted(matches, key=lambda each: (each[0], -each[1])):
            if merged and start < merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]), merged[-1][2])
            else:
                merged.append((start, end, f"<secret:{name}>"))
        return merged

    def _values_pattern(self) -> re.Pattern[str] | None:
        if self._values is None and self._named_values:
            values = sorted(self._named_values, key=len, reverse=True)
            self._names = [self._named_values[value] for value in values]
            self._values = re.compile("|".join(f"({any_form(value)}){self._lookahead(value)}" for value in values))
        return self._values

    def _lookahead(self, value: str) -> str:
        """Prevents a match of /home/al in /home/alice."""
        return r"(?![\w-])" if self._named_values[value] == "home" else ""

    def restore_home(self, piece: bytes) -> bytes:
        """A piece of a recorded body with the home folder of the current user."""
        if _HOME not in piece:
            return piece
        return piece.replace(_HOME, json.dumps(self._home, ensure_ascii=False)[1:-1].encode())


def _match_forms(text: str) -> list[tuple[str, str]]:
    return [(match.group(), _form_name(match)) for match in _FORM.finditer(text)]


def _form_name(match: re.Match[str]) -> str:
    return str(match.lastgroup).rstrip("_0123456789").replace("_", "-")


def _detect_secrets(text: str) -> list[tuple[str, str]]:
    """Each secret that the detector finds, with the name of its kind. Nothing is sent anywhere."""
    secrets = []
    data = text.encode("utf-8", "replace")
    for finding in _scanner().scan(data):
        name = finding.rule_id.rpartition(".")[2].rpartition("/")[2]
        secrets.append((finding.secret, name))
        if finding.is_base64_encoded:
            start, end = finding.location["start_offset"], finding.location["end_offset"]
            secrets.append((data[start:end].decode("utf-8", "replace"), name))
    return [(secret, name) for secret, name in secrets if len(secret) >= _MIN_DETECTED_LENGTH]


@lru_cache(maxsize=1)
def _scanner() -> Any:
    """The detector, which is loaded when something is recorded."""
    try:
        from kingfisher_sdk import Scanner
    except ImportError as error:
        raise CassetteError(
            "Recording needs Kingfisher, which finds secrets. "
            "Install it with `pip install 'langchain-kimi-agent[testing]'`."
        ) from error
    return Scanner()
