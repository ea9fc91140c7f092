"""The identity test beside `model-equality-testing` on the same samples: `python -m benchmarks.identity --data FILE`.

Each endpoint is a mixture of real models: to a prompt it gives the recorded answer of one of eight models, drawn anew
for every sample. A suspect that serves other models for a share of its calls is what a swap or a re-routing looks like.
The package (Gao et al., ICLR 2025) needs torch; `--baseline PYTHON` names an interpreter that has it, and gets the same
samples as Unicode code points, as its own tokenizer gives them.

`--verdicts` prints how often each identity verdict is given instead, for shares routed to a control or to a stranger.

`--stages` prints what a campaign that stops when the answer is known (`collect.stop: sequential`) saves: the same draws
judged once after every prompt, and at each stage with the correction for many looks.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measures import markdown_head, markdown_row
from benchmarks.recorded import Collection, Unusable, read
from harness.channels.base import first_answers
from harness.channels.kernels import spectrum
from harness.inference.assessment import Grams, View
from harness.inference.findings import Finding, Settings
from harness.inference.identity import identity, two_sample
from harness.inference.pool import Model, Pool
from harness.inference.questions import decide
from harness.inference.stopping import earliest
from harness.plan import stage_sizes

PROMPTS, SAMPLES, MIXED = 25, 10, 8
LENGTH = 200  # characters of an answer that either test sees; the package's time grows with it
ALPHA = 0.05
SHARES = (0.0, 0.3, 0.5)
ROUTES = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)
SWAPS = (0.0, 0.3, 0.5, 1.0)
PERMUTATIONS = 2000  # as `analysis.permutations` has it; the first stage asks for p-values under .01
CONTROLS = 4
VIEW: View = ("text", "chat")
SAID = ("SAME-LIKE", "DIFFERENT-LIKE")
Texts = list[list[str]]

_BASELINE = """
import sys, time, types, warnings, numpy as np, json
sys.modules.setdefault("transformers", types.SimpleNamespace(AutoTokenizer=None))  # only its data loader needs it
warnings.filterwarnings("ignore")
from model_equality_testing.algorithm import run_two_sample_test
from model_equality_testing.distribution import CompletionSample
import tqdm
tqdm.tqdm = lambda it, **k: it
import model_equality_testing.pvalue as pv
pv.tqdm.tqdm = tqdm.tqdm
data = np.load(sys.argv[1]); b = int(sys.argv[2])
out = []
for a, c in zip(data["a"], data["b"]):
    at = np.repeat(np.arange(a.shape[0]), a.shape[1])
    samples = [CompletionSample(at.copy(), x.reshape(-1, x.shape[-1]).copy(), a.shape[0]) for x in (a, c)]
    began = time.perf_counter()
    p, _ = run_two_sample_test(*samples, pvalue_type="permutation_pvalue", stat_type="mmd_hamming", b=b)
    out.append((p, time.perf_counter() - began))
print(json.dumps(out))
"""


def main(arguments: list[str] | None = None) -> int:
    """Command line; prints one Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identity", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="Parquet: model, prompt_id, output")
    parser.add_argument("--lineage", type=Path, required=True, help="its lineage CSV")
    parser.add_argument(
        "--baseline", default="", help="a Python that has model-equality-testing; default: leave it out"
    )
    parser.add_argument("--trials", type=int, default=20, help="pairs of samples for each share")
    parser.add_argument("--permutations", type=int, default=100, help="in the comparison of power")
    parser.add_argument("--verdicts", action="store_true", help="how often each verdict is given")
    parser.add_argument("--stages", action="store_true", help="what stopping early saves")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="of --verdicts and --stages")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    pools = answer_pools(read(given.data, given.lineage))
    rng = np.random.default_rng(given.seed)
    if given.verdicts:
        return _verdicts(pools, given.prompts, given.trials, rng)
    if given.stages:
        return _stages(pools, given.prompts, given.trials, rng)
    print("| share swapped | test | rejected at 5 % | trials | median p | seconds a test | permutations |")
    print("|---|---|---|---|---|---|---|")
    for share in SHARES:
        pairs = [draw_pair(pools, share, rng) for _ in range(given.trials)]
        _line(share, "harness", [ours(a, b, given.permutations, rng) for a, b in pairs], given.permutations)
        if given.baseline:
            _line(
                share, "model-equality-testing", theirs(pairs, given.permutations, given.baseline), given.permutations
            )
    pair = [draw_pair(pools, 0.4, rng)]
    _line(0.4, "harness", [ours(*pair[0], 1000, rng)], 1000)
    if given.baseline:
        _line(0.4, "model-equality-testing", theirs(pair, 1000, given.baseline), 1000)
    return 0


