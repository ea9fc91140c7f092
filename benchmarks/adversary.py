"""The adversary's table: what tricks of a host cost in power (evasion) and in false alarms (framing, wrappers).

    python -m benchmarks.adversary --data FILE.parquet --lineage FILE.csv     recorded answers of known lineage
    python -m benchmarks.adversary --mixtures --data ...                      shares of prompts routed elsewhere
    python -m benchmarks.adversary --zoo FOLDER                               real models: `benchmarks/zoo_tricks.py`

Every pair keeps its controls and prompts, so a trick is compared with the same pair without it. *Evasion*: close kin,
the trick on the suspect alone. *Framing*: unrelated models of other makers, the trick on both, on both and three of the
controls, on the controls only. Each verdict goes the project's whole way, at 5 % and one look, with one control a
lineage and further makers first. `noticed` is the share of verdicts with a caveat or a removal that the same pair does
not have without the trick; `most usual` names the one seen most often. *Mixtures*: what `harness.inference.mixture`
says of a suspect that answers a share of the prompts with a model that is no kin of the candidate's.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.measures import markdown_head, markdown_row, rate
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE
from benchmarks.tricks import NONE, TRICKS, Scene, Trick, synonyms_of
from benchmarks.zoo_tricks import report
from harness.channels import characters, furniture, reading, verbatim, wording
from harness.channels.parallel import compare, load_channels, probes
from harness.inference import control_match
from harness.inference.assessment import Case, Compared
from harness.inference.excess import reaches
from harness.inference.findings import Finding, Settings
from harness.inference.kinship import find
from harness.inference.likelihood import shipped_tables
from harness.inference.mixture import Mixture, mixture
from harness.inference.pool import Model
from harness.inference.questions import decide
from harness.inference.trials import draw_controls
from harness.judging import PLACEBOS
from harness.records import Responses

ALPHA = 0.05
SETTINGS = Settings(alpha=ALPHA, min_coverage=0.9, permutations=99, bootstrap=200, seed=1)
TABLES = shipped_tables()
CHANNELS = ("wording", "verbatim")  # all that is counted for text, and what finds copies; "style" takes as long again
UNTELLING = frozenset(
    {"rival pairs", "candidate's null", "negative control found", "bounded ratio", "no likelihood ratio"}
)
MANY = 4000  # texts remembered
SPARES = 2  # models outside the pool, to route to
OFTEN = 3  # pairs that one model may be in
KIN = ("KIN-LIKE", "KIN-OR-TAUGHT")
Wearing = Callable[[int], Sequence[int]]
WORN: Mapping[str, Wearing] = {  # who does it, by place in the pool: suspect, candidate, controls
    "suspect": lambda n: (0,),
    "both": lambda n: (0, 1),
    "both and 3 controls": lambda n: (0, 1, 2, 3, 4),
    "controls only": lambda n: range(2, n),
    "everybody": lambda n: range(n),
}
FRAMINGS = tuple(WORN)[1:4]
ROUTED = (0.0, 0.1, 0.3, 0.5, 0.7)
MEMBERS = 8  # pairs of a family that make a row of their own


@dataclass(frozen=True)
class Setup:
    """One pair with what stays the same for all tricks: its pool (suspect, candidate, controls) and its prompts.

    ``table`` has the answers of the pool and, behind it, of the spare models.
    """

    number: int
    relation: str
    lineages: tuple[str, str]
    size: int
    table: Responses
    seed: int


@dataclass(frozen=True)
class Outcome:
    """One verdict: a pair, what was done to whom, and what came of it."""

    number: int
    relation: str
    lineage: str
    other: str
    trick: str
    kind: str
    worn: str
    verdict: str
    p: float
    log10_lr: float
    by_channel: dict[str, float]
    told: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is named on the command line and print Markdown."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.zoo:
        for line in report(given.zoo, given.only or ()):
            print(line, flush=True)
        return 0
    if not given.data or not given.lineage:
        parser.error("give --data with --lineage, or --zoo")
    wanted = _wanted(given.only)
    began = time.perf_counter()
    collection = read(given.data, given.lineage)
    rng = np.random.default_rng(given.seed)
    setups, notes = setups_of(collection, given.close, given.pairs, given.prompts, given.controls, rng)
    if given.mixtures:
        print("\n".join([*notes, "", *mixture_table(setups, collection, given.jobs)]))
        return 0
    synonyms = synonyms_of(_some_texts(collection))
    worn = tuple(WORN)[1:] if given.worn == ["all"] else tuple(given.worn)
    work = (delayed(outcomes)(s, wanted, worn, synonyms, given.channels) for s in setups)
    found = [o for some in Parallel(n_jobs=given.jobs)(work) for o in some]
    print("\n".join(notes))
    for line in tables(found):
        print(line)
    print(f"\n{len(found)} verdicts in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    if given.csv:
        write(found, given.csv)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lineage", type=Path)
    parser.add_argument("--zoo", type=Path, help="folder in which the zoo's campaigns were run: real models instead")
    parser.add_argument("--pairs", type=int, default=44, help="unrelated pairs")
    parser.add_argument("--close", type=int, default=40, help="close pairs, at most")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--controls", type=int, default=14, help="control lineages; fewer where a file has fewer")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", metavar="TRICK", help="a trick or a kind of tricks; may be repeated")
    parser.add_argument("--worn", action="append", choices=[*WORN, "all"], help="who does it to unrelated pairs")
    parser.add_argument("--channels", nargs="+", default=list(CHANNELS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--mixtures", action="store_true", help="only what is said of suspects that route prompts away")
    parser.add_argument("--csv", type=Path, help="every verdict as a row")
    parser.set_defaults(worn=[])
    return parser


def _wanted(only: Sequence[str] | None) -> list[Trick]:
    kinds = {t.kind for t in TRICKS.values()}
    for name in only or ():
        if name not in TRICKS and name not in kinds:
            raise SystemExit(f"no trick and no kind is called {name!r}; kinds: {', '.join(sorted(kinds))}")
    return [t for t in TRICKS.values() if not only or t.name in only or t.kind in only]


def _some_texts(collection: Collection) -> list[str]:
    """Answers enough for a dictionary, of models and prompts spread over the file."""
    text = collection.table.text
    return [text[i] for i in range(0, len(text), max(1, len(text) // 8000))]


# Pairs and pools -------------------------------------------------------------------------------------------------
def setups_of(
    collection: Collection, close: int, unrelated: int, prompts: int, controls: int, rng: np.random.Generator
) -> tuple[list[Setup], list[str]]:
    """Close and unrelated pairs with their pools; and what had to be smaller than wished."""
    makers = np.array([r.organisation for r in collection.rows])
    apart = collection.pairs("unrelated")
    apart = apart[makers[apart[:, 0]] != makers[apart[:, 1]]]
    kin = collection.pairs(*CLOSE)
    chosen = [*_spread(kin, close, rng), *_spread(apart, unrelated, rng)]
    pools = [_pool(collection, pair, controls, rng) for pair in chosen]
    most = min(controls, int(np.quantile([len(p) - 2 - SPARES for p in pools], 0.25))) if pools else 0
    fit = [(pair, pool) for pair, pool in zip(chosen, pools, strict=True) if len(pool) - 2 - SPARES >= most]
    found = []
    for number, (pair, pool) in enumerate(fit):
        pool = [*pool[: 2 + most], *pool[len(pool) - SPARES :]]
        table = _common(collection.table, pool, prompts, rng)
        if len(table.prompts) < prompts:
            continue
        a, b = pair
        at = (str(collection.known.lineage[a]), str(collection.known.lineage[b]))
        found.append(Setup(number, collection.relation[a, b], at, 2 + most, table, int(rng.integers(2**31))))
    counts = Counter("unrelated" if s.relation == "unrelated" else "close" for s in found)
    notes = [
        f"{counts['close']} close pairs, {counts['unrelated']} unrelated, {most} control lineages, {prompts} prompts"
    ]
    return found, notes


def _spread(pairs: NDArray[np.int64], most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Some pairs in random order, suspect and candidate too, none of whose models is in many of them."""
    used: Counter[int] = Counter()
    out: list[tuple[int, int]] = []
    for pair in rng.permutation(pairs):
        s, c = rng.permutation(pair).tolist()
        if len(out) < most and max(used[s], used[c]) < OFTEN:
            used.update((s, c))
            out.append((s, c))
    return out


