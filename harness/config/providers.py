"""Providers by name, and models by their well-known names. Data in providers.yaml and models.yaml, no code for one."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ConfigDict, TypeAdapter


def hostname(url: Any) -> str:
    """The host of an address in lower case, without the dot that may end it; nothing if it is no address."""
    try:
        return (urlsplit(url).hostname or "").removesuffix(".") if isinstance(url, str) else ""
    except ValueError:
        return ""


_AUTHORITY = re.compile(r"(?:[^\s@/?#\\]*@)?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


def callable_address(url: str) -> str:
    """One that every reader of addresses splits alike, so that who is looked at is who is asked."""
    try:
        parts = urlsplit(url)
        good = bool(_AUTHORITY.fullmatch(parts.netloc)) and hostname(url) != "" and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s\\\x00-\x20\x7f#]", url):
        raise ValueError("no address that can be called, such as https://HOST/v1")
    return url


@dataclass(frozen=True)
class Provider:
    """What is particular about one provider; the default is a server of which nothing is known.

    ``path`` and ``api_version`` stand before and behind the paths of the API (Azure), ``body`` is sent with every
    request, ``refuses`` names parameters that are not sent. ``top_logprobs`` is the most alternatives a token, 0 where
    there are no logprobs; ``logprobs_is_count``: the number is written into ``logprobs`` itself. ``base_urls`` are of
    kinds that have an address of their own; ``key_header`` carries the key where it is not the API's header.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    title: str = "any OpenAI-compatible server"
    base_url: str | None = None
    base_urls: dict[str, str] = field(default_factory=dict)
    api_key_env: str | None = None
    key_header: str | None = None
    path: str = ""
    api_version: str | None = None
    max_tokens: str = "max_tokens"
    top_logprobs: int = 100
    logprobs_is_count: bool = False
    refuses: tuple[str, ...] = ()
    body: dict[str, Any] = field(default_factory=dict)
    pins_upstream: bool = False
    hosts: tuple[str, ...] = ()  # besides that of `base_url`; with a dot in front: all below it
    pins_in_model: bool = False  # a router that is pinned by what stands behind the last colon of `model`
    reasoning: str = ""
    kinds: tuple[str, ...] = ("openai-chat",)
    batches: tuple[str, ...] = ()  # kinds that can be asked in batches
    note: str = ""
    source: str = ""

    def serves(self, host: str) -> bool:
        """Whether a host is the provider's own: only those get what is in its variable. ``*`` is one part of a name."""
        own = (urlsplit(url).hostname for url in (self.base_url or "", *self.base_urls.values()))
        return any(_is_host(host, known) for known in (*own, *self.hosts) if known)

    def address(self, kind: str) -> str | None:
        """Where an API of this provider is; None if that depends on the account, or if nobody knows."""
        return self.base_urls.get(kind, self.base_url)

    def pinned(self, model: str, upstream: str | None) -> bool:
        """Whether one host serves a model here: always where nothing is routed, else if the config names it."""
        if self.pins_in_model:
            return model.rpartition(":")[0] != "" and model.rpartition(":")[2] not in _ANY_HOST
        return bool(upstream) or not self.pins_upstream


def _is_host(host: str, known: str) -> bool:
    if known.startswith("."):
        return host.endswith(known)
    return re.fullmatch(re.escape(known).replace(r"\*", "[a-z0-9-]+"), host) is not None


_ANY_HOST = frozenset({"fastest", "cheapest", "preferred"})  # suffixes by which a router still chooses for itself
PLAIN = Provider(
    base_urls={
        "anthropic-messages": "https://api.anthropic.com/v1",
        "gemini": "https://generativelanguage.googleapis.com/v1beta",
    }
)


@functools.cache
def providers() -> dict[str, Provider]:
    """All providers by name."""
    return TypeAdapter(dict[str, Provider]).validate_python(_data("providers.yaml"))


def _data(name: str) -> Any:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe


def provider(name: str | None) -> Provider:
    """The provider called ``name``; `PLAIN` for none. ``KeyError`` for a name that nobody has."""
    return PLAIN if name is None else providers()[name]


UNKNOWN = "?"  # what a config writes where nobody knows maker or lineage


