"""`Cassette`: replays the responses to recorded requests, or records new ones."""

import os
import random
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson

from langchain_kimi.testing.cassettes.bodies import body_pieces, unpack_body
from langchain_kimi.testing.cassettes.cassette_errors import CannotReplay, CassetteError
from langchain_kimi.testing.cassettes.cassette_file import Interaction, load_cassette, packed_body, save_cassette
from langchain_kimi.testing.cassettes.interception import block_network, intercept
from langchain_kimi.testing.cassettes.matching import Ignored, IgnoredParts, differences
from langchain_kimi.testing.cassettes.recording import Recording, SentRequest, require_no_secrets
from langchain_kimi.testing.cassettes.scrub import learn_bodies, scrub_body
from langchain_kimi.testing.cassettes.secret_values import Secrets
from langchain_kimi.testing.serialization import compact_json

RecordMode = Literal["none", "once", "new_episodes", "all"]
RECORD_MODES = ("none", "once", "new_episodes", "all")
_SHOWN_DIFFERENCES = 20
_MIN_PIECE, _MAX_PIECE = 1, 40
"""Bytes of the pieces that `rechunk` makes."""


class Cassette:
    """Recorded requests with their responses, which are replayed while it is open: `with Cassette(path) as cassette:`.

    While it is open, every client of httpx2 and httpx, and so openai's, gets its responses from here. `record` says
    which requests go to the real host: none (`none`), all if there is no file yet (`once`), those that are not recorded
    (`new_episodes`), or all (`all`). Each interaction is replayed once; requests may come in any order.

    `ignore` lists parts of requests that may vary (see `matching`), `rechunk` is a seed for other pieces of streams,
    `secrets` are further values that must not be written, `keep_headers` further headers of responses to record.
    `allowed_hosts`, such as `db.internal` or `127.0.0.1:8000`, are neither recorded nor blocked. `advice` is added to
    error messages.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        record: RecordMode = "none",
        ignore: Iterable[Ignored] = (),
        rechunk: int | None = None,
        secrets: Iterable[str] = (),
        keep_headers: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
        advice: str = "",
    ) -> None:
        if record not in RECORD_MODES:
            raise CassetteError(f"record={record!r} is not one of {', '.join(RECORD_MODES)}")
        self.path = Path(path)
        self.record = record
        self.allowed_hosts = frozenset(allowed_hosts)
        self.misses: list[CannotReplay] = []
        """The errors of all requests without a recording, in order; the app may have caught them."""
        self._ignored = IgnoredParts(ignore)
        self._rechunk = rechunk
        self._secrets = Secrets(secrets)
        self._keep_headers = frozenset(name.lower() for name in keep_headers)
        self._advice = advice
        self._lock = threading.Lock()
        self._recordings: list[Recording] = []
        self._open: ExitStack | None = None
        has_file = record != "all" and self.path.exists()
        self.interactions: list[Interaction] = load_cassette(self.path) if has_file else []
        self._records = record in ("all", "new_episodes") or (record == "once" and not has_file)
        self._unplayed: dict[int, None] = dict.fromkeys(range(len(self.interactions)))
        self._index = self._build_index()

    @property
    def replays_only(self) -> bool:
        """Whether no request goes to a real host."""
        return not self._records

    @property
    def unplayed(self) -> list[Interaction]:
        """The recorded interactions that were not replayed yet."""
        return [self.interactions[number] for number in self._unplayed]

    def __enter__(self) -> Self:
        self._open = ExitStack()
        if self.replays_only:
            self._open.enter_context(block_network(self.allowed_hosts))
        self._open.enter_context(intercept(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open.close()
            self._open = None
        self.save()

    def ignores_host(self, host: str, port: int | None) -> bool:
        """Whether requests to the host are neither recorded nor replayed."""
        return host in self.allowed_hosts or f"{host}:{port}" in self.allowed_hosts

    def replay(self, sent: SentRequest) -> Interaction | None:
        """The recorded interaction of a request; None if it has to go to the real host. Raises CannotReplay."""
        request = self._comparable(sent)
        with self._lock:
            number = None if self.record == "all" else self._find(request)
            if number is not None:
                del self._unplayed[number]
                return self.interactions[number]
            if self._records:
                return None
            error = self._miss(self._for_message(sent))
            self.misses.append(error)
            raise error

    def start_recording(self, sent: SentRequest) -> Recording:
        """A recording, in the order of the requests; it is filled while the response arrives."""
        recording = Recording(sent)
        with self._lock:
            self._recordings.append(recording)
        return recording

    def response_pieces(self, interaction: Interaction) -> list[bytes]:
        """The body of a response: event by event, or in other pieces if `rechunk` is set."""
        whole = [self._secrets.restore_home(piece) for piece in body_pieces(packed_body(interaction.response))]
        if self._rechunk is None:
            return whole
        number = next(at for at, each in enumerate(self.interactions) if each is interaction)
        return list(_random_pieces(b"".join(whole), random.Random(f"{self._rechunk}/{number}")))

    def save(self) -> None:
        """Writes the file if anything new was recorded. Raises SecretsLeft, with nothing written."""
        finished = [recording for recording in self._recordings if recording.status]
        self._recordings = []
        if not finished:
            return
        for recording in finished:
            recording.add_secrets_to(self._secrets)
        new = [recording.interaction(self._secrets, self._keep_headers) for recording in finished]
        interactions = [require_no_secrets(each, self._secrets) for each in self.interactions] + new
        save_cassette(self.path, interactions)
        self.interactions = interactions

    def _comparable(self, sent: SentRequest) -> dict[str, Any]:
        packed = sent.packed()
        path = sent.path
        if self._secrets.occur_in(path) or self._secrets.occur_in(sent.body.decode("utf-8", "replace")):
            packed, path = scrub_body(packed, self._secrets), self._secrets.mask(path)
        return {"method": sent.method, "path": path, **_fields(self._ignored.remove_from(_body_value(packed)))}

    def _for_message(self, sent: SentRequest) -> dict[str, Any]:
        """The request for an error message, also without the secrets that the detector finds."""
        with suppress(CassetteError):  # replaying works without the detector
            learn_bodies(self._secrets, {"text": sent.path}, sent.packed())
        return self._comparable(sent)

    def _recorded(self, number: int) -> dict[str, Any]:
        request = self.interactions[number].request
        body = self._ignored.remove_from(_body_value(packed_body(request)))
        return {"method": request["method"], "path": request["path"], **_fields(body)}

    def _build_index(self) -> dict[bytes, deque[int]]:
        index: dict[bytes, deque[int]] = defaultdict(deque)
        for number in range(len(self.interactions)):
            index[_key(self._recorded(number))].append(number)
        return index

    def _find(self, request: dict[str, Any]) -> int | None:
        if exact := self._index.get(_key(request)):
            return exact.popleft()
        # 1 equals 1.0, and a mask equals any text, so that equal requests may have different keys.
        for number in self._unplayed:
            if not differences(self._recorded(number), request):
                self._index[_key(self._recorded(number))].remove(number)
                return number
        return None

    def _miss(self, request: dict[str, Any]) -> CannotReplay:
        name = f"{request['method']} {request['path']}"
        where = min(str(self.path), os.path.relpath(self.path), key=len)
        if not self.interactions:
            state = "is empty" if self.path.exists() else "does not exist"
            advice = self._advice or 'Record it: Cassette(…, record="once")'
            text = f"{name} was sent, but the cassette {where} {state}. {advice}"
            return CannotReplay(text, summary=f"no cassette. {advice}")
        advice = self._advice or 'If the change is intended, record again: Cassette(…, record="all")'
        compared = [(differences(self._recorded(at), request), at) for at in range(len(self.interactions))]
        nearest, at = min(compared, key=lambda each: (len(each[0]), each[1] not in self._unplayed))
        number = f"request {at + 1} of {len(self.interactions)}"
        if not nearest:
            text = f"{name} was sent more often than it was recorded: {number} in {where} was already played. {advice}"
            return CannotReplay(text, summary=f"{number} was sent more often than it was recorded")
        lines = [str(difference) for difference in nearest]
        shown = [f"  {line}" for line in lines[:_SHOWN_DIFFERENCES]]
        if len(lines) > _SHOWN_DIFFERENCES:
            shown.append(f"  … and {len(lines) - _SHOWN_DIFFERENCES} more")
        played = "" if at in self._unplayed else ", already played,"
        head = f"{name} was sent, but never recorded. The nearest is {number} in {where}{played} and differs in"
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        return CannotReplay("\n".join([head, *shown, advice]), lines, summary=f"{nearest[0].summary}{more}")


def _body_value(packed: dict[str, Any]) -> Any:
    if "json" in packed:
        return packed["json"]
    return packed["text"] if "text" in packed else unpack_body(packed).decode("latin-1")


def _fields(body: Any) -> dict[str, Any]:
    """The fields of a body, to be compared beside method and path; a body that is not an object is one field."""
    return {"body": body} if not isinstance(body, dict) or body.keys() & {"method", "path"} else body


def _key(request: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    except (TypeError, orjson.JSONEncodeError):  # integers beyond 64 bits
        return compact_json(request).encode()


def _random_pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + chance.randint(_MIN_PIECE, _MAX_PIECE)
        yield data[at:end]
        at = end
