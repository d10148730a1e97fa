"""References in a Moonshot-flavoured schema: they resolve, expand without conflict, stand where they may, and end."""

from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]
SchemaNodes = Callable[[Schema], Iterator[tuple[str, Schema, int]]]
SchemaPath = tuple[str, ...]

_NOTES = frozenset({"description", "title"})
_HOMES = frozenset({"items", "additionalProperties", "anyOf"})


def resolve(root: Schema, ref: str) -> Schema | None:
    """The subschema that a local reference points to; None if it points nowhere."""
    target: object = root
    for part in ref.removeprefix("#").split("/")[1:]:
        if not isinstance(target, dict):
            return None
        target = target.get(part)
    return target if isinstance(target, dict) and (ref == "#" or ref.startswith("#/$defs/")) else None


def reaches(nodes: SchemaNodes, root: Schema) -> int:
    """How many levels of properties lie below the root when its references are followed; a cycle counts once."""
    depths: dict[str, int] = {}

    def reach(schema: Schema) -> int:
        return max(depth + below(node.get("$ref")) for _, node, depth in nodes(schema))

    def below(ref: object) -> int:
        if not isinstance(ref, str) or ref == "#":
            return 0
        if ref not in depths:
            depths[ref] = 0
            target = resolve(root, ref)
            depths[ref] = reach(target) if target else 0
        return depths[ref]

    return reach(root)


def reference_problems(root: Schema) -> Iterator[tuple[str, str]]:
    """What is wrong with references that resolve, those within `$defs` aside."""
    endless = not _ends(root, root, set())
    for position, node, optional in _walk(root):
        if "$ref" not in node:
            continue
        path = ".".join(position)
        target = _expand(root, node["$ref"])
        if target is None:  # only under a keyword that nothing else looks into, like `not`
            yield "$ref", "only local references are supported"
            continue
        yield from ((path, message) for message in _conflicts(node, target))
        if len(position) > 1 and position[-1] not in _HOMES and position[-2] != "properties":
            yield path, "$ref is not allowed in this schema."
        if endless and not optional and not _ends(target, root, set()):
            yield path, "detected infinite recursion without termination condition"


def _walk(root: Schema) -> Iterator[tuple[SchemaPath, Schema, bool]]:
    """Every object within a schema except definitions, with its position and whether an instance can do without it."""
    stack: list[tuple[SchemaPath, Schema, bool]] = [((), root, False)]
    while stack:
        position, node, optional = stack.pop()
        yield position, node, optional
        children: list[tuple[SchemaPath, Schema, bool]] = []
        for key, child in node.items():
            if isinstance(child, dict) and key != "$defs":
                spare = key == "additionalProperties" or (key == "properties" and node.get("required") == [])
                children.append(((*position, key), child, optional or spare))
            elif key == "anyOf" and isinstance(child, list):
                children += [((*position, key), branch, optional) for branch in child if isinstance(branch, dict)]
        stack += reversed(children)


def _expand(root: Schema, ref: object) -> Schema | None:
    """The target of a reference; a target that is itself only a reference with notes is followed on."""
    notes: Schema = {}
    followed: set[str] = set()
    while isinstance(ref, str):
        followed.add(ref)
        target = resolve(root, ref)
        if target is None:
            return None
        ref = target.get("$ref")
        if ref is None or target.keys() - _NOTES - {"$ref"} or ref in followed:
            return target | notes
        notes = {key: target[key] for key in target.keys() & _NOTES} | notes
    return None


def _conflicts(node: Schema, target: Schema) -> Iterator[str]:
    """What stands beside a reference and also in its target."""
    beside = node.keys() - {"$ref"}
    if both := sorted(beside & target.keys()):
        yield f"conflicting keywords found after $ref expansion: {', '.join(both)}"
    if ("type" in node and "anyOf" in target) or ("type" in target and "anyOf" in node):
        yield (
            "invalid schema after $ref expansion: (when using anyOf, type should be defined in anyOf items instead of "
            "the parent schema)"
        )
    branches = target.get("anyOf")
    for branch in branches if isinstance(branches, list) else ():
        if isinstance(branch, dict) and (both := sorted((beside - _NOTES - {"anyOf"}) & branch.keys())):
            yield (
                f"conflicting keywords found in anyOf after ref expansion: keywords ({', '.join(both)}) are defined "
                'alongside "$ref" and inside anyOf in the referenced schema; define them in only one place'
            )


def _ends(node: object, root: Schema, followed: set[str]) -> bool:
    """Whether some finite value satisfies a schema, as far as the server looks: one way out of an object is enough."""
    if not isinstance(node, dict):
        return False
    kind = node.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if any(name not in (None, "object", "array") for name in kinds):
        return True
    if "array" in kinds and (not node.get("items") or _ends(node["items"], root, followed)):
        return True
    if "object" in kinds:
        required, properties = node.get("required"), node.get("properties")
        if not required or not properties:
            return True
        if any(_ends(properties[name], root, followed) for name in properties if name in required):
            return True
    branches = node.get("anyOf")
    if isinstance(branches, list) and any(_ends(branch, root, followed) for branch in branches):
        return True
    ref = node.get("$ref")
    if not isinstance(ref, str) or ref in followed:
        return False
    followed.add(ref)
    return _ends(resolve(root, ref), root, followed)