def answer_pools(collection: Collection) -> Texts:
    """Answers of all models to each prompt that at least twice the mixed models answered."""
    texts = first_answers(collection.table, range(len(collection.table.prompts)))
    pools = [[t[:LENGTH] for t in row if t] for row in texts]
    pools = [row for row in pools if len(row) >= 2 * MIXED]
    if len(pools) < PROMPTS:
        raise Unusable(f"not measurable: {len(pools)} prompts answered by {2 * MIXED} models, {PROMPTS} needed")
    return pools


def draw_pair(pools: Texts, share: float, rng: np.random.Generator, prompts: int = PROMPTS) -> tuple[Texts, Texts]:
    """Samples of two endpoints, (prompts, samples) each; a share of the second's calls go to eight other models."""
    a, b = [], []
    for p in rng.choice(len(pools), prompts, replace=False):
        order = rng.permutation(len(pools[p]))
        own, other = order[:MIXED], order[MIXED : 2 * MIXED]
        a.append([pools[p][i] for i in rng.choice(own, SAMPLES)])
        swapped = rng.random(SAMPLES) < share
        b.append([pools[p][i] for i in np.where(swapped, rng.choice(other, SAMPLES), rng.choice(own, SAMPLES))])
    return a, b


def draw_endpoints(pools: Texts, prompts: int, share: float, to: str, rng: np.random.Generator) -> dict[str, Texts]:
    """Samples of a candidate, a suspect that routes a share of its calls, and `CONTROLS` controls; other models each.

    ``to`` says where they go: "control", always the first one, or "stranger", models that nobody else serves.
    """
    out: dict[str, Texts] = {n: [] for n in ("p", "s", *(f"c{k}" for k in range(CONTROLS)))}
    for p in rng.choice(len(pools), prompts, replace=False):
        served = rng.permutation(len(pools[p]))[: MIXED * (CONTROLS + 2)].reshape(CONTROLS + 2, MIXED)
        for name, own in zip(("p", *(f"c{k}" for k in range(CONTROLS))), served, strict=False):
            out[name].append([pools[p][i] for i in rng.choice(own, SAMPLES)])
        other = served[1 if to == "control" else -1]
        calls = np.where(rng.random(SAMPLES) < share, rng.choice(other, SAMPLES), rng.choice(served[0], SAMPLES))
        out["s"].append([pools[p][i] for i in calls])
    return out


def finding(drawn: dict[str, Texts], pool: Pool) -> Finding:
    """The identity finding of one draw of endpoints, judged as the only one of its campaign."""
    pairs = {n: [(spectrum(x + y), len(x)) for x, y in zip(drawn[n], drawn["p"], strict=True)]
             for n in drawn if n != "p"}  # fmt: skip

    def samples(one: str, _: str) -> dict[View, Grams]:
        return {VIEW: pairs[one]}

    settings = Settings(ALPHA, min_coverage=0.0, permutations=199, bootstrap=100, seed=1)
    return decide([identity(pool, samples, settings, {VIEW: 1.0})])[0]


