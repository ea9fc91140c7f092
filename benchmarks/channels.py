"""Accuracy of each channel alone, by relation of two models.

    python -m benchmarks.channels --data FILE.parquet --lineage FILE.csv     recorded answers of known lineage
    python -m benchmarks.channels --zoo FOLDER/results/zoo                   the answers of tests/zoo

Prints Markdown. On recorded answers: area under the curve against unrelated pairs and, after the slash, the share
found at 1 % false alarms, of the excess similarity with both sides scaled by their controls (s-norm). In the zoo, where
lineages are too few for rates: the mean raw similarity of each relative with its parent, beside that of strangers and
siblings and of the parent with itself (`floor`: half of its samples against the other half); then the rank of the pair
among the ten pairs of parent, relative and strangers, by excess. Under half coverage there is a dash.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.measures import markdown_head, markdown_row
from benchmarks.recorded import Collection, read
from harness.channels.draws import with_twin
from harness.channels.parallel import load_channels
from harness.inference.excess import excess
from harness.records import Responses, Similarity
from harness.store.store import Store

Floats = NDArray[np.float64]
RELATIONS: Mapping[str, tuple[str, ...]] = {
    "close": ("same_weights", "parent_child", "sibling"),
    "parent, child": ("parent_child",),
    "same root": ("same_base", "closed_series"),
    "teacher": ("teacher_student",),
    "common teacher": ("co_teacher",),
    "same data": ("same_data",),
    "same series": ("same_series",),
}
PARENT = "smol"
STRANGERS = ("gemma", "qwen05", "qwen15")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LINES = re.compile(r"^\s*(?:[-*+•]|\d+[.)]|#{1,6})\s+|^\s*```.*$", re.MULTILINE)
_MARKS = re.compile(r"[*_`~|]")
LEAST = 0.5  # coverage below which a figure is not shown
TWIN = "its other half"


def main() -> None:
    """Measure what is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lineage", type=Path)
    parser.add_argument("--zoo", type=Path, help="results folder of the zoo campaign")
    parser.add_argument("--prompts", type=int, default=100, help="prompts drawn from the recorded ones")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.data and given.lineage:
        print("\n".join(recorded(read(given.data, given.lineage), given.prompts, given.seed)))
    elif given.zoo:
        print("\n".join(zoo(given.zoo)))
    else:
        parser.error("give --data with --lineage, or --zoo")


def _similarities(responses: Responses, names: tuple[str, ...] | None = None) -> list[Similarity]:
    return [s for c in load_channels(names).values() if (s := c(responses)) is not None]


def _plain(responses: Responses) -> Responses:
    """The same answers without list marks, headings, fences, link targets and emphasis."""
    return replace(responses, text=[_MARKS.sub(" ", _LINES.sub("", _LINK.sub(r"\1", t))) for t in responses.text])


def recorded(collection: Collection, n: int, seed: int) -> list[str]:
    """A table of channels by relations, `AUC / TPR at 1 %`; relations without five pairs are left out."""
    total = len(collection.table.prompts)
    chosen = sorted(np.random.default_rng(seed).permutation(total)[:n].tolist())
    part = collection.table.only(chosen)
    similarities = _similarities(part)
    similarities += [replace(s, channel="wording, no markdown") for s in _similarities(_plain(part), ("wording",))]
    pairs = {name: collection.pairs(*relations) for name, relations in RELATIONS.items()}
    pairs = {name: at for name, at in pairs.items() if len(at) >= 5}
    null = collection.pairs("unrelated")
    lines = [
        *markdown_head(["channel", *(f"{name} ({len(at)})" for name, at in pairs.items())]),
    ]
    for s in similarities:
        score = s_norm(excess(s.values))
        lines.append(markdown_row([s.channel, *(_rates(score, at, null) for at in pairs.values())]))
    return [f"{len(chosen)} of {total} prompts, {len(collection.rows)} models, {len(null)} unrelated pairs", "", *lines]


def s_norm(score: Floats) -> Floats:
    """Mean of the z of a pair among all pairs of either model, (m, m)."""
    with warnings.catch_warnings():  # a model that no prompt of a channel covers
        warnings.simplefilter("ignore", RuntimeWarning)
        mean, spread = np.nanmean(score, axis=1), np.nanstd(score, axis=1)
        z = (score - mean[:, None]) / spread[:, None]
    return np.asarray((z + z.T) / 2)


