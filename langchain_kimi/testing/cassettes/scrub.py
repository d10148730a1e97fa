"""Removes secrets from recorded bodies, and finds those that remain."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from langchain_kimi.testing.cassettes.bodies import PackedBody, event_data, unpack_body
from langchain_kimi.testing.cassettes.secret_values import Secrets
from langchain_kimi.testing.serialization import compact_json

_OWNER_FIELDS = frozenset(
    {"organization_id", "organisation_id", "organization", "org_id", "project_id", "account_id", "api_key"}
)
"""Fields of responses that name the owner of the key."""
_OWNER_MASK = "<secret:account>"

LeafPath = tuple[Any, ...]


def learn_bodies(secrets: Secrets, *bodies: PackedBody) -> None:
    """Adds the secrets in bodies. Raises CassetteError if the detector is not installed."""
    for body in bodies:
        secrets.learn_texts(searchable_texts(body))


def scrub_body(packed: PackedBody, secrets: Secrets, *, is_response: bool = False) -> PackedBody:
    """A packed body without secrets. `scrub_stream` has to scrub a stream before it is packed."""
    if "json" in packed:
        return {"json": _scrub_json(packed["json"], secrets, is_response)}
    if "text" in packed:
        return {"text": secrets.mask(packed["text"])}
    if "base64" in packed:
        data = base64.b64decode(packed["base64"]).decode("latin-1")
        return {"base64": base64.b64encode(secrets.mask(data).encode("latin-1")).decode()}
    return packed


def scrub_stream(text: str, secrets: Secrets) -> str:
    """The text of an event stream without secrets, also those that are split over several events."""
    blocks = text.split("\n\n")
    events = [_parse_event(block) for block in blocks]
    changed: set[int] = set()
    for leaves in _event_texts(events).values():
        spans = secrets.spans("".join(holder[key] for _, holder, key in leaves))
        if spans:
            changed |= _replace_spans(leaves, spans)
    for number, event in enumerate(events):
        if event is not None and _mask_owners(event):
            changed.add(number)
    for number in changed:
        spaced = '": ' in blocks[number]
        blocks[number] = "data: " + (
            json.dumps(events[number], ensure_ascii=False) if spaced else compact_json(events[number])
        )
    return "\n\n".join(secrets.mask(block) for block in blocks)


def remaining_secrets(packed: PackedBody, text: str, secrets: Secrets) -> list[str]:
    """Where a body that is to be written as `text` still contains a secret. The values are never shown."""
    locations = ["as it is written"] if secrets.occur_in(text) else []
    if "events" in packed:
        events = [_parse_event(f"data: {data}") for data in event_data(packed)]
        for path, leaves in _event_texts(events).items():
            joined = "".join(holder[key] for _, holder, key in leaves)
            if secrets.occur_in(joined) or secrets.occur_in(_unescape(joined)):
                keys = ".".join(str(key) for key in path if not isinstance(key, tuple))
                locations.append(f"in the stream's {keys}")
    elif "base64" in packed:
        if secrets.occur_in(unpack_body(packed).decode("latin-1")):
            locations.append("in its bytes")
    elif "json" in packed:
        strings = _strings(packed["json"], "$")
        locations += [f"at {path}" for path, value in strings if secrets.occur_in(_unescape(value))]
    return locations


def searchable_texts(packed: PackedBody) -> Iterator[str]:
    """The texts of a body for the detector: decoded strings, and JSON with values beside the names of their fields."""
    if "events" in packed:
        events = [_parse_event(f"data: {data}") for data in event_data(packed)]
        joined = ["".join(holder[key] for _, holder, key in leaves) for leaves in _event_texts(events).values()]
        texts = [text for part in joined for text in (part, _unescape(part))]
        yield from dict.fromkeys(texts)
        yield "\n".join(event_data(packed))
    elif "json" in packed:
        for part in _body_parts(packed["json"]):
            yield compact_json(part)
            yield "\n".join(_unescape(text) for _, text in _strings(part, ""))
    else:
        yield unpack_body(packed).decode("utf-8", "replace")


def _body_parts(value: Any) -> Iterator[Any]:
    """A body in parts. A message that is repeated in each request is the same part each time, and searched once."""
    if isinstance(value, dict):
        lists = {key: item for key, item in value.items() if isinstance(item, list)}
        yield {key: item for key, item in value.items() if key not in lists}
        for items in lists.values():
            yield from items
    else:
        yield value


def _scrub_json(value: Any, secrets: Secrets, is_response: bool) -> Any:
    if isinstance(value, str):
        return secrets.mask(value)
    if isinstance(value, list):
        return [_scrub_json(item, secrets, is_response) for item in value]
    if not isinstance(value, dict):
        return value
    scrubbed = {secrets.mask(key): _scrub_json(item, secrets, is_response) for key, item in value.items()}
    if is_response:
        owners = {key for key in _OWNER_FIELDS & scrubbed.keys() if isinstance(scrubbed[key], str)}
        scrubbed |= dict.fromkeys(owners, _OWNER_MASK)
    return scrubbed


def _mask_owners(event: Any) -> bool:
    """Masks the owner fields of an event in place; whether there were any."""
    owners = (
        [key for key in _OWNER_FIELDS & event.keys() if isinstance(event[key], str)] if isinstance(event, dict) else []
    )
    for key in owners:
        event[key] = _OWNER_MASK
    return bool(owners)


def _parse_event(block: str) -> Any:
    """The JSON of an event; None for any other block."""
    if not block.startswith("data: {"):
        return None
    try:
        return json.loads(block[6:])
    except (ValueError, RecursionError):
        return None


def _event_texts(events: list[Any]) -> dict[LeafPath, list[tuple[int, Any, Any]]]:
    """Every string of the events as event number, container and key. The deltas of one field are together, in order."""
    texts: dict[LeafPath, list[tuple[int, Any, Any]]] = {}
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            continue
        for path, holder, key in _leaves(event, (event.get("index"), event.get("output_index"))):
            field = path if "delta" in path else ((number,), *path)
            texts.setdefault(field, []).append((number, holder, key))
    return texts


def _leaves(value: Any, path: LeafPath) -> Iterator[tuple[LeafPath, Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        step = item.get("index", key) if isinstance(value, list) and isinstance(item, dict) else key
        if isinstance(item, str):
            yield (*path, step), value, key
        elif isinstance(item, dict | list):
            yield from _leaves(item, (*path, step))


def _replace_spans(leaves: list[tuple[int, Any, Any]], spans: list[tuple[int, int, str]]) -> set[int]:
    """Replaces each secret by its mask, which goes to where the secret begins; the numbers of the changed events."""
    changed: set[int] = set()
    at = 0
    for number, holder, key in leaves:
        text = holder[key]
        overlapping = [span for span in spans if span[0] < at + len(text) and span[1] > at]
        result, position = "", 0
        for start, end, mask in overlapping:
            result += text[position : max(start - at, 0)] + (mask if start >= at else "")
            position = min(end - at, len(text))
        if overlapping:
            holder[key] = result + text[position:]
            changed.add(number)
        at += len(text)
    return changed


def _strings(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every string of a JSON value, keys included, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}", key
            yield from _strings(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _strings(item, f"{path}[{index}]")


def _unescape(text: str) -> str:
    """The strings of the JSON in a text, without its escapes, which could hide a secret; any other text unchanged."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return "\n".join(part for _, part in _strings(json.loads(text), ""))
    except (ValueError, RecursionError):
        return text
