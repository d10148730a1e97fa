"""YAML as a person reviews it: keys in their order, long text as blocks, one event a line.

The writer is our own because PyYAML's folds long lines and escapes every emoji; the reader is PyYAML's, in C where it
is built in.
"""

import json
import re
from typing import Any

from langchain_kimi.testing.pyyaml import load_pyyaml

yaml = load_pyyaml()
NotYaml: type[Exception] = yaml.YAMLError
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*\Z")
_WORDS = frozenset({"y", "n", "yes", "no", "true", "false", "on", "off", "null"})
_SPECIAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What YAML does not print, or reads as a line break although JSON does not."""
_BLANKS = re.compile(r"[ \t]$", re.MULTILINE)


def read(text: str) -> Any:
    """The document. Raises `NotYaml`, also for tags that would make objects."""
    return yaml.load(text, Loader=_LOADER)


def write(document: dict[str, Any]) -> str:
    """A document of JSON's types; `read` gives it back. Strings hold no lone surrogates."""
    lines: list[str] = []
    _mapping(document, "", "", lines)
    return "\n".join(lines) + "\n"


def _mapping(mapping: dict[str, Any], first: str, indent: str, lines: list[str]) -> None:
    lead = first
    for key, value in mapping.items():
        _value(value, f"{lead}{_line(key)}:", indent, indent, lines)
        lead = indent


def _value(value: Any, head: str, indent: str, own: str, lines: list[str]) -> None:
    """One value after `head`; `indent` is that of a list's dashes, `own` that of the collection it stands in."""
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
    """The header of a literal block; empty where the text cannot be one."""
    if "\n" not in text or _SPECIAL.search(text) or _BLANKS.search(text) or text.endswith("\n\n") or text == "\n":
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
    return _SPECIAL.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))
