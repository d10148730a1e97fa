"""Checks a value against a JSON Schema as it was written, by the `jsonschema` library."""

import logging
from typing import Any

from langchain_kimi.redaction import redact

logger = logging.getLogger("langchain_kimi")

_REASONS_SHOWN = 5


class SchemaCheck:
    """A JSON Schema under its `name`, for messages; its validator is made when the first value is checked.

    A schema that is invalid itself, or that points to one elsewhere, checks nothing and is logged once; nothing is ever
    fetched.
    """

    def __init__(self, name: str, schema: dict[str, Any]) -> None:
        self._name = name
        self._schema = schema
        self._validator: Any = ...

    def reasons(self, value: Any) -> str | None:
        """Why the value does not fit, as sentences with the path of each error; None where it fits."""
        if self._validator is ...:
            self._validator = self._made()
        if self._validator is None:
            return None
        try:
            errors = sorted(self._validator.iter_errors(value), key=lambda error: str(error.json_path))
        except Exception as error:  # a reference that leads nowhere shows only where it is followed
            self._validator = None
            self._log(error)
            return None
        if not errors:
            return None
        reasons = [f"`{error.json_path}`: {error.message[:300]}." for error in errors[:_REASONS_SHOWN]]
        if len(errors) > _REASONS_SHOWN:
            reasons.append(f"There are {len(errors) - _REASONS_SHOWN} more such errors.")
        return " ".join(reasons)

    def _made(self) -> Any:
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        kind = validator_for(self._schema, default=Draft202012Validator)
        try:
            kind.check_schema(self._schema)
        except SchemaError as error:
            self._log(error)
            return None
        return kind(self._schema, registry=Registry())  # an empty registry fetches nothing

    def _log(self, error: Exception) -> None:
        why = redact(str(getattr(error, "message", error)))
        logger.warning("the schema of %s cannot be applied, so nothing is checked by it: %s", self._name, why)
