"""No secret of any service stays in a recording: forms of secrets, and places in requests and answers."""

import base64
import json
import os
import random
import stat
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from langchain_kimi import ChatKimi
from langchain_kimi.testing import KimiServer, said
from langchain_kimi.testing.cassettes import (
    CannotReplay,
    Cassette,
    CassetteError,
    audit,
    import_cassette,
    secret_values,
)
from tests.testing.cassettes.conftest import Host, host

pytestmark = pytest.mark.slow

__all__ = ["host"]

LETTERS = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + "234567"
HEX = "0123456789abcdef"
_chance = random.Random(20)


def some(length: int, letters: str = LETTERS) -> str:
    return "".join(_chance.choice(letters) for _ in range(length))


def pem(kind: str) -> tuple[str, list[str]]:
    lines = [some(64) for _ in range(8)]
    return "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"]), lines


def _in(text: str, secret: str) -> tuple[str, list[str]]:
    return text.format(secret), [secret]


SECRETS: dict[str, tuple[str, list[str]]] = {
    "AWS access key": _in("{}", f"AKIA{some(16, UPPER)}"),
    "AWS secret key": _in("aws_secret_access_key = {}", some(40)),
    "Google API key": _in("{}", f"AIza{some(35)}"),
    "Google OAuth": _in("{}", f"GOCSPX-{some(28)}"),
    "Stripe": _in("{}", f"sk_live_{some(24)}"),
    "Stripe, restricted": _in("{}", f"rk_live_{some(24)}"),
    "GitLab": _in("{}", f"glpat-{some(20)}"),
    "GitHub": _in("{}", f"ghp_{some(36)}"),
    "GitHub, fine-grained": _in("{}", f"github_pat_{some(22)}_{some(59)}"),
    "PEM, RSA": pem("RSA "),
    "PEM": pem(""),
    "PEM, OpenSSH": pem("OPENSSH "),
    "PEM, encrypted and cut": (pem("ENCRYPTED ")[0][:300], []),
    "PostgreSQL": _in("postgres://admin:{}@db.internal:5432/prod", some(14)),
    "PostgreSQL with a driver": _in("postgresql+psycopg://admin:{}@db.internal/prod", some(9)),
    "MongoDB": _in("mongodb+srv://user:{}@cluster0.ab1cd.mongodb.net/x", some(14)),
    "MySQL": _in("mysql://root:{}@10.0.0.3/db", some(12)),
    "Redis": _in("redis://:{}@cache:6379/0", some(20)),
    "basic authentication": _in("https://bob:{}@example.com/x", some(12)),
    "?api_key=": _in("https://api.example.com/v1/x?api_key={}&q=1", some(32)),
    "&access_token=": _in("https://api.example.com/v1/x?q=1&access_token={}", some(24)),
    "signed URL": _in("https://s3.example.com/x?X-Amz-Signature={}", some(64, HEX)),
    "Slack": _in("{}", f"xoxb-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}"),
    "OpenAI": _in("{}", f"sk-proj-{some(74)}T3BlbkFJ{some(74)}"),
    "Anthropic": _in("{}", f"sk-ant-api03-{some(93)}AA"),
    "npm": _in("{}", f"npm_{some(36)}"),
    "PyPI": _in("{}", f"pypi-AgEIcHlwaS5vcmc{some(80)}"),
    "Hugging Face": _in("{}", f"hf_{some(34, string.ascii_letters)}"),
    "SendGrid": _in("{}", f"SG.{some(22)}.{some(43)}"),
    "DigitalOcean": _in("{}", f"dop_v1_{some(64, HEX)}"),
    "Shopify": _in("{}", f"shpat_{some(32, HEX)}"),
    "Databricks": _in("{}", f"dapi{some(32, HEX)}"),
    "Groq": _in("{}", f"gsk_{some(52)}"),
    "LangSmith": _in("{}", f"lsv2_pt_{some(32, HEX)}_{some(10, HEX)}"),
    "Tavily": _in("{}", f"tvly-dev-{some(32)}"),
    "Moonshot": _in("{}", f"sk-{some(48)}"),
    "bearer token": _in("Authorization: Bearer {}", some(30)),
}


