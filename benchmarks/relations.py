"""The relation of every pair of models, from a lineage table: what counts as kin, and what as a false alarm.

The first rule that fits wins: same weights > parent and child > siblings > excluded > same pretrained root > teacher
and student > same series > same vendor > same data > same superfamily > common teacher > unrelated.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CLOSE = ("same_weights", "parent_child", "sibling")
SAME_ROOT = ("same_base", "closed_series")
SAME_MAKER = ("same_series", "same_vendor", "same_superfamily")
TAUGHT = ("teacher_student", "same_data", "co_teacher")
SHARES_WEIGHTS = (*CLOSE, *SAME_ROOT, "postproc", "ensemble_member")
NEVER = ("self", "excluded", "postproc", "ensemble_member")  # neither a positive nor a negative
COLUMNS = (
    *("model", "organisation", "series", "base_model", "parent", "ancestor", "teacher", "data_group", "relation"),
    "reasoning",
)

_CLOSED_VENDORS = frozenset({"OpenAI", "Anthropic", "Google", "xAI"})
_COPIES = ("same-weights", "best-of-n")
_PASS_THROUGH = frozenset({"self-moa", "post-edit", "adversarial-postprocess"})
_UNCLEAR = frozenset({"unknown", "adversarial", "adversarial-postprocess"})
_SUPERFAMILIES: Mapping[str, str] = {
    series: name
    for name, members in {
        "llama3": "llama-3 llama-3.1 llama-3.2 llama-3.3 llama-4",
        "llama12": "llama-1 llama-2",
        "qwen": "qwen1 qwen1.5 qwen2 qwen2.5 qwen3 qwen3.5",
        "mistral": "mistral-7b mixtral-8x7b mixtral-8x22b mistral-large mistral-medium solar mistral-small "
        "mistral-nemo ministral mistral-medium-3",
        "yi": "yi yi-1.5 yi-large",
        "openai": "gpt-3 gpt-3.5 gpt-4 gpt-4-turbo gpt-4o gpt-4.1 gpt-5 gpt-4.5 o1 o3 o4 gpt-oss",
        "anthropic": "claude-1 claude-2 claude-instant claude-3 claude-3.5 claude-3.7 claude-4 claude-4.5",
        "google": "gemini gemini-1.5 gemini-2.0 gemini-2.5 gemma-1 gemma-2 gemma-3 palm-2",
    }.items()
    for series in members.split()
}


@dataclass(frozen=True)
class Row:
    """One model of a lineage table."""

    name: str
    organisation: str
    series: str
    base_model: str
    parent: str
    ancestor: str
    teachers: frozenset[str]
    data_groups: frozenset[str]
    relation: str
    reasoning: str = ""

    @classmethod
    def of(cls, row: Mapping[str, str | None]) -> Row:
        """A row as `csv.DictReader` gives it; missing columns and values count as blank."""
        text = {key: (row.get(key) or "").strip() for key in COLUMNS}
        teachers, groups = (frozenset(filter(None, text[k].split(";"))) for k in ("teacher", "data_group"))
        single = {k: v for k, v in text.items() if k not in ("model", "teacher", "data_group")}
        return cls(name=text["model"], teachers=teachers, data_groups=groups, **single)

    @property
    def root(self) -> str:
        """The pretrained root, or the series of a closed vendor: one lineage."""
        return self.series if self.organisation in _CLOSED_VENDORS else self.base_model

    @property
    def thinks(self) -> bool | None:
        """Whether it thought before it answered; None where the table does not say."""
        return {"true": True, "false": False}.get(self.reasoning.lower())

    @property
    def superfamily(self) -> str:
        """Series of one house that may share more than is documented: never on both sides of a split."""
        return _SUPERFAMILIES.get(self.series, self.series)

    @property
    def unclear(self) -> bool:
        """Nobody knows what its weights are."""
        return self.relation in _UNCLEAR or self.base_model in {"unknown", "none"}

    @property
    def ensemble(self) -> bool:
        """Its answers are those of several models, or of another one passed through."""
        return self.relation == "moe/ensemble" or self.base_model == "ensemble" or self.name.startswith("aligner-2b")

    @property
    def usable(self) -> bool:
        """Fit to be a suspect, a candidate or a control."""
        return not (self.unclear or self.ensemble) and bool(self.root)


_TEACHERS: Mapping[str, Callable[[Row], bool]] = {
    "gpt-4": lambda m: m.series == "gpt-4",
    "gpt-3.5": lambda m: (
        m.series == "gpt-3.5" and "turbo" in m.name and "1106" not in m.name and "instruct" not in m.name
    ),
    "gpt-4-turbo": lambda m: m.series == "gpt-4-turbo",
    "text_davinci_003": lambda m: m.name == "text_davinci_003",
    "claude-2": lambda m: m.name in {"claude-2", "claude-2.1", "claude-2.1_verbose", "claude-2.1_concise"},
    "Mixtral-8x7B-Instruct-v0.1": lambda m: m.series == "mixtral-8x7b",
    "deepseek-r1": lambda m: m.name.lower().endswith("deepseek-r1"),
    "qwen3-235b": lambda m: "235b" in m.name,
    "gemini": lambda m: m.series.startswith("gemini"),
    "gemma-2-27b": lambda m: m.series == "gemma-2",
    "llama-3.1-70b": lambda m: m.series == "llama-3.1",
    "mistral-large": lambda m: m.series == "mistral-large",
}


def taught(student: Row, teacher: Row) -> bool:
    """The table names the teacher among those whose outputs the student was trained on."""
    return any(_TEACHERS[t](teacher) for t in student.teachers if t in _TEACHERS)


class Lineage:
    """Models of one collection with their weight groups and post-trained ancestors."""

    def __init__(self, models: Iterable[Row]) -> None:
        self.models = tuple(models)
        self._by_name = {m.name: m for m in self.models}
        self._weights = {m.name: self._weight_group(m) for m in self.models}
        self._ancestors = {m.name: self._chain(m) for m in self.models}

    @classmethod
    def read(cls, path: Path) -> Lineage:
        """A lineage CSV; only `model` is needed, every other column of `COLUMNS` may be missing or blank."""
        with path.open(newline="", encoding="utf-8-sig") as f:
            return cls(row for row in map(Row.of, csv.DictReader(f)) if row.name)

    def of(self, names: Sequence[str]) -> list[Row]:
        """Rows of some models; one that the table does not hold is of unknown lineage."""
        blank = dict.fromkeys(COLUMNS, "") | {"relation": "unknown"}
        return [self._by_name.get(n) or Row.of(blank | {"model": n}) for n in names]

    def matrix(self, names: Sequence[str]) -> NDArray[np.object_]:
        """Relations of some models, (m, m) of str, symmetric, ``self`` on the diagonal."""
        rows = self.of(names)
        out = np.full((len(rows), len(rows)), "self", dtype=object)
        for i, a in enumerate(rows):
            for j in range(i):
                out[i, j] = out[j, i] = self.relation(a, rows[j])
        return out

    def relation(self, a: Row, b: Row) -> str:
        """Relation of two models; symmetric."""
        if a.name == b.name:
            return "self"
        if self._weights.get(a.name, a.name) == self._weights.get(b.name, b.name):
            return "same_weights"
        if a.unclear or b.unclear:
            return "excluded"
        return self._descent(a, b) or _resemblance(a, b)

    def _weight_group(self, model: Row) -> str:
        """The model whose weights these are, under another prompt, host or sampling."""
        seen = set()
        while model.relation.startswith(_COPIES) and model.parent and model.name not in seen:
            if model.parent not in self._by_name:
                return model.parent
            seen.add(model.name)
            model = self._by_name[model.parent]
        return model.name

    def _chain(self, model: Row) -> frozenset[str]:
        """Weight groups of the post-trained ancestors, own group left out."""
        found: set[str] = set()
        visited: set[str] = set()
        current: Row | None = model
        while current is not None and current.name not in visited:
            visited.add(current.name)
            above = current.parent or current.ancestor
            current = self._by_name.get(above)
            if above:
                found.add(self._weights[above] if current else above)
        return frozenset(found - {self._weights[model.name]})

    def _descent(self, a: Row, b: Row) -> str | None:
        over_a, over_b = self._ancestors[a.name], self._ancestors[b.name]
        b_over_a, a_over_b = self._weights[b.name] in over_a, self._weights[a.name] in over_b
        if b_over_a or a_over_b:
            if (a.relation in _PASS_THROUGH and b_over_a) or (b.relation in _PASS_THROUGH and a_over_b):
                return "postproc"
            return "ensemble_member" if a.ensemble or b.ensemble else "parent_child"
        if over_a & over_b:
            return "sibling"
        return "excluded" if a.ensemble or b.ensemble else None


def _resemblance(a: Row, b: Row) -> str:
    """Relation of two models without a documented common ancestor."""
    both_closed = {a.organisation, b.organisation} <= _CLOSED_VENDORS
    same_vendor, shared_data = a.organisation == b.organisation, bool(a.data_groups & b.data_groups)
    rules = (
        (bool(a.base_model) and a.base_model == b.base_model, "closed_series" if both_closed else "same_base"),
        (taught(a, b) or taught(b, a), "teacher_student"),
        (a.series == b.series, "same_series"),
        (same_vendor and not shared_data, "same_vendor"),
        (shared_data, "same_data"),
        (a.superfamily == b.superfamily, "same_superfamily"),
        (bool(a.teachers & b.teachers), "co_teacher"),
    )
    return next((name for holds, name in rules if holds), "unrelated")
