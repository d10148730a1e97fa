"""Why requests of a conversation lost their place in the host's prefix cache.

Of each request that was answered, only hashes of its messages and tools are kept, of the last conversations. A request
belongs to the conversation whose messages it begins with, or else to the one with which it shares most of them, as
after a compaction.
"""

import marshal
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata

from langchain_kimi.catalogue import find

COMPACTION_MARKS = ("kimi_summary", "kimi_shortened")
"""The keys in `additional_kwargs` of messages that a compaction wrote or shortened."""

HOST_DROPPED = "the host no longer had it, although nothing had changed"
"""The reason where the request gives none."""

_BLOCK = 256
"""Tokens of one block of the cache; a shorter rest of a prompt is never in it."""
_LIFETIMES = {"5m": 300.0, "1h": 3600.0}
_SETTINGS = {"reasoning_effort": "effort", "thinking": "thinking", "prompt_cache_key": "prompt_cache_key"}
_MAX_CONVERSATIONS = 256
_MAX_SHOWN_TOOLS = 5
_FRAME = 20
"""Characters that stand for what a chat template puts around a message."""
_MARSHAL_VERSION = 2

Identity: TypeAlias = tuple[object, ...]
"""What requests of one conversation have in common besides their messages: the thread, if known, and the agent."""


@dataclass(frozen=True, slots=True)
class CacheBreak:
    """A request that found less in the cache than the request before it in its conversation had put there."""

    request: int
    """The number of its response among those that the meter counted, from 1."""
    agent: str | None
    model: str
    reasons: tuple[str, ...]
    """Why, such as `messages[3] changed by compaction`. Indexes are of the messages that the model was given."""
    input_tokens: int
    cached_tokens: int
    tokens_again: int
    """Tokens that were in the earlier prompt too and were not read from the cache; an estimate if messages changed."""
    cost_usd: float | None
    """What they cost more than from the cache, at list price; None where the price is not known."""

    def __str__(self) -> str:
        cost = "" if self.cost_usd is None else f", ${self.cost_usd:.4f}"
        who = f" of {self.agent}" if self.agent else ""
        return f"request {self.request}{who}: {'; '.join(self.reasons)} ({self.tokens_again:,} tokens again{cost})"


class PromptFingerprint(NamedTuple):
    """The parts of a prompt as hashes."""

    messages: Sequence[int]
    prefixes: Sequence[int]
    """For each message, a hash of it and of all before it."""
    sizes: Sequence[int]
    """About how long each message is, in characters."""
    compacted: Sequence[int]
    """The indexes of messages that a compaction wrote or shortened."""
    first_shared: int
    """How many system messages it begins with; many conversations begin with the same."""
    tools: Mapping[str, int]
    settings: Mapping[str, Any]
    lifetime: float

    @classmethod
    def of(cls, messages: Sequence[BaseMessage], settings: Mapping[str, Any]) -> "PromptFingerprint":
        """The fingerprint of messages and of the model's settings, as callbacks get them (`invocation_params`)."""
        parts = [_hash_and_size(message) for message in messages]
        hashes, sizes = [part[0] for part in parts], [part[1] for part in parts]
        compacted = [at for at, each in enumerate(messages) if _is_compacted(each)]
        system = next((at for at, each in enumerate(messages) if not isinstance(each, SystemMessage)), len(messages))
        options = settings.get("prompt_cache_options")
        ttl = options.get("ttl") if isinstance(options, Mapping) else None
        own = {name: settings.get(name) for name in _SETTINGS}
        lifetime = _LIFETIMES.get(str(ttl), _LIFETIMES["5m"])
        return cls(hashes, list(_prefixes(hashes)), sizes, compacted, system, _tool_hashes(settings), own, lifetime)

    def share_known_from(self, earlier: "PromptFingerprint") -> float:
        """The share of the prompt up to its last message that an earlier one has, or that a compaction wrote."""
        known = {*earlier.messages, *(self.messages[at] for at in self.compacted)}
        end = next((at for at in range(len(self.messages), 0, -1) if self.messages[at - 1] in known), 0)
        return sum(self.sizes[:end]) / (sum(self.sizes) or 1)