def written(path: Path) -> str:
    """The recording, also as its reader sees it, whatever YAML and JSON escape."""
    return path.read_text() + json.dumps([[i.request, i.response] for i in Cassette(path).interactions])


def ask(url: str, prompt: str) -> Any:
    return ChatKimi(model="kimi-k2.6", base_url=url, api_key="sk-0123456789abcdef", max_retries=0).invoke(prompt)


def test_secrets_of_no_service_are_in_a_recording(serve: Callable[..., KimiServer], host: Host, tmp_path: Path) -> None:
    path = tmp_path / "a.kimi.yaml"
    server = serve([said(f"It is {text} ok") for text, _ in SECRETS.values()])
    with Cassette(path, record="once"):
        for text, _ in SECRETS.values():
            ask(server.url, f"Use {text} please")
    shown = written(path)
    for name, (text, secrets) in SECRETS.items():
        assert [secret for secret in secrets or text.split("\n")[1:3] if secret in shown] == [], name
    assert not [finding for finding in audit(path) if finding.check == "secret"]


QUICK = {"AWS access key", "PEM", "PEM, encrypted and cut", "PostgreSQL", "?api_key=", "Moonshot", "bearer token"}


@pytest.mark.parametrize(
    ("text", "secrets"),
    [pytest.param(*SECRETS[name], id=name, marks=[] if name in QUICK else pytest.mark.slow) for name in SECRETS],
)
def test_secret_is_in_no_part_of_a_recording(
    text: str, secrets: list[str], serve: Callable[..., KimiServer], host: Host, tmp_path: Path
) -> None:
    cut = [f"It is {text}"[at : at + 5] for at in range(0, len(text) + 6, 5)]
    nested = json.dumps({"arguments": json.dumps({"value": text})})
    replies = [
        said([*cut, " ok"]),
        said("ok", thinking=f"So {text} it is"),
        said("ok").calling("save", value=f"a {text} b"),
    ]
    path = tmp_path / "a.kimi.yaml"
    with Cassette(path, record="once"):
        server = serve(replies)
        for prompt in (f"Use {text} please", "Next", f"And {text}\nagain"):
            ask(server.url, prompt)
        url = host(nested.encode(), ("content-type", "application/json"))
        httpx2.post(f"{url}/x", json={"env": {"value": text}, "list": [text]}, params={"q": text})
        url = host(f"said {text}\n".encode(), ("content-type", "text/plain"), ("location", f"/{text}".splitlines()[0]))
        httpx2.post(url, content=f"raw {text}\n")
    shown = written(path)
    for secret in secrets or text.split("\n")[1:3]:
        assert secret not in shown
    assert shown.count("<secret:") >= 8
    assert not [finding for finding in audit(path) if finding.check == "secret"]
    with Cassette(path):
        assert ask("http://127.0.0.1:9/v1", f"Use {text} please").text.endswith(" ok")


def test_secret_of_another_service_in_base64_is_removed(host: Host, tmp_path: Path) -> None:
    hidden = base64.b64encode(f"glpat-{some(20)}".encode()).decode()
    path = tmp_path / "a.kimi.yaml"
    with Cassette(path, record="once"):
        httpx2.post(host(json.dumps({"file": f"token {hidden} end"}).encode(), ("content-type", "application/json")))
    assert hidden not in written(path)


