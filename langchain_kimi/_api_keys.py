"""Kimi's own hosts, and the header with the key that each request carries."""

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

HOSTS = {"intl": "https://api.moonshot.ai/v1", "cn": "https://api.moonshot.cn/v1"}
"""The base URLs of Kimi's own hosts by region."""

USER_AGENT = "langchain-kimi-agent"

KEY_REGIONS = (
    'Keys of platform.kimi.ai work with region="intl" (api.moonshot.ai), keys of platform.kimi.com with region="cn" '
    "(api.moonshot.cn)."
)
"""Which key belongs to which host, for error messages."""

NO_KEY = f"No key for Kimi. Set MOONSHOT_API_KEY or pass api_key=…. {KEY_REGIONS}"

PLACEHOLDER_KEY = "not-needed"
"""The key for a server on this machine if none is configured: test servers and some others accept any key."""


def authorization_header(
    url: str, key: str | None, headers: Mapping[str, str] | None, *, own_client: bool
) -> dict[str, str]:
    """The header with the key. Without a key, only a server on this machine gets a placeholder.

    The placeholder does not replace an `Authorization` header in `headers` or one of the user's HTTP client.
    """
    if key:
        return {"authorization": f"Bearer {key}"}
    has_own = own_client or any(name.lower() == "authorization" for name in headers or {})
    is_local = is_loopback(urlsplit(url).hostname or "")
    return {} if has_own or not is_local else {"authorization": f"Bearer {PLACEHOLDER_KEY}"}


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    host = host.strip("[]").partition("%")[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
