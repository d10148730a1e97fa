"""What each Kimi model takes, as one table; every other package reads it instead of comparing names.

Facts are of November 2026. Sources, named in each row's `seen`:

- `chat`: official "Chat Completions API" page with its OpenAPI document (platform.kimi.com, September 2026)
- `k3`: official kimi-k3 and kimi-k3-1-pro quickstart pages (July to October 2026)
- `k2-thinking`: official page "use-kimi-k2-thinking-model" (November 2025)
- `pricing`: official pricing pages, by way of genai-prices and litellm (October and November 2026)
- `retired`: official list of discontinued models (September 2026)
- `reported`: an article of a reseller, dev.to/aihubmix (November 2026); Kimi's own pages do not say it
- `verifier`: MoonshotAI/Kimi-Vendor-Verifier (August 2026)
- `measured`: refusals that third parties recorded against the live API
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from typing import Literal, get_args

__all__ = ["MODELS", "Model", "Price", "Retirement", "find"]

AS_OF = date(2026, 11, 27)
"""The day of the facts. What is current by the catalogue alone, without today's date, is current on this day."""

Family = Literal["k3", "k2", "v1", "other"]
Thinks = Literal["always", "optional", "never"]
Keeps = Literal["always", "on_request", "never"]
ToolChoice = Literal["auto", "none", "required", "named"]
Confidence = Literal["official", "reported"]

FREE: frozenset[ToolChoice] = frozenset({"auto", "none"})
FORCING: frozenset[ToolChoice] = frozenset({"auto", "none", "required", "named"})

DEFAULT_OUTPUT = 32_768
"""Output cap in tokens for a model that is not in the catalogue."""

SAMPLING = ("temperature", "top_p", "n", "presence_penalty", "frequency_penalty")
"""The request fields that newer models pin to one value each."""

DEFAULT_MODEL = "kimi-k3"
"""The model of the commands, the fakes and the first examples: every account that was topped up has it."""

MAX_REQUEST_BYTES = 100 * 1024 * 1024
"""The largest body of a request without a file, in bytes."""

MAX_UPLOAD_BYTES = 100 * 1024 * 1024
"""The largest file that can be uploaded, in bytes."""

FilePurpose = Literal["file-extract", "image", "video", "batch"]
FILE_PURPOSES: tuple[FilePurpose, ...] = get_args(FilePurpose)
"""What a file can be uploaded for."""

_PINNED = {"temperature": 1.0, "top_p": 0.95, "n": 1, "presence_penalty": 0, "frequency_penalty": 0}
_PINNED_INSTANT = {**_PINNED, "temperature": 0.6}
HOST_TEMPERATURES = (0.0, 1.0)
"""The lowest and the highest temperature of models with pinned sampling on other hosts than Kimi's own. The verifier
demands that they take 0, 0.6 and 1 and refuse -0.1, 1.1 and 2; Kimi's own hosts were recorded to take one value."""


@dataclass(frozen=True, slots=True)
class Price:
    """Money per million tokens: cache hit, cache miss, output, and cache writes where they are billed."""

    hit: float
    miss: float
    output: float
    write_5m: float | None = None
    write_1h: float | None = None