class AnsweredRequest(NamedTuple):
    """A request that a model answered, as `CacheBreaks` compares it."""

    number: int
    agent: str | None
    model: str
    prompt: PromptFingerprint
    identity: Identity
    usage: UsageMetadata
    sent: float
    """When it was sent, by the clock of the comparison."""


@dataclass(slots=True)
class _Conversation:
    """The last answered request of a conversation."""

    prompt: PromptFingerprint
    identity: Identity
    model: str
    input_tokens: int
    cached_tokens: int
    answered: float
    own: frozenset[int] = field(init=False)
    """The hashes of its messages without the system messages at the beginning."""

    def __post_init__(self) -> None:
        self.own = frozenset(self.prompt.messages[self.prompt.first_shared :])

    @property
    def key(self) -> int:
        return self.prompt.prefixes[-1] if self.prompt.prefixes else 0


class CacheBreaks:
    """Compares each answered request with the one before it. The caller holds a lock."""

    def __init__(self, clock: Callable[[], float], max_conversations: int = _MAX_CONVERSATIONS) -> None:
        self._clock = clock
        self._max = max_conversations
        self._conversations: OrderedDict[int, _Conversation] = OrderedDict()
        """By the hash of the whole prompt, the last used at the end."""

    def answered(self, request: AnsweredRequest) -> CacheBreak | None:
        """Whether an answered request lost its place in the cache, and why."""
        prompt, usage = request.prompt, request.usage
        cached = usage.get("input_token_details", {}).get("cache_read") or 0
        new = _Conversation(prompt, request.identity, request.model, usage["input_tokens"], cached, self._clock())
        earlier = self._earlier(new)
        if earlier is not None and not _is_fork(earlier.prompt, prompt):
            del self._conversations[earlier.key]
        self._conversations.pop(new.key, None)
        self._conversations[new.key] = new
        if len(self._conversations) > self._max:
            self._conversations.popitem(last=False)
        if earlier is None or (lost := _break(earlier, new, request.sent)) is None:
            return None
        reasons, again = lost
        cost = _extra_cost(again, new)
        return CacheBreak(
            request.number, request.agent, new.model, reasons, new.input_tokens, new.cached_tokens, again, cost
        )

    def _earlier(self, new: _Conversation) -> _Conversation | None:
        """The conversation that a request continues."""
        with_prefix = (self._conversations.get(prefix) for prefix in reversed(new.prompt.prefixes))
        continued = next((each for each in with_prefix if each is not None and each.own), None)
        if continued is not None and continued.identity == new.identity:
            return continued
        similar = [each for each in self._conversations.values() if _is_similar(each, new)]
        return max(reversed(similar), key=lambda each: len(each.own & new.own), default=continued)


def _is_similar(earlier: _Conversation, new: _Conversation) -> bool:
    """Whether two requests of one thread and agent share half of the messages of the shorter one.

    After a compaction, one message is enough.
    """
    shorter, shared = min(len(earlier.own), len(new.own)), len(earlier.own & new.own)
    is_compacted = any(new.prompt.messages[at] not in earlier.own for at in new.prompt.compacted)
    return earlier.identity == new.identity and shared > 0 and (2 * shared >= shorter or is_compacted)


def _break(earlier: _Conversation, new: _Conversation, sent: float) -> tuple[tuple[str, ...], int] | None:
    known = new.prompt.share_known_from(earlier.prompt)
    again = min(earlier.input_tokens, round(new.input_tokens * known)) - new.cached_tokens
    if again < _BLOCK:
        return None
    reasons = tuple(_reasons(earlier, new, sent))
    if not reasons and not _is_fork(earlier.prompt, new.prompt) and _share(new) < _share(earlier):
        reasons = (HOST_DROPPED,)
    return (reasons, again) if reasons else None


def _reasons(earlier: _Conversation, new: _Conversation, sent: float) -> Iterator[str]:
    if earlier.model != new.model:
        yield f"other model: {new.model} after {earlier.model}"
    for name, text in _SETTINGS.items():
        before, after = earlier.prompt.settings[name], new.prompt.settings[name]
        if before != after:
            yield f"other {text}: {_shown(after)} after {_shown(before)}"
    if changes := _tool_changes(earlier.prompt.tools, new.prompt.tools):
        yield f"tools changed: {changes}"
    if change := _message_change(earlier.prompt, new.prompt):
        yield change
    if (idle := sent - earlier.answered) > earlier.prompt.lifetime:
        yield f"idle {idle / 60:.0f} min, the cache lives {earlier.prompt.lifetime / 60:.0f}"


