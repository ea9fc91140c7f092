"""What readers liked among recorded answers: tables by relation, of single suspects, placebos, tricks and the zoo.

Who is liked is measured here, whom to read and the reading itself stand in `benchmarks.reading`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.channels import s_norm
from benchmarks.measures import auc, markdown_head, markdown_row, rate, spread, tpr_at
from benchmarks.recorded import Collection
from benchmarks.relations import CLOSE, SAME_MAKER, SAME_ROOT, TAUGHT
from harness.channels.likelihoods import Heard, Unit, likelihoods, texts_to_read
from harness.channels.wording import wording
from harness.inference.excess import excess
from harness.inference.liking import preference, ranked
from harness.records import Responses

Floats = NDArray[np.float64]
HOUSES: Mapping[str, str] = {"qwen05": "qwen", "qwen15": "qwen", "gemma": "google", "smol": "smollm"}
BASES = ("gemma",)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "close kin": CLOSE, "same base": SAME_ROOT, "same maker": SAME_MAKER, "taught": TAUGHT
}  # fmt: skip
CONTROLS, DRAWS = 14, 20
FIRST = 8  # tokens of an answer that are looked at apart
Part = Literal["all", "first", "rest"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@dataclass(frozen=True)
class Read:
    """What was read of a collection: ``values`` nats a token or byte, (p, m, r); prompts and models by index."""

    readers: tuple[str, ...]
    prompts: tuple[int, ...]
    models: tuple[int, ...]
    values: Floats


def _template(reader: str, template: str) -> str:
    """A base model has no chat template, and gets the bare question."""
    return "bare" if template == "chat" and reader in BASES else template


def _part(values: Sequence[float], ends: Sequence[int], part: Part) -> Heard:
    some = {"all": slice(None), "first": slice(FIRST), "rest": slice(FIRST, None)}[part]
    return Heard(np.array(values)[some], np.array(ends)[some])


def read_of(
    collection: Collection, path: Path, template: str, unit: Unit, part: Part = "all", only: Sequence[str] = ()
) -> Read:
    """Prompts that every reader has read, or every one of ``only``; models of which half the prompts were."""
    table = collection.table
    told = [e for e in lines(path) if e["template"] == _template(e["reader"], template) and not e.get("trick")]
    told = [e for e in told if not only or e["reader"] in only]
    readers = tuple(sorted({e["reader"] for e in told}))
    by = {(e["prompt"], e["reader"]): e["heard"] for e in told}
    at = {p.id: i for i, p in enumerate(table.prompts)}
    prompts = sorted(at[i] for i in {i for i, _ in by} if i in at and all((i, r) in by for r in readers))
    read_models = {m for heard in by.values() for m in heard}
    texts = [
        [t if m in read_models else "" for m, t in zip(table.models, row, strict=True)]
        for row in texts_to_read(table, prompts)
    ]
    found = {
        (p, table.models.index(m), r): _part(values, ends, part)
        for p, prompt in enumerate(prompts)
        for r, reader in enumerate(readers)
        for m, (values, ends) in by[table.prompts[prompt].id, reader].items()
        if m in table.models
    }
    values = likelihoods(texts, found, len(readers), unit)
    often = np.isfinite(values).all(-1).sum(0) >= len(prompts) / 2
    usable = np.array([r.usable for r in collection.rows])
    kept = np.flatnonzero(often & usable)
    return Read(readers, tuple(prompts), tuple(kept.tolist()), values[:, kept])


def zoo_table(table: Responses, path: Path, template: str) -> list[str]:
    """For each reader how much likelier it finds every model than the other readers do, in nats a token, and the order.

    In brackets the standard error over prompts.
    """
    told = [e for e in lines(path) if e["template"] == template]
    readers = sorted({e["reader"] for e in told})
    by = {(e["prompt"], e["reader"]): e["heard"] for e in told}
    prompts = sorted({i for i, _ in by if all((i, r) in by for r in readers)})
    values = np.full((len(prompts), len(table.models), len(readers)), np.nan)
    for p, prompt in enumerate(prompts):
        for r, reader in enumerate(readers):
            for model, (heard, _) in by[prompt, reader].items():
                values[p, table.models.index(model), r] = float(np.mean(heard))
    beyond = np.stack(
        [values[..., r] - np.delete(values, r, axis=-1).mean(-1) for r in range(len(readers))], axis=-1
    )  # fmt: skip
    mean, spread = np.nanmean(beyond, 0), np.nanstd(beyond, 0) / np.sqrt(np.isfinite(beyond).sum(0))
    place = (-mean).argsort(0).argsort(0) + 1
    rows = [
        markdown_row([m, *(f"{mean[i, r]:+.2f} ({spread[i, r]:.2f}), {place[i, r]}" for r in range(len(readers)))])
        for i, m in enumerate(table.models)
    ]
    return [f"{len(prompts)} prompts", "", *markdown_head(["answers of", *(f"liked by {r}" for r in readers)]), *rows]


def tables(collection: Collection, found: Read) -> list[str]:
    """Both tables, and for each reader of a house the models that it likes most."""
    kept = collection.table.among(found.models).only(found.prompts)
    words = wording(kept)
    if words is None:
        return ["no prompt serves wording"]
    said = s_norm(excess(words.values))
    rows = [collection.rows[m] for m in found.models]
    relation = collection.relation[np.ix_(found.models, found.models)]
    makers, roots = np.array([r.organisation for r in rows]), np.array([r.root or r.name for r in rows])
    levels = without_factor(np.stack([_level(found.values, [i]) for i in range(len(found.readers))], -1))
    shown = ["reading", "rank 1 out", "own reader alone", "rivals alone", "wording", "both", "partial"]
    first, second, third = markdown_head(["reader", "relation", "pairs", *shown]), list[str](), list[str]()
    for side in sides(collection, found):
        members, liked = side.members, preference(found.values, side.own, side.rivals)
        alone, others = _level(found.values, side.own), _level(found.values, side.rivals)
        s, c = (a.ravel() for a in np.meshgrid(range(len(rows)), np.flatnonzero(members), indexing="ij"))
        strangers = (relation[s, c] == "unrelated") & (makers[s] != makers[c]) & ~members[s]
        for group, wanted in {**GROUPS, "of the house": ()}.items():
            kin = members[s] & (s != c) if not wanted else np.isin(relation[s, c], wanted)
            if kin.sum() >= 2:
                at = (s[kin | strangers], c[kin | strangers])
                shown_by = [x[at[0]] for x in (liked, levels[:, list(side.own)].mean(1), alone, others)]
                units = np.column_stack([roots[at[0]], roots[at[0]]])
                first.append(_pairs_row([side.name, group], (kin[kin | strangers], units), shown_by, said[at]))
        second += _rank_rows(side, found.values, rows)
        order = [f"{rows[i].name}{' *' if members[i] else ''}" for i in np.argsort(-liked)[:8]]
        third.append(
            f"Liked most by {side.name} (* of its house): {', '.join(order)}. {_by_halves(side, found.values)}"
        )
    ranks = markdown_head(["reader", "suspects", "trials", "least p (1/15)", "p <= .20", "worst stranger"])
    return [*first, "", *ranks, *second, "", *third]


@dataclass(frozen=True)
class Side:
    """Readers of one house, by index, those of others, and which models are of the house, (m,)."""

    name: str
    own: tuple[int, ...]
    rivals: tuple[int, ...]
    members: NDArray[np.bool_]


def sides(collection: Collection, found: Read) -> list[Side]:
    """Each reader whose house has models here, and the mean of those of one house."""
    house = np.array([collection.rows[m].superfamily for m in found.models])
    of = [HOUSES.get(r, r) for r in found.readers]
    own: list[tuple[int, ...]] = [(i,) for i, h in enumerate(of) if (house == h).any()]
    several = [tuple(i for i, x in enumerate(of) if x == h) for h in dict.fromkeys(of) if (house == h).any()]
    own += [some for some in several if len(some) > 1]
    out = []
    for some in own:
        rivals = tuple(i for i, h in enumerate(of) if h != of[some[0]])
        out.append(Side(" + ".join(found.readers[i] for i in some), some, rivals, house == of[some[0]]))
    return out


def _by_halves(side: Side, values: Floats) -> str:
    """What the area for models of the house would have been with half the prompts: how far it hangs on them."""
    rng, half = np.random.default_rng(1), len(values) // 2
    draws = [rng.permutation(len(values))[:half] for _ in range(DRAWS * 10)]
    found = [auc(preference(values[some], side.own, side.rivals), side.members) for some in draws]
    low, high = np.quantile(found, [0.05, 0.95])
    return f"With {half} prompts, drawn: area {np.mean(found):.2f}, in nine of ten draws {low:.2f} to {high:.2f}."


def placebo_table(collection: Collection, bare: Read, other: Read) -> list[str]:
    """Liking behind the answer's own question beside that behind another, on the same prompts and models.

    How far the order of models is the same is beside how far it is the same in halves of the prompts (even and odd
    ones, Spearman-Brown): if both are alike, the question does nothing.
    """
    models = [m for m in other.models if m in bare.models]
    prompts = [p for p in other.prompts if p in bare.prompts]
    readers = [r for r in other.readers if r in bare.readers]

    def values(of: Read) -> Floats:
        at = [[list(whole).index(x) for x in some] for whole, some in
              ((of.prompts, prompts), (of.models, models), (of.readers, readers))]  # fmt: skip
        return of.values[np.ix_(*at)]

    own, placebo = values(bare), values(other)
    head = [
        "reader",
        "models of its house",
        "own question",
        "another's",
        "own less another's",
        "r of both",
        "r of halves",
    ]
    out = [f"\n{len(prompts)} prompts, {len(models)} models, area for models of the house", "", *markdown_head(head)]
    for side in sides(collection, Read(tuple(readers), tuple(prompts), tuple(models), own)):
        liked, still = (preference(v, side.own, side.rivals) for v in (own, placebo))
        even, odd = (preference(own[i::2], side.own, side.rivals) for i in (0, 1))
        r, half = float(np.corrcoef(liked, still)[0, 1]), float(np.corrcoef(even, odd)[0, 1])
        cells = [f"{auc(x, side.members):.2f}" for x in (liked, still, liked - still)]
        out.append(
            markdown_row([side.name, str(side.members.sum()), *cells, f"{r:.2f}", f"{2 * half / (1 + half):.2f}"])
        )
    return out


def trick_table(collection: Collection, path: Path, template: str) -> list[str]:
    """What tricks of a host do to the effect of single suspects, ranked among all models of other houses, plain.

    In nats a character of all 48 words, as what was done to an answer is not there to be cut again.
    """
    told = [e for e in lines(path) if e["template"] == template]
    tricks = sorted({e["trick"] for e in told if e.get("trick")})
    if not tricks:
        return []
    row = {r.name: r for r in collection.rows}
    out = ["", *markdown_head(["trick", "reader", "suspects", "effect, plain", "effect, so shown", "first of all"])]
    for trick in tricks:
        done = [e for e in told if e.get("trick") == trick]
        readers = sorted({e["reader"] for e in done})
        prompts = sorted({e["prompt"] for e in done})
        plain = {(e["prompt"], e["reader"]): e["heard"] for e in told if not e.get("trick")}
        under = {(e["prompt"], e["reader"]): e["heard"] for e in done}
        prompts = [p for p in prompts if all((p, r) in plain and (p, r) in under for r in readers)]
        names = sorted({m for p in prompts for m in plain[p, readers[0]] if row[m].usable})
        suspects = sorted({m for p in prompts for m in under[p, readers[0]]} & set(names))
        for own in (r for r in readers if any(row[m].superfamily == HOUSES.get(r) for m in suspects)):
            house, r = HOUSES[own], readers.index(own)
            rivals = [i for i, other in enumerate(readers) if HOUSES.get(other) != house]
            for who, some in (
                ("its house", [m for m in suspects if row[m].superfamily == house]),
                ("strangers", [m for m in suspects if row[m].superfamily != house]),
            ):
                effects = []
                for s in some:
                    others = [m for m in names if m != s and row[m].superfamily != house]
                    effects.append(
                        [
                            ranked(_values([s, *others], s, source, plain, prompts, readers), [r], rivals)
                            for source in (plain, under)
                        ]
                    )
                shares = [f"{np.mean([e[1][1] * (len(others) + 1) < 1.5 for e in effects]):.2f}"] if effects else ["-"]
                means = [f"{np.mean([e[i][0] for e in effects]):.2f}" for i in (0, 1)] if effects else ["-", "-"]
                out.append(markdown_row([trick, own, f"{who} ({len(some)})", *means, *shares]))
    return out


def _values(
    models: Sequence[str],
    suspect: str,
    source: Mapping[tuple[str, str], Mapping[str, Any]],
    plain: Mapping[tuple[str, str], Mapping[str, Any]],
    prompts: Sequence[str],
    readers: Sequence[str],
) -> Floats:
    out = np.full((len(prompts), len(models), len(readers)), np.nan)
    for p, prompt in enumerate(prompts):
        for r, reader in enumerate(readers):
            for m, name in enumerate(models):
                one = (source if name == suspect else plain)[prompt, reader].get(name)
                if one is not None:
                    out[p, m, r] = sum(one[0]) / max(one[1][-1], 1)
    return out


def _level(values: Floats, readers: Sequence[int]) -> Floats:
    """How likely readers find each model, (m,), the mean of each prompt taken out."""
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(-1))
    known = np.where(whole[..., None], values, np.nan)[..., list(readers)].mean(-1)
    out: Floats = np.nanmean(known - np.nanmean(known, axis=1, keepdims=True), axis=0)
    return out


def without_factor(levels: Floats) -> Floats:
    """Levels of models by readers, (m, r), without the means of either and without the first factor of what is left.

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.allclose(without_factor(np.outer([1.0, 2.0, 4.0], [1.0, 3.0]) + [[1.0], [5.0], [2.0]]), 0.0))
    True
    """
    left = levels - levels.mean(0) - levels.mean(1, keepdims=True) + levels.mean()
    u, s, v = np.linalg.svd(left, full_matrices=False)
    out: Floats = left - s[0] * np.outer(u[:, 0], v[0])
    return out


def _pairs_row(
    about: Sequence[str], kin_units: tuple[NDArray[np.bool_], NDArray[Any]], by_reading: Sequence[Floats], said: Floats
) -> str:
    """Area and share found at 1 % by each measure; of reading and wording the interval of the area over lineages."""
    kin, units = kin_units
    both = _scaled(by_reading[0]) + _scaled(said)
    cells = []
    for x in (*by_reading, said, both):
        (low, high), _ = spread(x, kin, units) if x is by_reading[0] or x is said else ((np.nan, np.nan), ())
        within = "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        cells.append(f"{auc(x, kin):.2f}{within} / {tpr_at(x, kin, 0.01):.2f}")
    held = partial(by_reading[0], kin.astype(float), said)
    return markdown_row([*about, str(int(kin.sum())), *cells, f"{held:.2f}"])


def _scaled(values: Floats) -> Floats:
    out: Floats = (values - values.mean()) / values.std()
    return out


def partial(x: Floats, y: Floats, fixed: Floats) -> float:
    """Partial correlation of two variables with a third held fixed.

    >>> z = np.arange(40.0)
    >>> round(partial(z + np.sin(z), z + np.cos(z * z), z), 1)
    0.0
    """
    a, b, c = (np.corrcoef(u, v)[0, 1] for u, v in ((x, y), (x, fixed), (y, fixed)))
    return float((a - b * c) / np.sqrt((1 - b**2) * (1 - c**2)))


def _rank_rows(side: Side, values: Floats, rows: Sequence[Any]) -> Iterator[str]:
    """Suspects of the house, and strangers, among 14 control lineages of other houses and makers."""
    own, members = side.name, side.members
    rng = np.random.default_rng(1)
    for who, suspects in (("its house", np.flatnonzero(members)), ("strangers", np.flatnonzero(~members))):
        p, units, names = [], [], []
        for s in suspects.tolist():
            others = [i for i in np.flatnonzero(~members).tolist() if rows[i].organisation != rows[s].organisation]
            for _ in range(DRAWS):
                picked: dict[str, int] = {}
                for i in rng.permutation(others).tolist():
                    if rows[i].root != rows[s].root:
                        picked.setdefault(rows[i].root, i)
                pool = list(picked.values())[:CONTROLS]
                if len(pool) == CONTROLS:
                    p.append(ranked(values[:, [s, *pool]], side.own, side.rivals)[1])
                    units.append(rows[s].root)
                    names.append(rows[s].name)
        if not p:
            yield markdown_row([own, who, str(len(suspects)), "too few control lineages", "-", "-"])
            continue
        found, of = np.array(p), np.array(names)
        shares = []
        for most in (1 / (CONTROLS + 1), 0.2):
            share, (low, high), _ = rate(found <= most + 1e-9, np.column_stack([units, units]))
            shares.append(f"{share:.2f} [{low:.2f}, {high:.2f}]")
        worst = max((float((found[of == u] <= 1 / (CONTROLS + 1) + 1e-9).mean()), u) for u in set(names))
        cell = f"{worst[1]} {worst[0]:.2f}" if who == "strangers" else "-"
        yield markdown_row([own, who, f"{len(set(names))} models, {len(p)} pools", *shares, cell])
