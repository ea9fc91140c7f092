"""All that a user may write in YAML, as typed models with defaults, units and plain errors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from harness.endpoints import (
    Called,
    Columns,
    Endpoint,
    Local,
    Name,
    OpenAIChat,
    OpenAICompletions,
    OpenAIResponses,
    Price,
    Recorded,
    Remote,
    Role,
    Strict,
    SurfaceName,
    Weights,
    served,
)

__all__ = [
    "Analysis",
    "Called",
    "Campaign",
    "Collect",
    "Columns",
    "Endpoint",
    "Local",
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIResponses",
    "Price",
    "PromptUse",
    "Question",
    "Recorded",
    "Remote",
    "Role",
    "Weights",
]

Question = Literal["kinship", "identity", "teaching", "attribution"]


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
    max_body_mb: PositiveFloat = Field(32.0, description="Largest answer body read, in megabytes.")


class Analysis(Strict):
    """How answers are compared and decided."""

    questions: tuple[Question, ...] = ("kinship", "identity")
    channels: tuple[str, ...] | None = Field(None, description="Channels to use; default: all that the prompts serve.")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Error rate at which a verdict is given.")
    min_coverage: float = Field(0.9, ge=0, le=1, description="A channel with less usable answers abstains.")
    permutations: int = Field(2000, ge=99, description="Permutations of the identity test.")
    bootstrap: int = Field(1000, ge=100, description="Bootstrap rounds for intervals.")
    calibration: Path | None = Field(
        None, description="File that `harness calibrate` wrote, relative to this file; default: the project's own."
    )
    executor: str = Field(
        "local",
        pattern=r"^(local|dask://[^\s/:]+:\d+)$",
        description="Where channels are computed: `local`, or `dask://HOST:PORT` of a running scheduler.",
    )


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
        for role in ("suspect", "candidate"):
            if not by_role[role]:
                raise ValueError(f"no endpoint has `role: {role}`; a verdict needs at least one")
        for candidate in by_role["candidate"]:
            others = {e.lineage for e in by_role["control"]} - {candidate.lineage}
            if "kinship" in self.analysis.questions and len(others) < 2:
                raise ValueError(
                    f"candidate {candidate.name!r} has {len(others)} control lineage(s) other than its own; "
                    "kinship needs at least 2: add endpoints with `role: control`"
                )
            kin = [e.name for e in by_role["control"] if e.lineage == candidate.lineage]
            if kin:
                raise ValueError(f"control {kin[0]!r} is of candidate {candidate.name!r}'s own lineage")
            twins = [e.name for e in by_role["control"] if served(e) is not None and served(e) == served(candidate)]
            if twins:
                raise ValueError(
                    f"control {twins[0]!r} is the same model at the same address as candidate {candidate.name!r}"
                )
        return self
