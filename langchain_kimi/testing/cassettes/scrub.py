"""Secrets: what is one, taking them out of requests and answers, and finding those that are left.

A secret is a value of the environment under a telling name, a key or cookie that a recorded request or answer carried
in its headers, an account's or organisation's id, anything of a form that is known here, such as `sk-…`, and whatever
the detector finds. In its place comes `<secret:NAME>`. The home folder, whose name is often a person's, becomes
`<secret:home>`, and on replay the home folder of whoever replays: tools that were told a path find it again.
"""

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_kimi._redaction import any_form, is_secret_header
from langchain_kimi.testing.cassettes.bodies import Packed, datas, dumps, unpack
from langchain_kimi.testing.cassettes.detector import find_secrets

_TELLING = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|PRIVATE|BEARER", re.IGNORECASE)
_SHORTEST = 8
_PARAMETERS = (
    *("api_key", "apikey", "api-key", "key", "token", "access_token", "refresh_token", "auth_token", "client_secret"),
    *("secret", "password", "passwd", "pwd", "signature", "sig", "X-Amz-Signature", "X-Amz-Security-Token"),
    "X-Goog-Signature",
)
_BEFORE = "|".join(f"(?<=[?&;]{name}=)" for name in _PARAMETERS)
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
    ("parameter", rf"(?i:(?<==)(?:{_BEFORE})(?!<secret:)[^&;#\s\"'<>\\]{{8,}})"),
    ("account", r"\b(?:org|ak|proj|cak)-(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{6,}"),
)
"""What the detector does not know, finds only beside other words, or would miss where a stream was cut."""
_FORM = re.compile(
    "|".join(f"(?P<{name.replace('-', '_')}_{number}>{form})" for number, (name, form) in enumerate(_FORMS))
)
_OWNERS = frozenset(
    {"organization_id", "organisation_id", "organization", "org_id", "project_id", "account_id", "api_key"}
)
"""Fields of answers that name whose key it was."""

_HOME = b"<secret:home>"
MASK = re.compile(r"<secret:[^>\s]*>")

Place = tuple[Any, ...]


class Secrets:
    """What must not be written. `extra` are further values; `environment` and `home` are by default the process's."""

    def __init__(
        self, extra: Iterable[str] = (), environment: Mapping[str, str] | None = None, home: str | None = None
    ) -> None:
        self._home = os.path.expanduser("~") if home is None else home
        self._known: dict[str, str] = {}
        self._seen: set[int] = set()
        self._names: list[str] = []
        """What each group of `_values` is called."""
        self._values: re.Pattern[str] | None = None
        for value in extra:
            self.learn(value, "declared", shortest=1)
        for name, value in (os.environ if environment is None else environment).items():
            if _TELLING.search(name) and not os.path.exists(value):
                self.learn(value, name)
        self.learn(self._home, "home", shortest=4)

    def learn(self, value: str, name: str, shortest: int = _SHORTEST) -> None:
        """A value that is secret from here on, however JSON, a URL or HTML writes it; too short ones are not."""
        value = value.strip()
        if len(value) >= shortest:
            self._known.setdefault(value, name)
            self._values = None

    def learn_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """The keys and cookies that a request or an answer carries in its headers."""
        for name, value in headers:
            if name.lower() in ("cookie", "set-cookie"):
                for pair in value.split(";")[: None if name.lower() == "cookie" else 1]:
                    self.learn(pair.partition("=")[2], "cookie")
            elif is_secret_header(name):
                self.learn(value.rpartition(" ")[2], "key")

    def learn_bodies(self, *bodies: Packed) -> None:
        """The secrets that the detector, or a form, finds in bodies. Texts that were read before are not read again."""
        for body in bodies:
            for text in (MASK.sub("masked", text) for text in _texts_of(body)):
                if (digest := hash(text)) not in self._seen:
                    self._seen.add(digest)
                    for secret, kind in (*find_secrets(text), *_of_known_form(text)):
                        self.learn(secret, kind, shortest=6)

    def in_text(self, text: str) -> bool:
        """Whether there is a secret in the text."""
        values = self._of_values()
        return _FORM.search(text) is not None or (values is not None and values.search(text) is not None)

    def masked(self, text: str) -> str:
        """The text without its secrets."""
        for start, end, mask in reversed(self.spans(text)):
            text = text[:start] + mask + text[end:]
        return text

    def spans(self, text: str) -> list[tuple[int, int, str]]:
        """Start, end and mask of each secret in a text; those that overlap are one."""
        found = [(*match.span(), _kind(match)) for match in _FORM.finditer(text)]
        if values := self._of_values():
            found += [(*match.span(), self._names[(match.lastindex or 1) - 1]) for match in values.finditer(text)]
        apart: list[tuple[int, int, str]] = []
        for start, end, name in sorted(found, key=lambda each: (each[0], -each[1])):
            if apart and start < apart[-1][1]:
                apart[-1] = (apart[-1][0], max(end, apart[-1][1]), apart[-1][2])
            else:
                apart.append((start, end, f"<secret:{name}>"))
        return apart

    def _of_values(self) -> re.Pattern[str] | None:
        if self._values is None and self._known:
            known = sorted(self._known, key=len, reverse=True)
            self._names = [self._known[value] for value in known]
            self._values = re.compile("|".join(f"({any_form(value)}){self._after(value)}" for value in known))
        return self._values

    def _after(self, value: str) -> str:
        """What may not follow: /home/al is no part of /home/alice."""
        return r"(?![\w-])" if self._known[value] == "home" else ""

    def at_home(self, piece: bytes) -> bytes:
        """A piece of a recorded body with this machine's home folder."""
        if _HOME not in piece:
            return piece
        return piece.replace(_HOME, json.dumps(self._home, ensure_ascii=False)[1:-1].encode())