@dataclass(frozen=True, slots=True)
class Retirement:
    """When Kimi's own platform switches a model off; other hosts may still serve it."""

    day: date
    """The first day without the model."""
    confidence: Confidence = "official"
    """`official` where Kimi's own pages say it; `reported` where only others do. Kimi gets requests for a model whose
    reported day has passed."""
    source: str = "Kimi's list of discontinued models, September 2026"
    successor: str = "kimi-k3"
    """The model to use instead."""


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the catalogue. Token counts are per request."""

    id: str
    context: int
    """Window in tokens: prompt plus output."""
    default_output: int
    """The output cap (`max_completion_tokens`) that is sent when the user names none."""
    family: Family
    """The models that behave alike where no other column says how."""
    thinking: Thinks
    seen: tuple[str, ...]
    """Where these facts were seen; the keys of the module docstring."""
    max_output: int | None = None
    """Largest cap; None where it is the window less the prompt."""
    efforts: tuple[str, ...] = ()
    """Values of `reasoning_effort`; empty where the model takes none."""
    default_effort: str | None = None
    keeps: Keeps = "never"
    """Whether the model reads its reasoning of earlier user turns; `on_request` means by `thinking.keep: "all"`."""
    choices_thinking: frozenset[ToolChoice] = FREE
    choices_instant: frozenset[ToolChoice] = FORCING
    json_schema: bool = False
    """Whether `response_format: json_schema` is followed."""
    pinned_thinking: Mapping[str, float] = field(default_factory=dict)
    """Sampling fields with the only value taken while the model thinks; empty where they are free."""
    pinned_instant: Mapping[str, float] = field(default_factory=dict)
    """The same with thinking off."""
    untyped_schemas: bool = False
    """Whether a part of a tool's schema may lack a type. walle, whose valid schemas the verifier sends to hosts of K3,
    takes that; K2 models refused it (earendil-works/pi issue 4138, MoonshotAI/kimi-cli issue 1595)."""
    inputs: tuple[str, ...] = ("text",)
    dynamic_tools: bool = False
    """Whether system messages may bring tools along."""
    batch: bool = False
    """Whether Kimi's own platform answers it in batches."""
    usd: Price | None = None
    cny: Price | None = None
    instant_elsewhere: bool = False
    """Whether other hosts than Kimi's own may take thinking off, although the model always thinks there."""
    retirement: Retirement | None = None
    """When it was or will be retired, as far as that is known."""
    access: str = ""
    """A sentence on which accounts have the model; empty where all do."""

    def is_retired(self, day: date = AS_OF) -> bool:
        """Whether Kimi's platform surely does not serve the model any more on a day."""
        return self.retirement is not None and self.retirement.confidence == "official" and day >= self.retirement.day

    def retirement_text(self, day: date = AS_OF) -> str:
        """A sentence on the model's retirement as of a day, with its source; empty for a model without one."""
        if self.retirement is None:
            return ""
        if self.is_retired(day):
            fact = f"Kimi's platform retired {self.id} on {self.retirement.day}"
        elif self.retirement.confidence == "official":
            fact = f"Kimi's platform retires {self.id} on {self.retirement.day} ({self.retirement.source})"
        else:
            fact = (
                f"{self.id} is reported to be retired on Kimi's platform on {self.retirement.day}, which Kimi's own "
                f"pages do not confirm ({self.retirement.source})"
            )
        return f"{fact}; its successor is {self.retirement.successor!r}."

    @property
    def output_limit(self) -> int:
        """The largest output cap that a request may have."""
        return self.max_output or self.context

    def choices(self, thinking: bool) -> frozenset[ToolChoice]:
        """The forms of `tool_choice` taken with thinking on or off."""
        return self.choices_thinking if thinking else self.choices_instant

    def pinned(self, thinking: bool, *, elsewhere: bool = False) -> Mapping[str, float]:
        """The sampling fields that have one legal value with thinking on or off.

        `elsewhere` means on other hosts than Kimi's own, which take the temperatures of `HOST_TEMPERATURES`.
        """
        pinned = self.pinned_thinking if thinking else self.pinned_instant
        return {key: value for key, value in pinned.items() if key != "temperature"} if elsewhere else pinned


def _k3(model: str, usd: Price, cny: Price | None = None) -> Model:
    return Model(
        id=model,
        context=1_048_576,
        default_output=131_072,
        max_output=1_048_576,
        family="k3",
        thinking="always",
        efforts=("low", "high", "max"),
        default_effort="max",
        instant_elsewhere=True,
        keeps="always",
        choices_thinking=frozenset({"auto", "none", "required"}),
        json_schema=True,
        pinned_thinking=_PINNED,
        pinned_instant=_PINNED_INSTANT,
        untyped_schemas=True,
        inputs=("text", "image", "video"),
        dynamic_tools=True,
        usd=usd,
        cny=cny,
        access="The K3 family is open to accounts that were topped up; vouchers do not count.",
        seen=("chat", "k3", "pricing", "verifier", "measured"),
    )