def _pool(collection: Collection, pair: tuple[int, int], most: int, rng: np.random.Generator) -> list[int]:
    """The pair, its controls one a lineage and makers first as in a campaign, and spare models of further lineages."""
    everybody = np.ones(len(collection.rows), dtype=bool)
    return [*pair, *draw_controls(collection.known, *pair, everybody, most + SPARES, rng).tolist()]


def _common(table: Responses, models: Sequence[int], most: int, rng: np.random.Generator) -> Responses:
    """Answers of some models to ``most`` prompts that all of them answered, first sample only."""
    part = table.among(models)
    m = len(models)
    able = [p for p in rng.permutation(len(part.prompts)).tolist() if all(part.usable(p, j) for j in range(m))]
    return part.only(sorted(able[:most])).loaded()


# Verdicts --------------------------------------------------------------------------------------------------------
@cache
def remember() -> None:
    """Work out what hangs on a text alone once a process: most answers of a pool are the same under every trick."""
    words = lru_cache(MANY)(characters.words)
    for module in (wording, verbatim, control_match):
        vars(module)["words"] = words
    for module, name in (
        (reading, "edit_of"),
        (reading, "own_words"),
        (reading, "cut_spans"),
        (furniture, "key"),
        (control_match, "form_of"),
    ):
        vars(module)[name] = lru_cache(MANY)(vars(module)[name])


