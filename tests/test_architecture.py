"""The architecture and contributing pages name files that exist, and every module of the package."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "langchain_kimi"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PATH = re.compile(r"(?:langchain_kimi|tests|docs|examples|\.ci)/[\w./-]*")


def rows(text: str) -> list[list[str]]:
    """The cells of the tables of a text, without their heads."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def modules(package: str) -> set[str]:
    """The modules of a package, by their names below it."""
    folder = PACKAGE / package.replace(".", "/")
    return {path.stem for path in folder.glob("*.py") if path.stem != "__init__"} if folder.is_dir() else set()


PACKAGES, _, TEST_KIT = ARCHITECTURE.partition("\n## The test kit\n")
DESCRIBED = {name: " ".join(row) for row in rows(PACKAGES) for name in names(row[0])}
"""Each package and module of the first table with its row."""


WHOLE = {"benchmarks", "frameworks", "secrets", "soak", "vendor", "versions", "chat_model/standard"}
"""Folders of tests about more than one package."""


def test_the_folders_of_the_tests_mirror_the_packages() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    packages = {path.parent.relative_to(PACKAGE).as_posix().removeprefix("_") for path in PACKAGE.rglob("__init__.py")}
    assert folders - packages - WHOLE == set()


def test_no_test_file_imports_from_another() -> None:
    imports = re.compile(r"^from tests\.(?:\w+\.)*test_\w+ import", re.MULTILINE)
    assert [path.name for path in (ROOT / "tests").rglob("*.py") if imports.search(path.read_text())] == []


@pytest.mark.parametrize(
    "page", [".ci/run", "CONTRIBUTING.md", "docs/architecture.md", "docs/contributing.md", "docs/guarantees.md"]
)
def test_every_path_that_is_named_exists(page: str) -> None:
    named = {match.rstrip(".") for match in PATH.findall((ROOT / page).read_text())}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_contributing_page_names_the_files_of_each_change() -> None:
    steps = (ROOT / "docs" / "contributing.md").read_text().partition("## Five changes, step by step")[2]
    changes = steps.split("\n### ")[1:]
    assert len(changes) == 5
    for change in changes:
        assert {path.partition("/")[0] for path in PATH.findall(change)} >= {"langchain_kimi", "tests", "docs"}


def test_the_table_has_a_row_for_every_package_and_module_and_no_other() -> None:
    top = modules("") - {"__main__"} | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    below_agent = {f"agent.{path.parent.name}" for path in (PACKAGE / "agent").glob("*/__init__.py")}
    assert set(DESCRIBED) == top | below_agent


@pytest.mark.parametrize("package", [name for name in DESCRIBED if modules(name) and name not in ("cli", "testing")])
def test_the_row_of_a_package_names_all_its_modules(package: str) -> None:
    assert modules(package) - set(names(DESCRIBED[package])) == set()


def test_the_table_of_the_test_kit_names_all_its_modules() -> None:
    listed = [name for row in rows(TEST_KIT) for name in names(row[0])]
    mentioned = [name for row in rows(TEST_KIT) for name in names(row[1])]
    parts = {f"{part}.{name}" for part in ("api", "script", "cassettes") for name in modules(f"testing.{part}")}
    assert set(listed) <= modules("testing") | parts <= {*listed, *mentioned}


def test_the_layers_on_the_page_are_those_that_are_checked() -> None:
    block = PACKAGES.partition("\nImports point down")[2].partition("\n| package")[0]
    shown = re.findall(r"[\w.]+", " ".join(re.findall(r"^    .*$", block, re.MULTILINE)))
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (layers,) = [one["layers"] for one in config["tool"]["importlinter"]["contracts"] if one["type"] == "layers"]
    checked = [name.removeprefix("langchain_kimi.") for row in layers for name in row.split(" | ")]
    assert sorted(shown) == sorted(checked)


def test_the_arrows_of_the_diagram_are_imports() -> None:
    diagram = re.findall(r"```mermaid\n(.*?)```", PACKAGES, re.DOTALL)[0]
    labels = dict(re.findall(r"(\w+)\[(\w+)\]", diagram))
    arrows = re.findall(r"^    (\w+) --> (\w+)", diagram, re.MULTILINE)
    assert len(arrows) > 10
    for source, target in [(labels.get(one, one), labels.get(other, other)) for one, other in arrows]:
        files = [path.read_text() for path in (PACKAGE / source).rglob("*.py")]
        statement = re.compile(rf"^ *from langchain_kimi\.{target}\b", re.MULTILINE)
        assert any(map(statement.search, files)), (source, target)
