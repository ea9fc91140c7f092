"""Schema of a campaign's YAML: typed models with defaults, units and plain errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from harness.config.endpoint import Endpoint, Name, Reader, Remote, Strict, SurfaceName, served, shared_roots
from harness.config.providers import UNKNOWN
from harness.records import ControlRule, Question


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
        "be known. With none (`[]`) answers are recorded and nothing is judged (docs/references.md).",
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


class Report(Strict):
    """How results are written."""

    bom: bool = Field(
        False,
        description="Begin every CSV file with a byte order mark, by which Excel reads letters of all languages right "
        "when a file is opened by a double click. Other programs may take it for a part of the first column's name.",
    )
    parquet: bool = Field(False, description="Write every table as Parquet, too, with types (docs/data-dictionary.md).")


class ReferenceUse(Strict):
    """A pack of answers recorded by others, and which of its models may be used."""

    pack: str = Field(description="A pack of `harness references list`, or a path to one, relative to this file.")
    months: PositiveInt = Field(
        24, description="Most months between the release of a model in it and that of the candidate."
    )
    models: tuple[str, ...] = Field((), description="Only these models of it; default: all that fit.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, values: Any) -> Any:
        return {"pack": values} if isinstance(values, str) else values


def _or_text(schema: dict[str, Any]) -> None:
    """Say in the schema of a list that an item may be a text, too, as `ReferenceUse` takes one."""
    schema["items"] = {"anyOf": [{"type": "string"}, schema["items"]]}


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
    references: tuple[ReferenceUse, ...] = Field(
        (),
        description="Packs of answers recorded by others (docs/references.md). Their models serve as controls and as "
        "known models without being asked, where they were asked the same under the same conditions. A name or a path "
        "alone will do.",
        json_schema_extra=_or_text,
    )
    endpoints: tuple[Endpoint, ...] = Field(min_length=1)
    readers: tuple[Reader, ...] = Field(
        (),
        description="Models with open weights that read the stored answers once all is asked, and say how likely they "
        "find them (docs/readers.md). What comes of it is shown apart and decides nothing. Of each candidate's lineage "
        "one or more, and one or more of other lineages.",
    )
    collect: Collect = Collect()
    analysis: Analysis = Analysis()
    report: Report = Report()
    secrets: Path | None = Field(
        None, description="File of NAME=value lines for keys that are not in the environment, relative to this file."
    )

    @model_validator(mode="after")
    def _priced(self) -> Campaign:
        if self.collect.max_cost is not None:
            for e in (*self.endpoints, *self.readers):
                if isinstance(e, Remote) and e.price is None:
                    raise ValueError(f"endpoint {e.name!r} has no `price:`, so `max_cost` cannot be kept")
        return self

    @model_validator(mode="after")
    def _roles(self) -> Campaign:
        if readers := [e.name for e in self.endpoints if e.role == "reader"]:
            raise ValueError(f"endpoint {readers[0]!r} is a reader: write it under `readers:`")
        if len({e.lineage for e in self.readers}) == 1:
            raise ValueError(
                f"all `readers` are of one lineage, {self.readers[0].lineage!r}: what they like is plain prose as much "
                "as kin; add a reader of another lineage"
            )
        names = [e.name.casefold() for e in (*self.endpoints, *self.readers)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two endpoints are called {name!r}; names must differ, upper and lower case aside")
        by_role = {r: [e for e in self.endpoints if e.role == r] for r in ("suspect", "candidate", "control")}
        paired = bool({*self.analysis.questions} - {"survey"})
        named = bool({*self.analysis.questions} - {"survey", "attribution"})  # among known models nobody is accused
        for role in (*(("suspect",) if paired else ()), *(("candidate",) if named else ())):
            if not by_role[role]:
                raise ValueError(f"no endpoint has `role: {role}`; a verdict needs at least one")
        if len(self.endpoints) < 5 and not self.references and "survey" in self.analysis.questions:
            raise ValueError("a survey compares pairs of models with one another: it needs five endpoints or more")
        for candidate in by_role["candidate"]:
            roots = {e.name: e.lineage if e.lineage != UNKNOWN else e.name for e in by_role["control"]}
            others = set(roots.values()) - {candidate.lineage}
            if "kinship" in self.analysis.questions and len(others) < 2 and not self.references:
                raise ValueError(
                    f"candidate {candidate.name!r} has {len(others)} control lineage(s) other than its own; "
                    "kinship needs at least 2: add endpoints with `role: control`, or a pack under `references:`"
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


def kin_among_controls(campaign: Campaign) -> tuple[Endpoint, Endpoint, str] | None:
    """The first control that is kin of a candidate by its name, with that candidate and the root they share."""
    by = {r: [e for e in campaign.endpoints if e.role == r] for r in ("candidate", "control")}
    if not {"kinship", "teaching"} & set(campaign.analysis.questions):
        return None  # to tell two served models apart a sibling is a good control
    pairs = ((k, c, min(shared, default="")) for k in by["control"] for c in by["candidate"]
             if (shared := shared_roots(k, c)))  # fmt: skip
    return next(pairs, None)