def test_ordinary_identifiers_and_words_stay(host: Host, tmp_path: Path) -> None:
    texts = [
        "Mon Nov 27 18:25:54 UTC 2026 landed 4e9d5ca0f1b2c3d4e5f60718293a4b5c6d7e8f90",
        "call_0a1b2c3d4e5f60718293a4b5 functions.get_weather:0 chatcmpl-6a1b2c3d4e5f60718293a4b5",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "123e4567-e89b-12d3-a456-426614174000",
        "password: the model asks for a password; secret = none; api_key is a parameter",
        "https://example.com/a?page=2&token=next",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    ]
    path = tmp_path / "a.kimi.yaml"
    with Cassette(path, record="once"):
        httpx2.post(host(json.dumps({"texts": texts}).encode(), ("content-type", "application/json")))
    assert Cassette(path).interactions[0].response["json"] == {"texts": texts}


def test_a_request_without_recording_is_told_without_its_secrets(
    serve: Callable[..., KimiServer], tmp_path: Path
) -> None:
    path = tmp_path / "a.kimi.yaml"
    with Cassette(path, record="once"):
        ask(serve([said("ok")]).url, "Hello")
    key = f"glpat-{some(20)}"
    with Cassette(path) as cassette, pytest.raises(CannotReplay) as caught:
        httpx2.post("http://127.0.0.1:9/v1/chat/completions", json={"messages": [{"role": "user", "content": key}]})
    assert key not in str(caught.value) + str(cassette.misses)


def test_ids_of_the_answer_that_name_the_account_are_not_kept(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "a.kimi.yaml"
    headers = [("Msh-Request-Id", "5f0c-a1b2"), ("Msh-Uid", "u-42"), ("content-type", "application/json")]
    with Cassette(path, record="once"):
        httpx2.post(host(b"{}", *headers))
    assert "5f0c-a1b2" not in path.read_text()
    assert "u-42" not in path.read_text()


def test_imported_recordings_lose_their_secrets(tmp_path: Path) -> None:
    secrets = {name: (text, parts) for name, (text, parts) in SECRETS.items() if "\n" not in text}
    request = {"method": "POST", "uri": "https://api.moonshot.ai/v1/chat/completions", "headers": {}}
    request["body"] = json.dumps({"messages": [{"role": "user", "content": " ".join(t for t, _ in secrets.values())}]})
    answer = {"status": {"code": 200}, "headers": {"content-type": ["text/plain"]}, "body": {"string": "ok"}}
    document = {"version": 1, "interactions": [{"request": request, "response": answer}]}
    (tmp_path / "vcr.json").write_text(json.dumps(document))
    import_cassette(tmp_path / "vcr.json", tmp_path / "a.kimi.yaml")
    shown = written(tmp_path / "a.kimi.yaml")
    assert not [part for _, parts in secrets.values() for part in parts if part in shown]


def test_audit_finds_what_an_old_recording_holds(tmp_path: Path, host: Host) -> None:
    path = tmp_path / "a.kimi.yaml"
    with Cassette(path, record="once"):
        httpx2.post(host(b'{"said": "here"}', ("content-type", "application/json")))
    assert audit(path) == []
    key = f"glpat-{some(20)}"
    path.write_text(path.read_text().replace("here", key))
    (finding,) = audit(path)
    assert finding.check == "secret"
    assert key not in str(finding)


def test_without_the_detector_nothing_is_recorded_and_everything_is_replayed(
    serve: Callable[..., KimiServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.kimi.yaml"
    with Cassette(path, record="once"):
        ask(serve([said("ok")]).url, "Hello")
    secret_values._scanner.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "kingfisher_sdk", None)
    with Cassette(path):
        assert ask("http://127.0.0.1:9/v1", "Hello").text == "ok"
    cassette = Cassette(tmp_path / "b.kimi.yaml", record="once")
    with pytest.raises(CassetteError, match=r"pip install 'langchain-kimi-agent\[testing\]'"), cassette:
        ask(serve([said("ok")]).url, "Hello")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_recording_has_the_permissions_of_the_umask(mask: int, mode: int, host: Host, tmp_path: Path) -> None:
    path = tmp_path / "a.kimi.yaml"
    before = os.umask(mask)
    try:
        with Cassette(path, record="once"):
            httpx2.post(host(b"{}", ("content-type", "application/json")))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
