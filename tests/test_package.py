"""What importing costs, and which names and modules are public."""

import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import GenericAlias, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import langchain_kimi
import langchain_kimi.testing
from langchain_kimi import KimiError, catalogue, errors

ROOT = Path(__file__).parent.parent


def page(name: str) -> str:
    """The text of a page of the documentation."""
    return (ROOT / "docs" / f"{name}.md").read_text()


PUBLIC = re.findall(r"^\| `(langchain_kimi[\w.]*)` \|", page("versioning"), re.MULTILINE)
"""The modules that docs/versioning.md lists as public."""

HEAVY = (
    *("langgraph", "langchain", "langchain_core", "httpx2", "httpcore2", "rich", "vcr", "pytest"),
    *("langchain_openai", "openai"),
)


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import langchain_kimi") == set()


def test_importing_the_model_loads_neither_langgraph_nor_the_tools_of_tests() -> None:
    assert loaded_by("from langchain_kimi import ChatKimi") == {"langchain_core", "httpx2"}


def test_importing_agents_loads_nothing_of_langchain_but_its_core() -> None:
    assert "langchain" not in loaded_by("from langchain_kimi import create_kimi_agent, create_kimi_team")


def test_importing_the_server_loads_nothing_of_langchain() -> None:
    assert loaded_by("from langchain_kimi.testing import KimiServer") == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist(name: str) -> None:
    module = import_module(name)
    for public in module.__all__:
        assert getattr(module, public) is not None
        assert public in dir(module)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="ChatKimmi"):
        langchain_kimi.ChatKimmi  # noqa: B018


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_entry_in_the_reference(name: str) -> None:
    listed = set(re.findall(rf"^::: {name}\.(\w+)$", page("reference"), re.MULTILINE))
    listed -= {module.rpartition(".")[2] for module in PUBLIC}
    whole = f"::: {name}\n" in page("reference")  # one entry for all names of a module
    assert whole or listed == set(import_module(name).__all__)


def test_the_public_modules_are_those_with_a_section_in_the_reference() -> None:
    assert set(re.findall(r"^## (\S+)$", page("reference"), re.MULTILINE)) == set(PUBLIC)


def test_every_module_is_listed_as_public_or_as_internal_or_begins_with_an_underscore() -> None:
    modules = {f"langchain_kimi.{module.name}" for module in pkgutil.iter_modules(langchain_kimi.__path__)}
    text = page("versioning").rpartition("may change at any time")[2]
    internal = {f"langchain_kimi.{name}" for name in re.findall(r"`(\w+)`", text)}
    underscored = {module for module in modules if module.rpartition(".")[2].startswith("_")}
    assert modules - underscored == (set(PUBLIC) - {"langchain_kimi"}) | internal
    assert not internal & set(PUBLIC)


@pytest.mark.parametrize("path", [*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("examples/**/*.py")])
def test_docs_and_examples_import_from_public_modules_only(path: Path) -> None:
    imported = set(re.findall(r"(?:from|import) (langchain_kimi[\w.]*)", path.read_text()))
    assert imported <= set(PUBLIC)


def classes_in(hint: Any) -> Iterator[type]:
    """The classes in a type hint."""
    if isinstance(hint, list):
        for part in hint:
            yield from classes_in(part)
    elif isinstance(hint, type) and not isinstance(hint, GenericAlias):
        yield hint
    for part in get_args(hint):
        yield from classes_in(part)


def hinted(value: Any) -> Iterator[Any]:
    """A public function, or a public class with its public methods and properties."""
    if not isinstance(value, type):
        return
    yield value
    for name, member in vars(value).items():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            yield function


NEVER_NAMED = {
    "Clock",
    "HeldThread",
    "Declared",
    "Repeats",
    "RateLimitSlot",
    "SharedSlot",
    "TextFile",
    "CacheOptions",
    "Transport",
}
"""Classes in signatures that users neither create nor annotate."""


def test_the_signatures_of_public_names_show_public_types_only() -> None:
    public = {name: getattr(langchain_kimi, name) for name in langchain_kimi.__all__}
    known = {*public.values(), *(getattr(errors, name) for name in errors.__all__)} | {catalogue.Model}
    hidden = set()
    for name, value in public.items():
        if get_origin(value) is not None or isinstance(value, UnionType):
            hints = [value]  # an alias
        elif isinstance(value, type) and issubclass(value, KimiError):
            continue  # annotated with names that are imported for type checkers only
        else:
            functions = [value] if inspect.isfunction(value) else list(hinted(value))
            hints = [hint for function in functions for key, hint in get_type_hints(function).items() if key[0] != "_"]
        for cls in (cls for hint in hints for cls in classes_in(hint)):
            if cls.__module__.startswith("langchain_kimi") and cls not in known and cls.__name__ not in NEVER_NAMED:
                hidden.add((name, cls.__name__))
    assert hidden == set()