def _rates(score: Floats, pairs: NDArray[np.int64], null: NDArray[np.int64]) -> str:
    kin, strangers = (score[at[:, 0], at[:, 1]] for at in (pairs, null))
    kin, strangers = kin[np.isfinite(kin)], strangers[np.isfinite(strangers)]
    if len(kin) < 5 or len(strangers) < 50:
        return "-"
    truth = np.r_[np.ones(len(kin)), np.zeros(len(strangers))]
    found = float((kin > np.quantile(strangers, 0.99)).mean())
    return f"{roc_auc_score(truth, np.r_[kin, strangers]):.3f} / {found:.2f}"


def zoo(folder: Path) -> list[str]:
    """A table of channels by relatives: mean raw similarity with the parent, and the spread over strangers."""
    responses = stored(folder)
    halves = {s.channel: _mean(s) for s in _similarities(with_twin(responses, PARENT, TWIN))}
    relatives = [m for m in responses.models if m != PARENT and m not in STRANGERS]
    strangers = [m for m in STRANGERS if m in responses.models]
    head = ["channel", "unit", *relatives, "strangers", "siblings", "floor", "AUC"]
    lines = markdown_head(head)
    similarities = _similarities(responses)
    for s in similarities:
        mean, at = _mean(s), {m: i for i, m in enumerate(s.models)}
        family = [at[m] for m in (PARENT, *relatives)]
        far = np.array([mean[i, at[m]] for i in family for m in strangers])
        near = np.array([mean[at[PARENT], at[m]] for m in relatives])
        own = halves.get(s.channel)
        cells = [_number(v) for v in near]
        siblings = mean[at["qwen05"], at["qwen15"]] if "qwen15" in at else np.nan
        cells += [_span(far), _number(siblings)]
        cells += [_number(own[at[PARENT], -1]) if own is not None else "-", _auc(near, far)]
        lines.append(markdown_row([s.channel, s.unit, *cells]))
    ranks = [markdown_row([s.channel, *(_rank(s, m) for m in relatives)]) for s in similarities]
    return [*lines, "", *markdown_head(["rank", *relatives]), *ranks]


def _rank(s: Similarity, relative: str) -> str:
    """Place of parent and relative among the pairs of a pool with the strangers; siblings are the usual rival."""
    at = [s.models.index(m) for m in (PARENT, relative, *STRANGERS) if m in s.models]
    if min(s.coverage[at]) < LEAST:
        return "-"
    score = excess(s.values[:, at][:, :, at])
    upper = score[np.triu_indices(len(at), 1)]
    return str(1 + int((upper > upper[0] + 1e-12).sum()))


def stored(folder: Path) -> Responses:
    """The answers in a results folder."""
    with Store(folder / "responses.sqlite", readonly=True) as store:
        answers, prompts, pairs = list(store.responses()), store.prompts(), store.asked()
    models = sorted({m for m, _ in pairs}, key=lambda m: (m != PARENT, m in STRANGERS, m))
    asked = np.array([[(m, p.id) in pairs for m in models] for p in prompts])
    return Responses.of(models, prompts, answers, asked)


def _mean(s: Similarity) -> Floats:
    enough = s.coverage >= LEAST
    seen = np.isfinite(s.values) & enough[:, None] & enough
    total = np.where(seen, s.values, 0.0).sum(0)
    return np.asarray(np.divide(total, seen.sum(0), out=np.full(total.shape, np.nan), where=seen.any(0)))


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def _span(values: Floats) -> str:
    seen = values[np.isfinite(values)]
    return f"{seen.min():.2f} to {seen.max():.2f}" if len(seen) else "-"


def _auc(near: Floats, far: Floats) -> str:
    near, far = near[np.isfinite(near)], far[np.isfinite(far)]
    if not len(near) or not len(far):
        return "-"
    return f"{roc_auc_score(np.r_[np.ones(len(near)), np.zeros(len(far))], np.r_[near, far]):.2f}"


if __name__ == "__main__":
    main()