def _message_change(earlier: PromptFingerprint, new: PromptFingerprint) -> str | None:
    """The first message that changed, if messages behind it are sent again."""
    at = _common(earlier.messages, new.messages)
    if at == len(earlier.messages) or _is_fork(earlier, new):
        return None
    known = set(earlier.messages)
    by_compaction = any(index >= at and new.messages[index] not in known for index in new.compacted)
    return f"messages[{at}] changed{' by compaction' if by_compaction else ''}"


def _is_fork(earlier: PromptFingerprint, new: PromptFingerprint) -> bool:
    """Whether both go on differently from a common beginning, so that nothing is sent again that was not to be."""
    at = _common(earlier.messages, new.messages)
    rest = new.messages[at:]
    is_compacted = any(index >= at for index in new.compacted)
    return at < len(earlier.messages) and not is_compacted and set(earlier.messages[at:]).isdisjoint(rest)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def _tool_changes(earlier: Mapping[str, int], new: Mapping[str, int]) -> str:
    changes = [f"+{name}" for name in new if name not in earlier] + [f"-{name}" for name in earlier if name not in new]
    changes += [f"{name} is defined otherwise" for name in new if earlier.get(name, new[name]) != new[name]]
    if not changes and list(earlier) != list(new):
        changes = ["another order"]
    more = len(changes) - _MAX_SHOWN_TOOLS
    return ", ".join(changes[:_MAX_SHOWN_TOOLS]) + (f" and {more} more" if more > 0 else "")


def _extra_cost(tokens: int, request: _Conversation) -> float | None:
    """What tokens cost more if the cache does not have them, in US dollars; None where the price is not known."""
    row = find(request.model)
    if row is None or row.usd is None:
        return None
    written = row.usd.write_1h if request.prompt.lifetime == _LIFETIMES["1h"] else row.usd.write_5m
    return tokens * ((row.usd.miss if written is None else written) - row.usd.hit) / 1_000_000


def _is_compacted(message: BaseMessage) -> bool:
    kwargs = message.additional_kwargs
    return any(mark in kwargs for mark in COMPACTION_MARKS) if kwargs else False


def _hash_and_size(message: BaseMessage) -> tuple[int, int]:
    """A hash of what a host reads of a message, and about how many characters that is."""
    fields = message.__dict__
    content, kwargs, rest = fields["content"], fields["additional_kwargs"], fields.get("tool_call_id")
    size = _FRAME
    if isinstance(message, AIMessage):
        reasoning, calls = kwargs.get("reasoning_content"), b""
        if message.tool_calls:
            calls = _serialized([(call["id"], call["name"], call["args"]) for call in message.tool_calls])
        size += len(calls) + (len(reasoning) if type(reasoning) is str else 0)
        rest = reasoning, calls
    elif kwargs and isinstance(message, SystemMessage):
        rest = _serialized(kwargs)  # tools that join the conversation
    content = content if type(content) is str else _serialized(content)
    return hash((fields["type"], content, rest)), size + len(content)


def _serialized(value: Any) -> bytes:
    try:
        return marshal.dumps(value, _MARSHAL_VERSION)
    except ValueError:  # values that JSON does not have
        return repr(value).encode("utf-8", "backslashreplace")


def _prefixes(hashes: Iterable[int]) -> Iterator[int]:
    whole = 0
    for each in hashes:
        whole = hash((whole, each))
        yield whole


def _tool_hashes(settings: Mapping[str, Any]) -> dict[str, int]:
    tools = settings.get("tools")
    return {_tool_name(tool): hash(_serialized(tool)) for tool in (tools if isinstance(tools, list | tuple) else ())}


def _tool_name(tool: Any) -> str:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else tool
    return str(function.get("name") if isinstance(function, Mapping) else getattr(function, "name", function))


def _share(request: _Conversation) -> float:
    return request.cached_tokens / request.input_tokens if request.input_tokens else 0.0


def _shown(value: object) -> str:
    return "the default" if value is None else str(value)
