"""Checks a value against a JSON Schema as it was written, by the `jsonschema` library, within a bounded time."""

import logging
import time
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from langchain_kimi._redaction import redact

logger = logging.getLogger("langchain_kimi")

_REASONS_SHOWN = 5
_SECONDS = 1.0
"""The CPU time that one value may take. Patterns such as `(a|aa)+` would take years."""
_DEEPEST = 100
"""How deep a value may nest that is too deep for the validator."""

_deadline: ContextVar[float] = ContextVar("kimi_json_schema_deadline")


class SchemaCheck:
    """A JSON Schema under its `name`, for messages; its validator is made when the first value is checked.

    A schema that is invalid itself, that points to one elsewhere, or that takes too long checks nothing and is logged
    once; nothing is ever fetched. A pattern that is no regular expression is left out alone.
    """

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        self._name = name
        self._schema = schema
        self._validator: Any = ...

    def reasons(self, value: Any) -> str | None:
        """Why the value does not fit, as sentences with the path of each error; None where it fits."""
        token = _deadline.set(time.thread_time() + _SECONDS)
        try:
            if self._validator is ...:
                self._validator = self._made()
            if self._validator is None:
                return None
            errors = sorted(self._validator.iter_errors(value), key=lambda error: str(error.json_path))
        except Exception as error:  # some faults of a schema show only where it is applied
            if isinstance(error, RecursionError) and _is_deep(value):
                return "`$`: The value is nested too deeply."
            self._validator = None
            self._log(error)
            return None
        finally:
            _deadline.reset(token)
        if not errors:
            return None
        reasons = [f"`{error.json_path}`: {error.message[:300]}." for error in errors[:_REASONS_SHOWN]]
        if len(errors) > _REASONS_SHOWN:
            reasons.append(f"There are {len(errors) - _REASONS_SHOWN} more such errors.")
        return " ".join(reasons)

    def _made(self) -> Any:
        from jsonschema import Draft202012Validator, FormatChecker
        from jsonschema.validators import validator_for
        from referencing import Registry

        kind: Any = validator_for(self._schema, default=Draft202012Validator)
        kind.check_schema(self._schema, format_checker=FormatChecker(formats=()))
        # Where a reference leads back to the whole schema, `$schema` would bring the library's own keywords back.
        schema = {key: value for key, value in self._schema.items() if key != "$schema"}
        return _bounded(kind)(schema, registry=Registry())  # an empty registry fetches nothing

    def _log(self, error: Exception) -> None:
        why = redact(str(getattr(error, "message", error)))
        logger.warning("the schema of %s cannot be applied, so nothing is checked by it: %s", self._name, why)


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]
    return bool(level)


def _parts(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


@lru_cache(maxsize=16)
def _bounded(kind: Any) -> Any:
    """A validator class whose patterns and references end at the deadline."""
    from jsonschema import validators

    extend: Any = validators.extend
    apply_reference = kind.VALIDATORS["$ref"]

    def reference(validator: Any, target: Any, value: Any, schema: Any) -> Iterator[Any]:
        _left()
        yield from apply_reference(validator, target, value, schema) or ()

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties(kind.VALIDATORS["additionalProperties"]),
        "$ref": reference,
    }
    return extend(kind, own)


def _left() -> float:
    """The seconds until the deadline. Raises TimeoutError."""
    left = _deadline.get() - time.thread_time()
    if left <= 0:
        raise TimeoutError(f"A value took longer than {_SECONDS:g} second to check.")
    return left


def _matches(pattern: str, text: str, *, unreadable: bool) -> bool:
    """Whether the pattern matches anywhere in the text; `unreadable` is the answer for one that cannot be read."""
    compiled = _compiled(pattern)
    if compiled is None:
        return unreadable
    try:
        return compiled.search(text, timeout=_left()) is not None
    except TimeoutError:
        raise TimeoutError(f"The pattern {pattern[:100]!r} took longer than {_SECONDS:g} second.") from None


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> Any:
    import regex  # knows `\p{L}`, as JSON Schema's patterns do, and a timeout

    try:
        return regex.compile(pattern)
    except Exception as error:
        logger.warning("a schema's pattern %r is no regular expression and is not checked: %s", pattern[:100], error)
        return None


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _matches(pattern, value, unreadable=True):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    for pattern, subschema in patterns.items():
        for name, part in value.items():
            if _matches(pattern, name, unreadable=False):
                yield from validator.descend(part, subschema, path=name, schema_path=pattern)


def _additional_properties(apply: Any) -> Any:
    def check(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Any]:
        patterns = schema.get("patternProperties")
        if not patterns or not validator.is_type(value, "object"):
            yield from apply(validator, allowed, value, schema) or ()
            return
        # The library would match the names by Python's `re`, which has no timeout.
        names = [name for name in value if not any(_matches(each, name, unreadable=True) for each in patterns)]
        plain = {key: part for key, part in schema.items() if key != "patternProperties"}
        yield from apply(validator, allowed, {name: value[name] for name in names}, plain) or ()

    return check
