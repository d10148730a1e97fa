"""What importing costs, and that the public names are there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_kimi
import langchain_kimi.testing

HEAVY = ("langgraph", "langchain_core", "httpx2", "rich", "vcr", "pytest", "langchain_openai", "openai")


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import langchain_kimi") == set()


def test_importing_the_model_loads_neither_langgraph_nor_the_tools_of_tests() -> None:
    assert loaded_by("from langchain_kimi import ChatKimi") == {"langchain_core", "httpx2"}


def test_importing_the_server_loads_nothing_of_langchain() -> None:
    assert loaded_by("from langchain_kimi.testing import KimiServer") == set()


@pytest.mark.parametrize("module", [langchain_kimi, langchain_kimi.testing])
def test_public_names_exist(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        assert getattr(module, name) is not None
        assert name in dir(module)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="ChatKimmi"):
        langchain_kimi.ChatKimmi  # noqa: B018


@pytest.mark.parametrize("module", [langchain_kimi, langchain_kimi.testing])
def test_every_public_name_has_an_entry_in_the_reference(module: object) -> None:
    reference = (Path(__file__).parent.parent / "docs" / "reference.md").read_text()
    listed = set(re.findall(rf"^::: {module.__name__}\.(\w+)$", reference, re.MULTILINE))  # type: ignore[attr-defined]
    assert listed - {"errors"} == set(module.__all__)  # type: ignore[attr-defined]