_END_OF_2026 = Retirement(date(2026, 12, 31), "reported", "dev.to/aihubmix, November 2026")
_OLDER_ACCOUNTS = "Accounts registered since 2026-10-31 are reported not to have it."


def _k27(
    model: str, usd: Price, cny: Price, batch: bool = False, retirement: Retirement | None = None, access: str = ""
) -> Model:
    return Model(
        id=model,
        context=262_144,
        default_output=DEFAULT_OUTPUT,
        family="k2",
        thinking="always",
        keeps="always",
        json_schema=True,
        pinned_thinking=_PINNED,
        inputs=("text", "image", "video"),
        batch=batch,
        usd=usd,
        cny=cny,
        retirement=retirement,
        access=access,
        seen=("chat", "pricing", "measured", *(("reported",) if retirement else ())),
    )


def _retired(
    model: str,
    family: Family,
    context: int,
    thinking: Thinks,
    off: date,
    usd: Price | None = None,
    pinned: bool = False,
    inputs: tuple[str, ...] = ("text",),
) -> Model:
    return Model(
        id=model,
        context=context,
        default_output=min(DEFAULT_OUTPUT, context // 2),
        family=family,
        thinking=thinking,
        pinned_thinking=_PINNED if pinned else {},
        pinned_instant=_PINNED_INSTANT if pinned else {},
        inputs=inputs,
        usd=usd,
        retirement=Retirement(off),
        seen=("retired", "k2-thinking") if thinking == "always" else ("retired",),
    )


_MAY = date(2026, 5, 25)
_AUGUST = date(2026, 8, 31)
_VISION = ("text", "image")

MODELS: tuple[Model, ...] = (
    _k3("kimi-k3.1-pro", Price(0.20, 2.0, 10.0, 2.0, 4.0)),
    _k3("kimi-k3.1-pro-highspeed", Price(0.20, 4.0, 20.0, 4.0, 8.0)),
    _k3("kimi-k3", Price(0.30, 3.0, 15.0, 3.0, 6.0), Price(2.0, 20.0, 100.0, 20.0, 40.0)),
    _k27("kimi-k2.7-code", Price(0.19, 0.95, 4.0), Price(1.30, 6.50, 27.0), True, _END_OF_2026, _OLDER_ACCOUNTS),
    _k27("kimi-k2.7-code-highspeed", Price(0.38, 1.90, 8.0), Price(2.60, 13.0, 54.0)),
    Model(
        id="kimi-k2.6",
        context=262_144,
        default_output=DEFAULT_OUTPUT,
        family="k2",
        thinking="optional",
        keeps="on_request",
        json_schema=True,
        # `required` with thinking off is not settled: documents say no, one client sends it. Named is measured.
        choices_instant=FORCING,
        pinned_thinking=_PINNED,
        pinned_instant=_PINNED_INSTANT,
        inputs=("text", "image", "video"),
        batch=True,
        usd=Price(0.16, 0.95, 4.0),
        cny=Price(1.10, 6.50, 27.0),
        retirement=_END_OF_2026,
        access=_OLDER_ACCOUNTS,
        seen=("chat", "pricing", "verifier", "measured", "reported"),
    ),
    _retired(
        "kimi-k2.5",
        "k2",
        262_144,
        "optional",
        _AUGUST,
        Price(0.10, 0.60, 3.0),
        pinned=True,
        inputs=("text", "image", "video"),
    ),
    _retired("kimi-k2-thinking", "k2", 262_144, "always", _MAY, Price(0.15, 0.60, 2.50)),
    _retired("kimi-k2-thinking-turbo", "k2", 262_144, "always", _MAY, Price(0.15, 1.15, 8.0)),
    _retired("kimi-k2-0711-preview", "k2", 131_072, "never", _MAY, Price(0.15, 0.60, 2.50)),
    _retired("kimi-k2-0905-preview", "k2", 262_144, "never", _MAY, Price(0.15, 0.60, 2.50)),
    _retired("kimi-k2-turbo-preview", "k2", 262_144, "never", _MAY, Price(0.15, 1.15, 8.0)),
    _retired("kimi-latest", "other", 131_072, "never", date(2026, 1, 28), inputs=_VISION),
    _retired("kimi-thinking-preview", "other", 131_072, "always", date(2025, 11, 11), inputs=_VISION),
    _retired("moonshot-v1-8k", "v1", 8_192, "never", _AUGUST, Price(0.20, 0.20, 2.0)),
    _retired("moonshot-v1-32k", "v1", 32_768, "never", _AUGUST, Price(1.0, 1.0, 3.0)),
    _retired("moonshot-v1-128k", "v1", 131_072, "never", _AUGUST, Price(2.0, 2.0, 5.0)),
    _retired("moonshot-v1-auto", "v1", 131_072, "never", _AUGUST),
    _retired("moonshot-v1-8k-vision-preview", "v1", 8_192, "never", _AUGUST, inputs=_VISION),
    _retired("moonshot-v1-32k-vision-preview", "v1", 32_768, "never", _AUGUST, inputs=_VISION),
    _retired("moonshot-v1-128k-vision-preview", "v1", 131_072, "never", _AUGUST, inputs=_VISION),
)
"""All models, the newest first; retired ones come last."""

_BY_ID = {row.id: row for row in MODELS}

BATCH_MODELS = tuple(row.id for row in MODELS if row.batch)
"""The models that Kimi's own platform answers in batches."""

OFFICIAL_TOOLS = (
    *("base64", "code_runner", "convert", "date", "excel", "fetch", "memory", "mew", "quickjs", "random-choice"),
    *("rethink", "web-search"),
)
"""Moonshot's own Formula tools, each at `moonshot/<name>:latest` (official list, September 2026)."""

SEARCH_FEE_USD = 0.005
"""The fee of one web search, by `$web_search` or by Formula, beside its tokens (official pricing page; the help centre
says 0.004). No other official tool has one."""


def fee_of(tool: str) -> float | None:
    """The fee in US dollars of one run of a Formula tool by its uri, or of `$web_search`; None where none is known."""
    if tool == "$web_search" or tool.partition(":")[0] == "moonshot/web-search":
        return SEARCH_FEE_USD
    vendor, _, name = tool.partition(":")[0].partition("/")
    return 0.0 if vendor == "moonshot" and name.replace("code-runner", "code_runner") in OFFICIAL_TOOLS else None


def suggestion(model: str) -> str:
    """The id of the catalogue that a misspelt one probably means; empty where none is near."""
    wanted = model.rpartition("/")[2].lower()
    current = [row.id for row in MODELS if not row.is_retired()]
    near = get_close_matches(wanted, current, 1, 0.8) or get_close_matches(wanted, _BY_ID, 1, 0.8)
    return near[0] if near else ""


def proposal(model: str, available: Sequence[str]) -> str:
    """The model to use instead of one that the account does not have, of those that it has; empty where it has none.

    A misspelt name gives the nearest one; a known model its successor, else the default, else the newest.
    """
    wanted, row = model.rpartition("/")[2].lower(), find(model)
    near = get_close_matches(wanted, available, 1, 0.8) if row is None else []
    successor = [row.retirement.successor] if row and row.retirement else []
    ranked = [*near, *successor, DEFAULT_MODEL, *_BY_ID, *available]
    return next((name for name in ranked if name in available), "")


def default_output(row: Model | None) -> int:
    """The output cap that is sent when the user names none; `row` is None for a model that is not in the catalogue."""
    return row.default_output if row else DEFAULT_OUTPUT


def find(model: str) -> Model | None:
    """The row of a model id, None for one that is not known. A host's prefix (`moonshotai/`) and case are ignored."""
    return _BY_ID.get(model) or _BY_ID.get(model.rpartition("/")[2].lower())
