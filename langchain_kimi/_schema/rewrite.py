"""The one walk that rewrites a schema: read a subschema into a part, then say the part in Kimi's subset."""

import re

from langchain_kimi._schema.keywords import (
    ANY,
    FIELDS,
    HINTS,
    NOTES,
    RESERVED,
    SCALARS,
    fits,
    hinted,
    kinds_of,
    worded,
)
from langchain_kimi._schema.references import References, slashed
from langchain_kimi._schema.subschema import (
    ROOT,
    Change,
    Part,
    Report,
    SchemaNode,
    SchemaValue,
    admit,
    join,
    meet,
    take_apart,
)

_MOST_STEPS = 20_000
_MOST_ALTERNATIVES = 100


class TooLargeError(Exception):
    """Inlining and spreading made the schema grow without measure."""


def _at(path: str, *keys: object) -> str:
    return ".".join([path, *map(str, keys)]) if path else ".".join(map(str, keys))


class Walk:
    """One rewriting of one schema; `opened` are the recursive pointers expanded on the way down to a node."""

    def __init__(self, root: SchemaNode, *, inlining: bool) -> None:
        self.changes: list[Change] = []
        self.problems: list[tuple[str, str]] = []
        self._root = root
        self._inlining = inlining
        self._references = References(root)
        self._names: dict[str, str] = {}
        self._defs: SchemaNode = {}
        self._kept: dict[str, bool] = {}
        self._steps = 0

    def root(self) -> SchemaNode:
        """The whole schema as one object with its definitions."""
        part = self._read(self._root, "", frozenset())
        choices = [] if part is None else self._alternatives(part, "", frozenset())
        objects = [choice for choice in choices if "object" in self._kinds(choice, ("object",))]
        if not objects:
            self.problems.append((ROOT, "no object meets the schema"))
            return {}
        if len(objects) < len(choices):
            self._note("", "root_to_object", "alternatives that are no objects were dropped from the root")
        whole = objects[0]
        if len(objects) > 1:
            self._note("", "root_union_to_object", "alternatives at the root became one object with all properties")
            whole = join(objects)
        if part is not None and len(choices) > 1:
            whole.words = [*part.words, *(word for word in whole.words if word not in part.words)]
            whole.fields = {**whole.fields, **part.notes}
        outcome = self._object_root(whole)
        if isinstance(own_id := self._root.get("$id"), str):
            outcome["$id"] = own_id
        if self._defs:
            outcome["$defs"] = self._defs
        order = {"type": -1} | {key: at for at, key in enumerate(self._root)}
        return dict(sorted(outcome.items(), key=lambda item: order.get(item[0], len(order))))

    def _object_root(self, whole: Part) -> SchemaNode:
        if self._root.get("type") != "object":
            self._note("", "root_to_object", "the root became an object")
        fields = {**whole.fields, "type": ("object",)}
        if "properties" not in fields:
            fields["properties"] = {}
        written = self._write(Part(fields, [], whole.words, None, whole.opened), "", frozenset())
        if written is None:
            self.problems.append((ROOT, "no object meets the schema"))
        return written or {}

    def _note(self, path: str, rule: str, detail: str) -> None:
        self.changes.append(Change(path or ROOT, rule, detail))

    def _reporter(self, path: str) -> Report:
        return lambda rule, detail: self._note(path, rule, detail)

    # --- reading

    def _walk(self, node: SchemaValue, path: str, opened: frozenset[str]) -> SchemaNode | None:
        part = self._read(node, path, opened)
        return None if part is None else self._write(part, path, opened)

    def _read(self, node: SchemaValue, path: str, opened: frozenset[str]) -> Part | None:
        """A subschema as a part; None if nothing meets it."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise TooLargeError
        if node is False:
            return None
        if not isinstance(node, dict):
            if node is not True:
                self._note(path, "malformed_schema_to_any", "what stands here is no schema and was read as any value")
            return Part()
        part: Part | None = take_apart(node, self._reporter(path))
        members = node["allOf"] if isinstance(node.get("allOf"), list) else []
        for at, member in enumerate(members):
            here = _at(path, "allOf", at)
            part = self._both(part, self._read(member, here, opened), here, opened)
        if members:
            self._note(path, "all_of_merged", "the parts of allOf were merged into one schema")
        if "$ref" in node:
            part = self._both(part, self._reference(node, path, opened), path, opened)
        if part is None:
            self._note(path, "contradiction_found", "no value meets all parts of this schema")
        return part

    def _both(self, a: Part | None, b: Part | None, path: str, opened: frozenset[str]) -> Part | None:
        """The meeting of two parts; a reference is expanded unless only notes stand beside it."""
        if a is None or b is None:
            return None
        for one, other in ((a, b), (b, a)):
            if one.ref is not None and (other.open or other.ref == one.ref):
                met = meet(a, b)
                return met and Part(met.fields, [], met.words, one.ref, met.opened)
        a, b = self._expanded(a, path, opened), self._expanded(b, path, opened)
        if (reference := a.ref or b.ref) is not None:
            self._note(
                path, "constraint_beside_recursion_dropped", "constraints beside a recursive reference were dropped"
            )
            return Part(a.notes | b.notes, [], a.words + b.words, reference, a.opened | b.opened)
        return meet(a, b)

    def _reference(self, node: SchemaNode, path: str, opened: frozenset[str]) -> Part | None:
        """The part that a reference stands for: its target's, or a reference that stays."""
        pointer = self._references.pointer(node["$ref"])
        if pointer is None:
            self.problems.append(
                (_at(path, "$ref"), f"only references into the schema itself are supported: {node['$ref']!r}")
            )
            return Part()
        alone = not node.keys() - {"$ref", "$defs", "definitions"}
        if self._keeps(pointer, alone=alone):
            return Part(ref=pointer)
        self._note(path, "ref_inlined", f"{node['$ref']} was written out here")
        return self._read(self._references.target(pointer), path, opened)

    def _keeps(self, pointer: str, *, alone: bool) -> bool:
        if pointer not in self._kept:
            self._kept[pointer] = self._references.recursive(pointer)
        if self._kept[pointer]:
            return True
        shared = self._references.uses[pointer] > 1 and (alone or not self._inlining)
        return shared and not slashed(self._references.target(pointer))

    def _expanded(self, part: Part, path: str, opened: frozenset[str]) -> Part:
        """A part whose reference is written out, unless that is under way already."""
        if part.ref is None or part.ref in opened | part.opened:
            return part
        pointer = part.ref
        target = self._read(self._references.target(pointer), path, opened | {pointer})
        if target is None:
            return part
        self._note(path, "ref_inlined", f"#{pointer} was written out here, to be combined with what stands beside it")
        met = meet(Part(part.fields, [], part.words), target) or target
        return self._expanded(
            Part(met.fields, met.unions, met.words, target.ref, met.opened | part.opened | {pointer}), path, opened
        )

    def _alternatives(self, part: Part, path: str, opened: frozenset[str]) -> list[Part]:
        """The parts without unions and references that a part amounts to."""
        part = self._expanded(part, path, opened)
        if part.ref is not None:
            self.problems.append((path or ROOT, "detected infinite recursion without termination condition"))
            return []
        if not part.unions:
            return [part]
        (keyword, branches), *others = part.unions
        rest = Part(part.fields, others, part.words, None, part.opened)
        alternatives: list[Part] = []
        for at, branch in enumerate(branches):
            here = _at(path, keyword, at)
            met = self._both(rest, self._read(branch, here, opened), here, opened | part.opened)
            alternatives += [] if met is None else self._alternatives(met, here, opened | part.opened)
            if len(alternatives) > _MOST_ALTERNATIVES:
                raise TooLargeError
        return alternatives

    # --- saying

    def _write(self, part: Part, path: str, opened: frozenset[str]) -> SchemaNode | None:
        """A part in Kimi's subset; None if nothing meets it."""
        opened |= part.opened
        if part.ref is not None:
            core: SchemaNode = {"$ref": self._define(part.ref)}
            if not part.fields and not part.words:
                return core
            self._note(
                path, "ref_siblings_wrapped", "what stood beside a reference now stands beside an anyOf around it"
            )
            return self._with_notes(part, {"anyOf": [core]})
        if part.unions:
            return self._write_union(part, path, opened)
        kinds = self._kinds(part, ANY)
        if "type" not in part.fields:
            self._note_inferred(part, kinds, path)
        if "enum" in part.fields:
            return self._write_enum(part, kinds, path, opened)
        return self._write_kinds(part, kinds, path, opened)

    def _kinds(self, part: Part, default: tuple[str, ...]) -> tuple[str, ...]:
        """The JSON types of a part, inferred where none is written."""
        if "type" in part.fields:
            return tuple(part.fields["type"])
        if "enum" in part.fields:
            return kinds_of(part.fields["enum"])
        return hinted([*part.fields.items(), *part.words]) or default

    def _note_inferred(self, part: Part, kinds: tuple[str, ...], path: str) -> None:
        if kinds == ANY:
            self._note(path, "any_value_spelt_out", "a schema for any value names all types")
        else:
            self._note(path, "type_inferred", f"the type was inferred: {', '.join(kinds)}")

    def _write_union(self, part: Part, path: str, opened: frozenset[str]) -> SchemaNode | None:
        """An anyOf with everything beside it but notes spread over its branches."""
        (keyword, branches), *others = part.unions
        rest = Part(part.without_notes().fields, others, [], None, part.opened)
        written: list[SchemaNode] = []
        for at, branch in enumerate(branches):
            here = _at(path, keyword, at)
            read = self._read(branch, here, opened)
            met = read if rest.open else self._both(rest, read, here, opened)
            node = None if met is None else self._write(met, here, opened)
            if node is None:
                self._note(here, "impossible_branch_dropped", "no value meets this branch and what stands beside it")
                continue
            if "default" in part.fields and "default" in node:
                self._note(here, "branch_default_dropped", "the default beside anyOf counts, not the branch's")
                del node["default"]
            written.append(node)
        if "type" in rest.fields:
            self._note(path, "type_pushed_into_anyof", "the type beside anyOf moved into its branches")
        if rest.fields.keys() - {"type"} or others:
            self._note(path, "siblings_pushed_into_anyof", "constraints beside anyOf moved into its branches")
        return self._with_notes(part, {"anyOf": written}) if written else None

    def _write_enum(self, part: Part, kinds: tuple[str, ...], path: str, opened: frozenset[str]) -> SchemaNode | None:
        """An enum whose values are all of its type, one branch a type where there are several."""
        values = part.fields["enum"]
        if not any(fits(value, kind) for value in values for kind in kinds):
            kinds = kinds_of(values)
            self._note(path, "type_from_enum", f"no value of the enum is of its type, which became {', '.join(kinds)}")
        groups: dict[str, list[SchemaValue]] = {kind: [] for kind in kinds}
        for value in values:
            home = next((kind for kind in kinds if fits(value, kind)), None)
            if home is None:
                self._note(path, "enum_value_dropped", f"the enum value {value!r} is of none of the types")
            else:
                groups[home].append(value)
        fitting = [value for value in values if any(fits(value, kind) for kind in kinds)]
        if len(kinds) == 2 and "null" in kinds and SCALARS & set(kinds) and not part.fields.keys() & HINTS.keys():
            # The server tries the types in turn and gives up on null at a number: "not a valid integer".
            ordered = sorted(kinds, key=lambda kind: kind != "null") if {"integer", "number"} & set(kinds) else kinds
            return self._with_notes(part, {"type": list(ordered), "enum": fitting})
        groups = {kind: group for kind, group in groups.items() if group}
        if len(groups) == 1:
            ((kind, group),) = groups.items()
            return self._write_kind(part, kind, group, path, opened)
        self._note(path, "enum_split_by_type", "the enum was split into one branch a type")
        bare = part.without_notes()
        branches = [self._write_kind(bare, kind, group, path, opened) for kind, group in groups.items()]
        return self._with_notes(part, {"anyOf": [branch for branch in branches if branch is not None]})

    def _write_kinds(self, part: Part, kinds: tuple[str, ...], path: str, opened: frozenset[str]) -> SchemaNode | None:
        """A schema of one type, or of several: a list where only notes stand beside it, else one branch a type."""
        if len(kinds) == 1:
            return self._write_kind(part, kinds[0], None, path, opened)
        if part.fields.keys() <= {"type", "title", "description"}:
            return self._with_notes(part, {"type": list(kinds)})
        self._note(path, "types_split_into_anyof", "the types were split into one branch each")
        bare = part.without_notes()
        branches = [self._write_kind(bare, kind, None, path, opened) for kind in kinds]
        written = [branch for branch in branches if branch is not None]
        return self._with_notes(part, {"anyOf": written}) if written else None

    def _write_kind(
        self, part: Part, kind: str, enum: list[SchemaValue] | None, path: str, opened: frozenset[str]
    ) -> SchemaNode | None:
        """A schema of one type with what applies to that type."""
        core: SchemaNode = {"type": kind}
        fields, words = part.fields, list(part.words)
        if kind == "object":
            fields = self._object_fields(fields, words, path)
        for keyword, value in fields.items():
            if keyword == "enum":
                core["enum"] = enum
            elif keyword == "properties" and kind == "object":
                core["properties"] = self._write_properties(value, words, path, opened)
            elif keyword in FIELDS.get(kind, ()):
                written = self._write_field(keyword, value, path, opened)
                core |= written
            elif keyword in HINTS and len(fields.get("type", ())) == 1:
                self._note(path, "irrelevant_keyword_dropped", f"{keyword} says nothing about type {kind}")
        if kind == "object" and any(core["properties"].get(name, 0) is None for name in core.get("required", ())):
            return None
        if "properties" in core:
            core["properties"] = {name: child for name, child in core["properties"].items() if child is not None}
        return self._with_notes(Part(fields, [], words), core)

    def _write_field(self, keyword: str, value: SchemaValue, path: str, opened: frozenset[str]) -> SchemaNode:
        if keyword == "additionalProperties" and isinstance(value, dict) and value:
            written = self._walk(value, _at(path, keyword), opened)
            return {keyword: False if written is None else written}
        if keyword == "items":
            written = self._walk(value, _at(path, keyword), opened)
            if written is None:
                self._note(path, "impossible_items_to_max", "an array whose items nothing meets is empty")
                return {"maxItems": 0}
            return {keyword: written}
        return {keyword: value}

    def _object_fields(self, fields: SchemaNode, words: list[tuple[str, SchemaValue]], path: str) -> SchemaNode:
        """The fields of an object with names that Kimi refuses taken out and required names declared."""
        properties = fields.get("properties", {})
        rest = fields.get("additionalProperties", True)
        if reserved := {name: properties[name] for name in properties if name in RESERVED}:
            self._note(path, "reserved_name_to_description", f"Kimi takes no property named {', '.join(reserved)}")
            words.append(("also takes", reserved))
            properties = {name: child for name, child in properties.items() if name not in reserved}
            fields = {**fields, "properties": properties}
            if rest is not True:
                fields["additionalProperties"] = admit(list(reserved.values()), rest)
        names = fields.get("required", [])
        unknown = [name for name in names if name not in properties and name not in reserved]
        if unknown and rest is not False:
            self._note(path, "required_property_declared", f"required but not declared: {', '.join(unknown)}")
            added = {name: rest for name in unknown if name not in RESERVED}
            fields = {**fields, "properties": {**properties, **added}}
        elif unknown:
            self._note(path, "required_name_dropped", f"required but not allowed: {', '.join(unknown)}")
        if any(name not in fields.get("properties", {}) for name in names):
            fields = {**fields, "required": [name for name in names if name in fields.get("properties", {})]}
        return fields

    def _write_properties(
        self, properties: SchemaNode, words: list[tuple[str, SchemaValue]], path: str, opened: frozenset[str]
    ) -> SchemaNode:
        """The schemas of the properties; None for one that may not be there, which is left to words."""
        written: SchemaNode = {
            name: self._walk(child, _at(path, "properties", name), opened) for name, child in properties.items()
        }
        if absent := [name for name, child in written.items() if child is None]:
            self._note(path, "impossible_property_dropped", f"nothing meets the property {', '.join(absent)}")
            words.append(("must be absent", ", ".join(absent)))
        return written

    def _with_notes(self, part: Part, core: SchemaNode) -> SchemaNode:
        """A part with its notes, in the order in which they stood."""
        out: SchemaNode = {}
        for key, value in part.fields.items():
            if key in NOTES:
                out[key] = value
            elif core.keys() - out.keys():
                out |= core
        if core.keys() - out.keys():
            out = core | out
        if part.words:
            out["description"] = worded(out.get("description"), part.words)
        return out

    # --- definitions

    def _define(self, pointer: str) -> str:
        """The reference to a definition, which is written on first use; the root keeps its own."""
        if not pointer:
            return "#"
        if pointer not in self._names:
            own = re.sub(r"[^\w.-]", "_", pointer.rsplit("/", 1)[-1]) or "schema"
            name, number = own, 1
            while name in self._defs:
                number += 1
                name = f"{own}_{number}"
            if f"/$defs/{name}" != pointer:
                self._note(pointer[1:].replace("/", "."), "definition_hoisted", f"this is now #/$defs/{name}")
            self._names[pointer], self._defs[name] = name, {}
            written = self._walk(self._references.target(pointer), pointer[1:].replace("/", "."), frozenset({pointer}))
            self._defs[name] = {"type": list(ANY)} if written is None else written
        return f"#/$defs/{self._names[pointer]}"