def outcomes(
    setup: Setup, tricks: Sequence[Trick], worn: Sequence[str], synonyms: Mapping[str, str], channels: Sequence[str]
) -> list[Outcome]:
    """All verdicts on one pair: without a trick, and with each of them on whoever it is to be tried on."""
    remember()
    plain, bare = verdict(setup, NONE, (), synonyms, channels)
    out = [_outcome(setup, NONE, "nobody", plain, bare)]
    for trick in tricks:
        for place in worn_by(setup, trick, worn):
            finding, told = verdict(setup, trick, WORN[place](setup.size), synonyms, channels)
            out.append(_outcome(setup, trick, place, finding, told - bare))
    return out


def worn_by(setup: Setup, trick: Trick, wished: Sequence[str]) -> Sequence[str]:
    """Who does it: of kin the suspect; of strangers the wished, else both, and with cuts and wrappers controls too."""
    if setup.relation != "unrelated":
        return ("suspect",)
    return wished or (FRAMINGS if trick.kind in ("cut", "wrapper") else FRAMINGS[:1])


def verdict(
    setup: Setup, trick: Trick, who: Sequence[int], synonyms: Mapping[str, str], channels: Sequence[str]
) -> tuple[Finding, frozenset[str]]:
    """The finding on one pair with a trick on some of its pool, and kinds of what is told of the pair's answers."""
    table = reading.read(changed(setup, trick, who, synonyms))
    names = table.models
    roles = ("suspect", "candidate", *["control"] * (len(names) - 2))
    models = tuple(Model(n, r, n) for n, r in zip(names, roles, strict=True))
    case = Case(
        suspect=models[0],
        candidate=models[1],
        models=models,
        similarities=compare(load_channels(tuple(channels)), table),
        tables=TABLES,
        settings=SETTINGS,
        twin=lambda _: (),
        habits=lambda: (),
        samples=lambda _one, _other: {},
        coverage=lambda _one, _other: {},
        resemblance=lambda: control_match.unlike(control_match.manners_of(table), models[0], models[1], models),
        probes=lambda pool, counted: probes(
            counted, table.among([names.index(n) for n in pool]), PLACEBOS, SETTINGS.seed
        ),
    )
    finding = decide([find(case)])[0]
    caveats = {c.kind for c in (*finding.caveats, finding.obstacle) if c is not None} - UNTELLING
    taken = {r.kind for r in reading.removals(table) if names.index(r.model) in (0, 1, *who)}
    return finding, frozenset([*(f"caveat: {c}" for c in caveats), *(f"removed: {r}" for r in taken)])


