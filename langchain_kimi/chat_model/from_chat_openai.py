"""Converts the settings of a configured `ChatOpenAI` to those of `ChatKimi`, without importing langchain-openai."""

from collections.abc import Mapping
from typing import Any

from langchain_kimi.errors import warn

_SAME = (
    *("name", "cache", "verbose", "callbacks", "tags", "metadata", "rate_limiter", "disable_streaming"),
    *("output_version", "temperature", "top_p", "n", "presence_penalty", "frequency_penalty", "max_tokens", "stop"),
    *("max_retries", "streaming", "default_headers", "http_client", "http_async_client", "reasoning_effort"),
    "prompt_cache_options",
)
_RENAMED = {"model_name": "model", "openai_api_base": "base_url", "request_timeout": "timeout"}
_BODY = ("prompt_cache_key", "prompt_cache_options", "safety_identifier", "reasoning_effort", "stop")
"""Request fields that ChatOpenAI has in `extra_body` or `model_kwargs`, and ChatKimi under their names."""
_CONVERTED = ("openai_api_key", "extra_body", "model_kwargs", "reasoning")
_IGNORED = (
    *("client", "async_client", "root_client", "root_async_client", "tiktoken_model_name", "stream_usage", "profile"),
    *("custom_get_token_ids", "use_responses_api", "disabled_params", "include_response_headers"),
)
_EFFORTS = ("low", "high", "max")


def chat_openai_settings(model: Any) -> dict[str, Any]:
    """The constructor's arguments for `ChatKimi`. Raises TypeError for an object without a model name.

    Settings that ChatKimi does not have are left out and named in one `KimiWarning`, without their values, because one
    may be a secret.
    """
    if not isinstance(getattr(model, "model_name", None), str) or hasattr(model, "bound"):
        raise TypeError(f"{type(model).__name__} is no ChatOpenAI: it has no model_name. Unwrap a bound model first.")
    settings = {name: getattr(model, name, None) for name in _SAME}
    settings |= {ours: getattr(model, theirs, None) for theirs, ours in _RENAMED.items()}
    if settings["metadata"]:  # LangChain records the versions of the other package there
        settings["metadata"] = {key: value for key, value in settings["metadata"].items() if key != "lc_versions"}
    lost = _unknown(model)
    key = getattr(model, "openai_api_key", None)
    if hasattr(key, "get_secret_value") or isinstance(key, str):
        settings["api_key"] = key
    elif key is not None:
        lost.append("api_key (a function)")
    effort = (getattr(model, "reasoning", None) or {}).get("effort")
    body = dict(getattr(model, "extra_body", None) or {})
    for name, value in (getattr(model, "model_kwargs", None) or {}).items():
        if name in _BODY or name == "thinking":
            body.setdefault(name, value)
        else:
            lost.append(f"model_kwargs[{name!r}]")
    settings |= {name: body.pop(name) for name in _BODY if name in body}
    settings |= _thinking(body, lost)
    settings["reasoning_effort"] = settings["reasoning_effort"] or effort
    if settings["reasoning_effort"] not in (None, *_EFFORTS):
        lost.append("reasoning_effort")
        settings["reasoning_effort"] = None
    if lost:
        warn(f"ChatKimi does not have these settings of {type(model).__name__}: {', '.join(sorted(lost))}.")
    return {name: value for name, value in settings.items() if value is not None} | (
        {"extra_body": body} if body else {}
    )


def _unknown(model: Any) -> list[str]:
    """The settings that the user set and that ChatKimi does not have."""
    names: set[str] = getattr(model, "model_fields_set", set())
    known = {*_SAME, *_RENAMED, *_CONVERTED, *_IGNORED}
    return [name for name in names - known if getattr(model, name, None) not in (None, False, {}, [])]


def _thinking(body: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    """The settings for Kimi's `thinking` field, which is removed from the body."""
    thinking = body.pop("thinking", None)
    if thinking is None:
        return {}
    if not isinstance(thinking, Mapping) or thinking.get("type") not in ("enabled", "disabled"):
        lost.append("extra_body['thinking']")
        return {}
    enabled = thinking["type"] == "enabled"
    effort = thinking.get("effort")
    settings: dict[str, Any] = {"thinking": effort if enabled and effort in _EFFORTS else enabled}
    return settings | ({"keep_thinking": True} if thinking.get("keep") == "all" else {})
