"""Runs Moonshot's vendor verifier against `KimiServer`, and compares the outcome with the known deviations.

    python tests/vendor/run.py PATH-OF-AN-UNPACKED-VERIFIER [--model kimi-k3] [--dialect kimi] [--python EXECUTABLE]

The verifier is MoonshotAI/Kimi-Vendor-Verifier; none of it is part of this project. `--python` is an interpreter that
has what its tests import: httpx, jsonschema, openai, pillow, pytest and pytest-rerunfailures. The exit status is 1 if
a test fails that is not among the deviations, or if one of the deviations passes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[2]))

from langchain_kimi.testing import KimiServer
from tests.vendor.deviations import DIALECTS, Deviation, Outcome, comparison, known

SUITES = {
    "kimi-k3": ("params", "tool_call_json_schema", "k3_features", "prompt_tokens"),
    "kimi-k2.6": ("params", "tool_call_json_schema"),
    "kimi-k2.7-code": ("params",),  # it takes no forced call, on which the other suite is built
}
"""The suites that the verifier has for each model."""
_TOKEN_CASES = "testdata/prompt_token_cases/cases.jsonl"
_POINTER = b"version https://git-lfs"


def main() -> int:
    """Run the verifier as the command line says; the exit status."""
    from tests.vendor.model import answer

    options = _parser().parse_args()
    status = 0
    for dialect in options.dialect or DIALECTS:
        for model in options.model or SUITES:
            suites = _suites(options.verifier, model)
            with KimiServer(answer, strict=False, dialect=dialect) as server:
                outcomes = run(options.verifier, suites, server.url, model, options.python)
            unexpected = _report(outcomes, known(dialect, model), f"{model}, dialect {dialect}", suites)
            status = max(status, int(unexpected or not outcomes))
    return status


def run(verifier: Path, suites: Sequence[str], url: str, model: str, python: str) -> dict[str, Outcome]:
    """The outcome of each test of the suites."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [python, "-m", "pytest", *(f"tests/{suite}" for suite in suites), "-p", "no:cacheprovider", "-q"]
        command += ["--base-url", url, "--api-key", "sk-vendor", "--smoke-model", model, "--think-mode", "kimi"]
        command += ["--junitxml", str(report), "--tb", "line"]
        if "tool_call_json_schema" in suites:
            command += ["--tool-json-report", str(Path(folder) / "tools.json")]
        finished = subprocess.run(command, cwd=verifier, check=False, capture_output=True, text=True)
        if not report.exists():
            raise SystemExit(f"The verifier did not run: {finished.stdout[-2_000:]}{finished.stderr[-2_000:]}")
        return dict(_outcomes(report))


def _suites(verifier: Path, model: str) -> tuple[str, ...]:
    """The suites of a model, without the token cases where only their Git LFS pointers were unpacked."""
    cases = verifier / _TOKEN_CASES
    has_cases = cases.exists() and not cases.read_bytes().startswith(_POINTER)
    return tuple(suite for suite in SUITES.get(model, SUITES["kimi-k3"]) if suite != "prompt_tokens" or has_cases)


def _outcomes(report: Path) -> Iterator[tuple[str, Outcome]]:
    for case in ElementTree.parse(report).iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        outcome: Outcome = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
        yield f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}", outcome


def _report(outcomes: dict[str, Outcome], deviations: Sequence[Deviation], title: str, suites: Sequence[str]) -> bool:
    """Print what came out; whether any of it was not expected."""
    result = comparison(outcomes, deviations)
    passed, skipped = (sum(outcome == word for outcome in outcomes.values()) for word in ("passed", "skipped"))
    lines = [
        f"{title} ({', '.join(suites)}): {passed} passed, {len(result.known)} known deviations, "
        f"{skipped} skipped by the verifier",
        *(
            f"  {len(one.tests)} deviate: {one.reason} ({one.evidence})"
            for one in deviations
            if any(name in result.known for name in one.tests)
        ),
        *(f"  FAILED and is no known deviation: {name}" for name in result.failed),
        *(f"  PASSED although it is a known deviation: {name}" for name in result.passed),
        *(f"  MISSING although it is a known deviation: {name}" for name in result.missing),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return bool(result.failed or result.passed or result.missing)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verifier", type=Path, help="the folder of an unpacked verifier")
    parser.add_argument("--model", action="append", help="a model; may be repeated (default: each)")
    parser.add_argument("--dialect", action="append", choices=DIALECTS, help="(default: each)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter for the verifier's tests")
    return parser


if __name__ == "__main__":
    sys.exit(main())