def _verdicts(pools: Texts, prompts: int, trials: int, rng: np.random.Generator) -> int:
    """Prints how often each verdict is given of suspects that route a share of their calls."""
    pools = [row for row in pools if len(row) >= MIXED * (CONTROLS + 2)]
    pool = Pool("s", "p", tuple(Model(f"c{k}", "control", f"c{k}") for k in range(CONTROLS)))
    print("| share routed | to | p <= .05 | SAME-LIKE | DIFFERENT-LIKE | share excluded, median | bound under truth |")
    print("|---|---|---|---|---|---|---|")
    for share, to in [(r, to) for r in ROUTES for to in (("control", "stranger") if r else ("-",))]:
        found = [finding(draw_endpoints(pools, prompts, share, to, rng), pool) for _ in range(trials)]
        rates = [float(np.mean([f.p_value <= ALPHA for f in found]))]
        rates += [float(np.mean([f.verdict == w for f in found])) for w in SAID]
        bounds = np.array([f.share_excluded for f in found])
        shown = [*rates, float(np.median(bounds)), float((bounds < share - 1e-9).mean())]
        print(f"| {share:.1f} | {to} | {' | '.join(f'{r:.2f}' for r in shown)} |", flush=True)
    return 0


def staged(grams: Grams, permutations: int, seed: int) -> tuple[bool, bool, int]:
    """Whether all prompts at once differ, whether the stages do, and after how many prompts these stop.

    The rule of a campaign for one view: at each stage the test of `two_sample` on the prompts so far, joined with
    earlier ones by `earliest`; only a difference stops before the last.
    """
    sizes = stage_sizes(len(grams))
    found: list[float] = []
    for size in sizes:
        found.append(two_sample(grams[:size], permutations, np.random.default_rng(seed)).p_value)
        if earliest(found, len(sizes)) <= ALPHA:
            break
    fixed = two_sample(grams, permutations, np.random.default_rng(seed)).p_value
    return fixed <= ALPHA, earliest(found, len(sizes)) <= ALPHA, sizes[len(found) - 1]


def _stages(pools: Texts, prompts: int, trials: int, rng: np.random.Generator) -> int:
    """Prints one row a share of calls swapped: found at once, found in stages, and calls to either endpoint."""
    heads = ("share swapped", "runs", "all at once: differs", "stages: differ", "calls, median", "calls, mean", "of")
    print("\n".join(markdown_head(heads)))
    for share in SWAPS:
        found = []
        for i in range(trials):
            a, b = draw_pair(pools, share, rng, prompts)
            found.append(staged([(spectrum(x + y), len(x)) for x, y in zip(a, b, strict=True)], PERMUTATIONS, i))
        fixed, early, at = (np.array(x) for x in zip(*found, strict=True))
        calls = (f"{SAMPLES * f(at):.0f}" for f in (np.median, np.mean))
        cells = (f"{share:.1f}", str(trials), f"{fixed.mean():.3f}", f"{early.mean():.3f}", *calls)
        print(markdown_row((*cells, str(SAMPLES * prompts))), flush=True)
    return 0


def ours(a: Texts, b: Texts, permutations: int, rng: np.random.Generator) -> tuple[float, float]:
    """p-value and seconds of the harness's own test, kernels included."""
    began = time.perf_counter()
    found = two_sample([(spectrum(x + y), len(x)) for x, y in zip(a, b, strict=True)], permutations, rng)
    return found.p_value, time.perf_counter() - began


def theirs(pairs: list[tuple[Texts, Texts]], permutations: int, python: str) -> list[tuple[float, float]]:
    """p-values and seconds of the package's recommended test (MMD, Hamming kernel)."""
    import json

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.npz"
        np.savez(path, a=np.array([_codes(a) for a, _ in pairs]), b=np.array([_codes(b) for _, b in pairs]))
        run = [python, "-c", _BASELINE, str(path), str(permutations)]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unusable(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return [(float(p), float(s)) for p, s in json.loads(done.stdout.splitlines()[-1])]


def _codes(samples: Texts) -> NDArray[np.int64]:
    """Code points, (prompts, samples, length), padded with -1."""
    out = np.full((len(samples), SAMPLES, LENGTH), -1, dtype=np.int64)
    for i, row in enumerate(samples):
        for j, text in enumerate(row):
            points = [ord(c) for c in text[:LENGTH]]
            out[i, j, : len(points)] = points
    return out


def _line(share: float, name: str, results: list[tuple[float, float]], permutations: int) -> None:
    p, seconds = np.array(results).T
    rejected = f"{(p <= ALPHA).mean():.2f}"
    print(
        f"| {share:.2f} | {name} | {rejected} | {len(p)} | {np.median(p):.3f} | {seconds.mean():.2f} | {permutations} |"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