def changed(setup: Setup, trick: Trick, who: Sequence[int], synonyms: Mapping[str, str]) -> Responses:
    """The table of a pool, spare models left out, with the answers of some models changed."""
    whole, size = setup.table, setup.size
    texts = [[whole.text[whole.usable(p, m)[0]] for p in range(len(whole.prompts))] for m in range(len(whole.models))]
    scene = Scene(
        questions=[p.text for p in whole.prompts],
        strangers=texts[size:],
        synonyms=synonyms,
        candidate=whole.models[1],
        host=setup.seed,
    )
    for m in who:
        texts[m] = trick(texts[m], replace(scene, own=setup.seed + 1 + m))
    said = [texts[m][p] for p in range(len(whole.prompts)) for m in range(size)]
    cells = np.arange(len(said) + 1, dtype=np.int64)
    return Responses(
        models=whole.models[:size],
        prompts=whole.prompts,
        start=cells,
        asked=np.ones((len(whole.prompts), size), dtype=bool),
        outcome=["ok" if t.strip() else "empty" for t in said],
        text=said,
        reasoning=[""] * len(said),
        logprobs=[None] * len(said),
        prompt_tokens=[None] * len(said),
    )


def _outcome(setup: Setup, trick: Trick, place: str, f: Finding, told: frozenset[str]) -> Outcome:
    return Outcome(
        *(setup.number, setup.relation, *setup.lineages, trick.name, trick.kind, place, f.verdict, f.p_value),
        log10_lr=f.log10_lr,
        by_channel={e.name: e.p for e in f.evidence},
        told=tuple(sorted(told)),
    )


# Mixtures -----------------------------------------------------------------------------------------------------------
def mixture_table(setups: Sequence[Setup], collection: Collection, jobs: int) -> list[str]:
    """Estimated shares by true share, for every superfamily with `MEMBERS` pairs, for other kin and for strangers."""
    family = dict(zip(collection.known.models, collection.known.family.tolist(), strict=True))
    found = Parallel(n_jobs=jobs)(delayed(_estimates)(s) for s in setups)
    kin = [str(family[s.table.models[0]]) for s in setups if s.relation != "unrelated"]
    groups: dict[str, list[Sequence[Mixture]]] = {}
    for setup, estimates in zip(setups, found, strict=True):
        own = str(family[setup.table.models[0]])
        name = "unrelated" if setup.relation == "unrelated" else own if kin.count(own) >= MEMBERS else "other kin"
        groups.setdefault(name, []).append(estimates)
    head = ["pairs", "routed", "n", "median estimate", "bias", "95 % interval holds it", "its median width",
            "called a mixture"]  # fmt: skip
    lines = markdown_head(head)
    for name, some in sorted(groups.items()):
        for share, of in zip(ROUTED[: 1 if name == "unrelated" else None], zip(*some, strict=True), strict=False):
            est = np.array([m.share for m in of])
            true = np.nan if name == "unrelated" else share  # strangers answer nothing as kin would
            cells = [name, f"{share:.0%}", str(len(of)), f"{np.median(est):.2f}", f"{(est - true).mean():+.2f}",
                     _share(m.low - 1e-9 <= true <= m.high + 1e-9 for m in of),
                     f"{np.median([m.high - m.low for m in of]):.2f}", _share(m.found(ALPHA) for m in of)]  # fmt: skip
            lines.append(markdown_row(c.replace("+nan", "-") for c in cells))
    return lines


def _estimates(setup: Setup) -> list[Mixture]:
    """Of one pair, what is estimated at every true share; prompts are routed to the first spare model."""
    remember()
    out = []
    for share in ROUTED:
        away = replace(TRICKS["10 % routed elsewhere"], share=share)
        table = reading.read(changed(setup, away, (0,), {}))
        similarity = load_channels(("wording",))["wording"](table)
        found = None if similarity is None else mixture(Compared.of(similarity, table.models).residuals)
        out.append(found or Mixture(0.0, 0.0, 1.0, 1.0, 1.0, 0))  # too little to say anything
    return out


