"""JSON as Kimi writes it, and YAML as a person reviews it.

The YAML writer is our own because PyYAML's folds long lines and escapes every emoji: keys keep their order, long texts
are blocks, and each event of a stream has a line of its own. The reader is PyYAML's, in C where that is built in.
"""

import json
import re
from types import ModuleType
from typing import Any

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*\Z")
_WORDS = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null"})
_SPECIAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that YAML does not print, or reads as a line break although JSON does not."""
_TRAILING_BLANKS = re.compile(r"[ \t]$", re.MULTILINE)


def compact_json(value: Any) -> str:
    """JSON without spaces, with non-ASCII characters as they are."""
    return _ENCODER.encode(value)


def encode_json(value: object) -> bytes:
    """The bytes of `compact_json`. A lone surrogate, which no text can hold, is written as JSON's escape."""
    return compact_json(value).encode("utf-8", "backslashreplace")


def dicts_in(value: object) -> list[dict[str, Any]]:
    """The objects of a JSON array; an empty list for any other value."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def load_pyyaml() -> ModuleType:
    """The module `yaml`. Raises ImportError, which says what to install."""
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise ImportError(
            "Cassettes and scripts in YAML need PyYAML. Install it with `pip install 'langchain-kimi-agent[testing]'`."
        ) from error
    module: ModuleType = yaml
    return module


def parse_yaml(text: str) -> Any:
    """The document. Raises ValueError for invalid YAML, also for tags that would create Python objects."""
    yaml = load_pyyaml()
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error)) from error


def format_yaml(document: dict[str, Any]) -> str:
    """A document of JSON's types as YAML, from which `parse_yaml` restores it. Strings hold no lone surrogates."""
    lines: list[str] = []
    _mapping(document, "", "", lines)
    return "\n".join(lines) + "\n"


def _mapping(mapping: dict[str, Any], first: str, indent: str, lines: list[str]) -> None:
    lead = first
    for key, value in mapping.items():
        _value(value, f"{lead}{_line(key)}:", indent, indent, lines)
        lead = indent


def _value(value: Any, head: str, indent: str, own: str, lines: list[str]) -> None:
    """Adds one value after `head`.

    `indent` is the indentation of a list's dashes, `own` that of the surrounding collection.
    """
    if isinstance(value, dict) and value:
        lines.append(head)
        _mapping(value, f"{own}  ", f"{own}  ", lines)
    elif isinstance(value, list) and value:
        lines.append(head)
        for item in value:
            _item(item, indent, lines)
    elif isinstance(value, str) and (block := _block(value)):
        lines.append(f"{head} {block}")
        lines.extend(f"{own}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        lines.append(f"{head} {_line(value)}")


def _item(item: Any, indent: str, lines: list[str]) -> None:
    if isinstance(item, dict) and item:
        _mapping(item, f"{indent}- ", f"{indent}  ", lines)
    else:
        _value(item, f"{indent}-", f"{indent}  ", indent, lines)


def _block(text: str) -> str:
    """The header of a literal block; an empty string if the text cannot be one."""
    if (
        "\n" not in text
        or _SPECIAL.search(text)
        or _TRAILING_BLANKS.search(text)
        or text.endswith("\n\n")
        or text == "\n"
    ):
        return ""
    indicator = "2" if text[0] in " \t\n" else ""
    return f"|{indicator}{'' if text.endswith(chr(10)) else '-'}"


def _line(value: Any) -> str:
    """A scalar or an empty collection on one line."""
    if not isinstance(value, str):
        text = json.dumps(value)
        # YAML 1.1 knows no 1e-05: it wants a point.
        return text.replace("e", ".0e", 1) if isinstance(value, float) and "." not in text else text
    if _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    if "\n" not in value and not _SPECIAL.search(value):
        return "'" + value.replace("'", "''") + "'"
    return _SPECIAL.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))
