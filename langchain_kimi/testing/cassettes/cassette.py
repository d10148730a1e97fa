"""`Cassette`: plays recorded answers to recorded requests, or records new ones."""

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

from langchain_kimi.testing.cassettes.bodies import dumps, pack, pieces, unpack
from langchain_kimi.testing.cassettes.errors import CannotReplay, CassetteError
from langchain_kimi.testing.cassettes.file import Interaction, body_of, load, save
from langchain_kimi.testing.cassettes.matching import Ignored, Variations, differences
from langchain_kimi.testing.cassettes.recording import Recording, Sent, checked, header
from langchain_kimi.testing.cassettes.scrub import Secrets, scrubbed

Record = Literal["none", "once", "new_episodes", "all"]
MODES = ("none", "once", "new_episodes", "all")
_SHOWN = 20
_SMALLEST, _LARGEST = 1, 40


class Cassette:
    """Recorded requests with their answers, played while it is open: `with Cassette(path) as cassette:`.

    Meanwhile every client of httpx2 and httpx, and so openai's, gets its answers from here. `record` says what is
    asked of the real host: nothing (`none`), everything where there is no file yet (`once`), what is not recorded
    (`new_episodes`), or everything anew (`all`). Each interaction is played once; requests may come in any order.

    `ignore` declares what may vary (see `matching`), `rechunk` is a seed by which streams are cut anew, `secrets` are
    further values that must not be written, `keep_headers` further headers of answers to keep. `allowed_hosts`, such as
    `db.internal` or `127.0.0.1:8000`, are left alone: neither recorded nor blocked. `advice` ends an error's message.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        record: Record = "none",
        ignore: Iterable[Ignored] = (),
        rechunk: int | None = None,
        secrets: Iterable[str] = (),
        keep_headers: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
        advice: str = "",
    ) -> None:
        if record not in MODES:
            raise CassetteError(f"record={record!r} is none of {', '.join(MODES)}")
        self.path = Path(path)
        self.record = record
        self.allowed_hosts = frozenset(allowed_hosts)
        self.misses: list[CannotReplay] = []
        """Every request that had no recording, in order; an app may have swallowed the errors."""
        self._variations = Variations(ignore)
        self._rechunk = rechunk
        self._secrets = Secrets(secrets)
        self._kept = frozenset(name.lower() for name in keep_headers)
        self._advice = advice
        self._lock = threading.Lock()
        self._recordings: list[Recording] = []
        self._open: ExitStack | None = None
        found = record != "all" and self.path.exists()
        self.interactions: list[Interaction] = load(self.path) if found else []
        self._records = record in ("all", "new_episodes") or (record == "once" and not found)
        self._unplayed: dict[int, None] = dict.fromkeys(range(len(self.interactions)))
        self._index = self._indexed()

    @property
    def replays_only(self) -> bool:
        """Whether nothing is asked of a real host."""
        return not self._records

    @property
    def unplayed(self) -> list[Interaction]:
        """The recorded interactions that nobody has asked for yet."""
        return [self.interactions[number] for number in self._unplayed]

    def __enter__(self) -> Self:
        from langchain_kimi.testing.cassettes.intercept import intercepting
        from langchain_kimi.testing.cassettes.network import blocked

        self._open = ExitStack()
        if self.replays_only:
            self._open.enter_context(blocked(self.allowed_hosts))
        self._open.enter_context(intercepting(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open.close()
            self._open = None
        self.save()

    def passes(self, host: str, port: int | None) -> bool:
        """Whether a host is none of the cassette's business."""
        return host in self.allowed_hosts or f"{host}:{port}" in self.allowed_hosts

    def answer(self, sent: Sent) -> Interaction | None:
        """The recorded answer to a request, used up; None where the real host is to be asked. Raises CannotReplay."""
        request = self._comparable(sent)
        with self._lock:
            number = None if self.record == "all" else self._find(request)
            if number is not None:
                del self._unplayed[number]
                return self.interactions[number]
            if self._records:
                return None
            error = self._miss(self._shown(sent))
            self.misses.append(error)
            raise error

    def begin(self, sent: Sent) -> Recording:
        """A recording in the place of its request; it is filled while the answer arrives."""
        recording = Recording(sent)
        with self._lock:
            self._recordings.append(recording)
        return recording

    def pieces(self, interaction: Interaction) -> list[bytes]:
        """An answer's body: event by event, or cut anew where `rechunk` asks for it."""
        whole = [self._secrets.at_home(piece) for piece in pieces(body_of(interaction.response))]
        if self._rechunk is None:
            return whole
        number = next(at for at, each in enumerate(self.interactions) if each is interaction)
        return list(_cut(b"".join(whole), random.Random(f"{self._rechunk}/{number}")))

    def save(self) -> None:
        """Writes what was recorded. Raises SecretsLeft, with nothing written; does nothing where nothing is new."""
        finished = [recording for recording in self._recordings if recording.status]
        self._recordings = []
        if not finished:
            return
        for recording in finished:
            recording.teach(self._secrets)
        new = [recording.interaction(self._secrets, self._kept) for recording in finished]
        interactions = [checked(each, self._secrets) for each in self.interactions] + new
        save(self.path, interactions)
        self.interactions = interactions

    def _comparable(self, sent: Sent) -> dict[str, Any]:
        packed = pack(sent.body, header(sent.headers, "content-type"))
        path = sent.path
        if self._secrets.in_text(path) or self._secrets.in_text(sent.body.decode("utf-8", "replace")):
            packed, path = scrubbed(packed, self._secrets), self._secrets.masked(path)
        return {"method": sent.method, "path": path, **_plain(self._variations.without(_body(packed)))}

    def _shown(self, sent: Sent) -> dict[str, Any]:
        """The request for an error's message, without what the detector finds either."""
        with suppress(CassetteError):  # replaying does not need one
            body = pack(sent.body, header(sent.headers, "content-type"))
            self._secrets.learn_bodies({"text": sent.path}, body)
        return self._comparable(sent)

    def _recorded(self, number: int) -> dict[str, Any]:
        request = self.interactions[number].request
        body = self._variations.without(_body(body_of(request)))
        return {"method": request["method"], "path": request["path"], **_plain(body)}

    def _indexed(self) -> dict[bytes, deque[int]]:
        index: dict[bytes, deque[int]] = defaultdict(deque)
        for number in range(len(self.interactions)):
            index[_key(self._recorded(number))].append(number)
        return index

    def _find(self, request: dict[str, Any]) -> int | None:
        if exact := self._index.get(_key(request)):
            return exact.popleft()
        # 1 and 1.0 are one number, and a mask stands for whatever was there: neither has one key.
        for number in self._unplayed:
            if not differences(self._recorded(number), request):
                self._index[_key(self._recorded(number))].remove(number)
                return number
        return None

    def _miss(self, request: dict[str, Any]) -> CannotReplay:
        name = f"{request['method']} {request['path']}"
        where = min(str(self.path), os.path.relpath(self.path), key=len)
        if not self.interactions:
            there = "is empty" if self.path.exists() else "does not exist"
            return CannotReplay(f"{name} was sent, but the cassette {where} {there}. {self._advice}".strip())
        found = [(differences(self._recorded(at), request), at) for at in range(len(self.interactions))]
        nearest, at = min(found, key=lambda each: (len(each[0]), each[1] not in self._unplayed))
        where = f"request {at + 1} of {len(self.interactions)} in {where}"
        if not nearest:
            text = f"{name} was sent more often than it was recorded: {where} was already played."
            return CannotReplay(f"{text} {self._advice}".strip())
        lines = [str(difference) for difference in nearest]
        shown = [f"  {line}" for line in lines[:_SHOWN]]
        if len(lines) > _SHOWN:
            shown.append(f"  … and {len(lines) - _SHOWN} more")
        played = "" if at in self._unplayed else ", already played,"
        head = f"{name} was sent, but never recorded. The nearest is {where}{played} and differs in"
        return CannotReplay("\n".join([head, *shown, self._advice]).rstrip(), lines)


def _body(packed: dict[str, Any]) -> Any:
    if "json" in packed:
        return packed["json"]
    return packed["text"] if "text" in packed else unpack(packed).decode("latin-1")


def _plain(body: Any) -> dict[str, Any]:
    """The fields of a body beside the request's own; a body that is no object is one field."""
    return {"body": body} if not isinstance(body, dict) or body.keys() & {"method", "path"} else body


def _key(request: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
    except (TypeError, orjson.JSONEncodeError):  # integers beyond 64 bits
        return dumps(request).encode()


def _cut(data: bytes, chance: random.Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = at + chance.randint(_SMALLEST, _LARGEST)
        yield data[at:end]
        at = end