def scrubbed(packed: Packed, secrets: Secrets, *, answer: bool = False) -> Packed:
    """A packed body without secrets; the pieces of a stream are cleaned as the texts that they make together."""
    if "json" in packed:
        return {"json": _clean(packed["json"], secrets, answer)}
    if "text" in packed:
        return {"text": secrets.masked(packed["text"])}
    if "base64" in packed:
        data = base64.b64decode(packed["base64"]).decode("latin-1")
        return {"base64": base64.b64encode(secrets.masked(data).encode("latin-1")).decode()}
    return packed


def scrubbed_stream(text: str, secrets: Secrets) -> str:
    """A stream's text without secrets, also those that come in pieces over several events."""
    blocks = text.split("\n\n")
    events = [_parsed(block) for block in blocks]
    changed: set[int] = set()
    for leaves in _texts(events).values():
        spans = secrets.spans("".join(holder[key] for _, holder, key in leaves))
        if spans:
            changed |= _write_back(leaves, spans)
    for number, event in enumerate(events):
        if event is not None and _hide_owners(event):
            changed.add(number)
    for number in changed:
        spaced = '": ' in blocks[number]
        blocks[number] = "data: " + (
            json.dumps(events[number], ensure_ascii=False) if spaced else dumps(events[number])
        )
    return "\n\n".join(secrets.masked(block) for block in blocks)


def left(packed: Packed, written: str, secrets: Secrets) -> list[str]:
    """Where a body that is about to be written as `written` still holds a secret; the values are never shown."""
    found = ["as it is written"] if secrets.in_text(written) else []
    if "events" in packed:
        events = [_parsed(f"data: {data}") for data in datas(packed)]
        for place, leaves in _texts(events).items():
            joined = "".join(holder[key] for _, holder, key in leaves)
            if secrets.in_text(joined) or secrets.in_text(_unescaped(joined)):
                found.append("in the stream's " + ".".join(str(step) for step in place if not isinstance(step, tuple)))
    elif "base64" in packed:
        if secrets.in_text(unpack(packed).decode("latin-1")):
            found.append("in its bytes")
    elif "json" in packed:
        found += [f"at {path}" for path, text in _strings(packed["json"], "$") if secrets.in_text(_unescaped(text))]
    return found


