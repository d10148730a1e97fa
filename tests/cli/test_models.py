"""`langchain-kimi models`."""

from tests.cli.conftest import Run


def test_models_are_listed_with_prices_and_successors(run: Run) -> None:
    result = run("models")
    assert result.status == 0
    k3 = next(line for line in result.out.splitlines() if line.startswith("kimi-k3 "))
    assert "1,048,576" in k3
    assert "low/high/max" in k3
    assert "0.3 / 3 / 15" in k3
    k26 = next(line for line in result.out.splitlines() if line.startswith("kimi-k2.6 "))
    assert k26.endswith("retires 2026-12-31 (reported by dev.to/aihubmix, November 2026): use kimi-k3")
    assert "retired 2026-08-31: use kimi-k3\n" in result.out
