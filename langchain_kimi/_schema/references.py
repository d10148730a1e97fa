"""References of a schema as people write it: where they point, how often, and which come back to themselves."""

from collections import Counter
from collections.abc import Iterator
from urllib.parse import unquote

from langchain_kimi._schema.subschema import SchemaValue


class References:
    """The local references of one schema, by normalised pointer; the root is the empty pointer."""

    def __init__(self, root: dict[str, SchemaValue]) -> None:
        self._root = root
        self._targets: dict[str, SchemaValue] = {}
        self._inner: dict[str, frozenset[str]] = {}
        self.uses = Counter(pointer for ref in _refs(root) if (pointer := self.pointer(ref)) is not None)

    def pointer(self, ref: object) -> str | None:
        """The pointer that a reference stands for; None if it is not local or points nowhere."""
        if not isinstance(ref, str) or not ref.startswith("#") or ref[1:2] not in ("", "/"):
            return None
        pointer = unquote(ref[1:])
        if pointer not in self._targets:
            target = self._find(pointer)
            if not isinstance(target, dict | bool):
                return None
            self._targets[pointer] = target
        return pointer

    def target(self, pointer: str) -> SchemaValue:
        """The schema at a pointer."""
        return self._targets[pointer]

    def recursive(self, pointer: str) -> bool:
        """Whether following references from the schema at a pointer leads back to it."""
        seen: set[str] = set()
        todo = list(self._within(pointer))
        while todo:
            if (at := todo.pop()) not in seen:
                seen.add(at)
                todo += self._within(at)
        return pointer in seen

    def _within(self, pointer: str) -> frozenset[str]:
        if pointer not in self._inner:
            pointers = (self.pointer(ref) for ref in _refs(self._targets[pointer]))
            self._inner[pointer] = frozenset(inner for inner in pointers if inner is not None)
        return self._inner[pointer]

    def _find(self, pointer: str) -> SchemaValue:
        at: SchemaValue = self._root
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(at, list) and key.isdecimal() and int(key) < len(at):
                at = at[int(key)]
            elif isinstance(at, dict):
                at = at.get(key)
            else:
                return None
        return at


def _refs(value: SchemaValue) -> Iterator[str]:
    """Every reference within a value."""
    stack = [value]
    while stack:
        at = stack.pop()
        if isinstance(at, dict):
            if isinstance(ref := at.get("$ref"), str):
                yield ref
            stack += [child for key, child in at.items() if isinstance(child, dict | list)]
        elif isinstance(at, list):
            stack += at


def slashed(value: SchemaValue) -> bool:
    """Whether a key within a value has a slash, which Kimi takes everywhere but in definitions."""
    if isinstance(value, dict):
        return any("/" in key or slashed(child) for key, child in value.items())
    return isinstance(value, list) and any(slashed(child) for child in value)