def _of_known_form(text: str) -> list[tuple[str, str]]:
    return [(match.group(), _kind(match)) for match in _FORM.finditer(text)]


def _kind(match: re.Match[str]) -> str:
    return str(match.lastgroup).rstrip("_0123456789").replace("_", "-")


def _texts_of(packed: Packed) -> Iterator[str]:
    """What the detector reads of a body: texts as they were written, and values beside the names of their fields."""
    if "events" in packed:
        events = [_parsed(f"data: {data}") for data in datas(packed)]
        joined = ["".join(holder[key] for _, holder, key in leaves) for leaves in _texts(events).values()]
        texts = [text for part in joined for text in (part, _unescaped(part))]
        yield from dict.fromkeys(texts)
        yield from ("\n".join(datas(packed)),)
    elif "json" in packed:
        for part in _parts(packed["json"]):
            yield dumps(part)
            yield "\n".join(_unescaped(text) for _, text in _strings(part, ""))
    else:
        yield unpack(packed).decode("utf-8", "replace")


def _parts(value: Any) -> Iterator[Any]:
    """A body in parts, so that a message that comes again in each request is one and the same part."""
    if isinstance(value, dict):
        lists = {key: item for key, item in value.items() if isinstance(item, list)}
        yield {key: item for key, item in value.items() if key not in lists}
        for items in lists.values():
            yield from items
    else:
        yield value


def _clean(value: Any, secrets: Secrets, answer: bool) -> Any:
    if isinstance(value, str):
        return secrets.masked(value)
    if isinstance(value, list):
        return [_clean(item, secrets, answer) for item in value]
    if not isinstance(value, dict):
        return value
    cleaned = {secrets.masked(key): _clean(item, secrets, answer) for key, item in value.items()}
    if answer:
        cleaned |= {key: "<secret:account>" for key in _OWNERS & cleaned.keys() if isinstance(cleaned[key], str)}
    return cleaned


def _hide_owners(event: Any) -> bool:
    found = False
    if isinstance(event, dict):
        for key in _OWNERS & event.keys():
            if isinstance(event[key], str):
                event[key], found = "<secret:account>", True
    return found


def _parsed(block: str) -> Any:
    """The JSON of an event; None for anything else."""
    if not block.startswith("data: {"):
        return None
    try:
        return json.loads(block[6:])
    except (ValueError, RecursionError):
        return None


def _texts(events: list[Any]) -> dict[Place, list[tuple[int, Any, Any]]]:
    """Every string of the events: number, holder and key, those of one field's deltas together and in order."""
    texts: dict[Place, list[tuple[int, Any, Any]]] = {}
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            continue
        for place, holder, key in _leaves(event, (event.get("index"), event.get("output_index"))):
            together = place if "delta" in place else ((number,), *place)
            texts.setdefault(together, []).append((number, holder, key))
    return texts


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        step = item.get("index", key) if isinstance(value, list) and isinstance(item, dict) else key
        if isinstance(item, str):
            yield (*place, step), value, key
        elif isinstance(item, dict | list):
            yield from _leaves(item, (*place, step))


def _write_back(leaves: list[tuple[int, Any, Any]], spans: list[tuple[int, int, str]]) -> set[int]:
    """Puts each mask where its secret began and takes the rest out; the numbers of the events that changed."""
    changed: set[int] = set()
    at = 0
    for number, holder, key in leaves:
        text = holder[key]
        cut = [span for span in spans if span[0] < at + len(text) and span[1] > at]
        kept, position = "", 0
        for start, end, mask in cut:
            kept += text[position : max(start - at, 0)] + (mask if start >= at else "")
            position = min(end - at, len(text))
        if cut:
            holder[key] = kept + text[position:]
            changed.add(number)
        at += len(text)
    return changed


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}", key
            yield from _strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]")


def _unescaped(text: str) -> str:
    """A string with the JSON inside it written plainly, so that escapes hide nothing."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return "\n".join(part for _, part in _strings(json.loads(text), ""))
    except (ValueError, RecursionError):
        return text