@dataclass(frozen=True)
class WellKnown:
    """What a model's name tells: maker, lineage, the month it came out (YYYY-MM), whether it thinks; None: unknown.

    ``name`` is the pattern that was found; ``lineage`` the pretrained root or a closed model's series; ``open``: others
    tune these weights under names that hold this one; ``hides``: thoughts that it has do not come with the answer.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str = ""
    maker: str | None = None
    lineage: str | None = None
    released: str | None = None
    thinks: bool | None = None
    hides: bool = False
    open: bool = False


NOBODY = WellKnown()
# Words that a maker or a host adds to a name, and that make no tune of it: sizes, dates, versions, formats, efforts.
_USUAL = re.compile(
    r"v?\d+([a-z]{1,2}|\d*)|[ae]\d+b|\d+x\d+b|i?q\d|w\d+a\d+|(fp|bf|int|nvfp|mxfp)\d+|[a-z]|xs|xl|"
    r"chat|instruct|it|base|pt|hf|llm|lm|text|meta|preview|latest|exp|experimental|beta|turbo|fast|free|nitro|online|extended|"
    r"think|thinking|reasoning|reasoner|no|non|high|low|medium|minimal|xhigh|max|plus|pro|mini|small|large|big|tiny|nano|micro|"
    r"lite|light|flash|ultra|core|edge|coder|code|math|vl|vision|omni|audio|air|airx|flashx|z1|next|new|original|oss|"
    r"gguf|ggml|awq|gptq|exl\d|mlx|bnb|onnx|quant|quantized|bit|concise|verbose|greedy|default|safeguard|"
    r"together|fireworks|groq|deepinfra|azure|bedrock|vertex|nebius|novita|cerebras|sambanova|api|cloud|local|openrouter|anthropic"
)


@functools.cache
def well_known() -> tuple[WellKnown, ...]:
    """All names known, in the order in which they are tried."""
    return TypeAdapter(tuple[WellKnown, ...]).validate_python(_data("models.yaml"))


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


@functools.cache
def _makers() -> dict[str, str]:
    found = TypeAdapter(dict[str, tuple[str, ...]]).validate_python(_data("makers.yaml"))
    return {_key(name): maker for maker, others in found.items() for name in (maker, *others)}


def maker_named(name: str) -> str:
    """A maker as makers.yaml writes it, for any name it goes by; one that is not listed stays as it is.

    Examples
    --------
    >>> maker_named("THUDM"), maker_named("Aurora Labs")
    ('Z.ai', 'Aurora Labs')
    """
    return _makers().get(_key(name), name)


def _written(name: str) -> tuple[str, str]:
    """Owner ("" where none is written) and model of a name as a hub, a router or a table writes it, in lower case."""
    parts = [p for p in re.split(r"/|__", name.lower().removesuffix(".gguf")) if p]
    owner, model = (parts[0] if len(parts) > 1 else ""), (parts[-1] if parts else "")
    first, _, rest = model.partition("_")
    if not owner and _key(first) in _makers() and _first(rest) is not None:
        owner, model = first, rest
    return owner.replace("_", "-"), model.replace("_", "-")


def _first(model: str) -> int | None:
    return next((i for i, k in enumerate(well_known()) if re.search(k.name, model)), None)


@functools.lru_cache(4096)
def guessed(name: str) -> WellKnown:
    """Maker, lineage, month of release and thinking of a model by its name; `NOBODY` where the name tells nothing.

    A name that holds an open model's and has words of its own beside it is a tune: its lineage is that of the base, its
    maker the owner that is written before it, if that is a known one. Better unknown than wrong.

    Examples
    --------
    >>> found = guessed("openrouter/meta-llama/Llama-3.3-70B-Instruct")
    >>> found.maker, found.lineage, found.released
    ('Meta', 'llama-3.1', '2024-12')
    >>> found = guessed("princeton-nlp/Llama-3-Instruct-8B-SimPO")
    >>> found.maker, found.lineage
    (None, 'llama-3')
    >>> guessed("our-own-model") is NOBODY
    True
    """
    owner, model = _written(name)
    whole = f"{owner}/{model}" if owner else model
    known, at = well_known(), _first(whole)
    of_owner = _makers().get(_key(owner))
    if at is None:
        return WellKnown(name=owner, maker=of_owner) if of_owner else NOBODY
    found = known[at]
    bases = (k for k in known[at:] if k is found or k.open)
    root = next((k.lineage for k in bases if k.lineage and re.search(k.name, whole)), UNKNOWN)
    own = re.sub(found.name, " ", model, count=1) if found.open else ""
    tuned = any(w for w in re.split(r"[^a-z0-9.]+|\.(?!\d)", own) if not _USUAL.fullmatch(w.replace(".", "")))
    maker = of_owner if tuned else found.maker or of_owner
    return replace(found, maker=maker, lineage=None if root == UNKNOWN else root)


def makers_of(maker: str | None, lineage: str | None, model: WellKnown) -> tuple[str | None, str | None]:
    """Who made a model, and who its pretrained root; None where it is unknown, or for a root of the model's own maker.

    ``maker`` and ``lineage`` are what a config says (None or `UNKNOWN`: nothing), ``model`` what the name tells.
    """
    own = maker_named(maker) if maker and maker != UNKNOWN else model.maker
    said = guessed(lineage) if lineage and lineage != UNKNOWN else NOBODY
    told = said.lineage or model.lineage
    root = guessed(told).maker if told else said.maker
    return own, None if root == own else root


def roots_of(lineage: str | None, model: WellKnown, *, said_only: bool = False) -> frozenset[str]:
    """Every root that what is said of a model, or its name, gives it, written alike: Qwen-2.5 is qwen2.5.

    Examples
    --------
    >>> sorted(roots_of("deepseek-r1", guessed("perplexity/r1-1776")))
    ['deepseekr1', 'deepseekv3']
    """
    said = {lineage} if lineage and lineage != UNKNOWN else set()
    told = set() if said_only else {model.lineage, *(guessed(x).lineage for x in said)}
    return frozenset(bare(x) for x in said | told if x)


def bare(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[^a-z0-9.]", "", name.casefold())