# Tables ----------------------------------------------------------------------------------------------------------
def tables(found: Sequence[Outcome]) -> list[str]:
    """Evasion and framing as Markdown."""
    bare = {o.number: o for o in found if o.worn == "nobody"}
    out: list[str] = []
    for title, close in (("Evasion: close kin, the suspect alone does it", True), ("Framing: unrelated models", False)):
        mine = [o for o in found if (o.relation != "unrelated") == close]
        if not mine:
            continue
        out += ["", f"## {title}", "", *_table(mine, bare, close)]
    return out


def _table(mine: Sequence[Outcome], bare: Mapping[int, Outcome], close: bool) -> list[str]:
    channels = sorted({c for o in mine for c in o.by_channel})
    judged = "found" if close else "false alarms"
    head = ["trick", "worn by", f"{judged} without", f"{judged} with", "95 % over lineages",
            *(f"{c} p <= .05" for c in channels), "LR > 10", "LR < 1/10", "UNRELATED-LIKE", "INCONCLUSIVE", "noticed",
            "most usual"]  # fmt: skip
    rows: dict[tuple[str, str], list[Outcome]] = {}
    for o in mine:
        rows.setdefault((o.trick, o.worn), []).append(o)
    lines = markdown_head(head)
    for (trick, worn), some in rows.items():
        lines.append(markdown_row([trick, worn, *_cells(some, bare, channels)]))
    if close:
        lines += ["", *_by_relation(rows)]
    return lines


def _cells(some: Sequence[Outcome], bare: Mapping[int, Outcome], channels: Sequence[str]) -> list[str]:
    hits = [o.verdict in KIN for o in some]
    before = sum(bare[o.number].verdict in KIN for o in some)
    value, (low, high), count = rate(hits, np.array([[o.lineage, o.other] for o in some]))
    usual = Counter(t for o in some for t in o.told).most_common(1) if some[0].worn != "nobody" else []
    return [
        f"{before} of {count}",
        f"{sum(hits)} of {count} ({value:.2f})",
        f"{low:.2f} to {high:.2f}",
        *(_share(reaches(o.by_channel.get(c, 1.0), ALPHA) for o in some) for c in channels),
        _share(o.log10_lr > 1 for o in some),
        _share(o.log10_lr < -1 for o in some),
        _share(o.verdict == "UNRELATED-LIKE" for o in some),
        _share(o.verdict == "INCONCLUSIVE" for o in some),
        _share(bool(o.told) for o in some) if some[0].worn != "nobody" else "",
        f"{usual[0][0]} ({usual[0][1]})" if usual else "",
    ]


def _share(hits: Iterable[bool]) -> str:
    return f"{np.mean(list(hits)):.2f}"


def _by_relation(rows: Mapping[tuple[str, str], Sequence[Outcome]]) -> list[str]:
    """Found by relation, for the same tricks."""
    relations = sorted({o.relation for some in rows.values() for o in some})
    lines = markdown_head(["found by relation", *relations])
    for (trick, _), some in rows.items():
        cells = []
        for r in relations:
            of = [o.verdict in KIN for o in some if o.relation == r]
            cells.append(f"{sum(of)} of {len(of)}")
        lines.append(markdown_row([trick, *cells]))
    return lines


def write(found: Sequence[Outcome], path: Path) -> None:
    """Every verdict as a row of a CSV file."""
    channels = sorted({c for o in found for c in o.by_channel})
    names = [f.name for f in fields(Outcome) if f.name not in ("by_channel", "told")]
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow([*names, *(f"p, {c}" for c in channels), "told"])
        for o in found:
            row = asdict(o)
            writer.writerow([*(row[n] for n in names), *(o.by_channel.get(c, "") for c in channels), "; ".join(o.told)])


if __name__ == "__main__":
    from benchmarks.adversary import main as imported  # workers find functions by their module's name

    sys.exit(imported())
