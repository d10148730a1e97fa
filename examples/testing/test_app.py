"""The app's test: it plays cassettes/test_app/*.kimi.yaml, without a key and without a network."""

import app
import pytest


@pytest.mark.kimi_cassette
@pytest.mark.usefixtures("kimi_audit")
def test_butter_is_what_limits_shortbread() -> None:
    answer = app.ask("How many batches of shortbread can I bake?")
    assert "one batch" in answer
    assert "butter" in answer
