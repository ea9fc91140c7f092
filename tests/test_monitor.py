"""`harness monitor`: an endpoint against its own baseline, over a real socket, and its false alarms."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from harness import run_campaign
from harness.channels.kernels import spectrum
from harness.inference.drift import Change, Stages, drift, judge_changes
from harness.report.changes import change_notes
from tests.support import Write
from tests.support.command_line import harness, one_line
from tests.support.fault_server import STEPS, FaultServer, Reply, Request, Step
from tests.support.payloads import chat, encode

WORDS = ("red", "green", "blue", "black", "white")
EVEN = (0.2, 0.2, 0.2, 0.2, 0.2)
ODD = (0.7, 0.1, 0.1, 0.05, 0.05)
PROMPTS, SAMPLES = 24, 5
CALLS = PROMPTS * SAMPLES


def sampling(weights: tuple[float, ...], seed: int, model: str = "m-2026") -> Step:
    """A model that answers with a word drawn by ``weights``."""
    rng = random.Random(seed)

    def step(_: Request) -> Reply:
        return Reply(body=encode({**chat(rng.choices(WORDS, weights)[0]), "model": model}))

    return step


def served(now: Step | str, before: Step | None = None, calls: int = CALLS + 1) -> Mapping[str, list[Step | str]]:
    """Answers of ``good``: so many of the baseline's distribution, then others."""
    return {"good": [*[before or sampling(EVEN, 1)] * calls, now], "fine": ["ok"]}


@pytest.fixture
def baseline(write_campaign: Write) -> Write:
    """Collect a baseline from a server; returns the config."""

    def collect(server: FaultServer, **settings: object) -> Path:
        endpoint = {"concurrency": 1, **settings}  # one call after the other: the same draws every time
        path = write_campaign(server.url, n=PROMPTS, samples=SAMPLES, endpoint=endpoint)
        run_campaign(path)
        assert server.asked["good"] == CALLS
        return path

    return collect


def test_the_same_model_is_the_same_and_its_answers_are_kept_apart(baseline: Write) -> None:
    with FaultServer(served(sampling(EVEN, 2))) as server:
        path = baseline(server)
        done = harness("monitor", path, cwd=path.parent)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("good: same: ")
        assert f"against {CALLS} answers" in done.stdout
        assert "results/test/responses.sqlite" in done.stdout
        assert f"good: tests text (chat) on {PROMPTS} prompts" in done.stderr
        assert "nothing is known of logprobs" in done.stderr
        assert done.stdout.count("\n") == 1
        assert server.asked["good"] == 2 * CALLS
        assert server.asked["fine"] == CALLS  # only the suspect is watched
        (answers,) = (path.parent / "results" / "test" / "monitor").glob("*/responses.sqlite")
        assert [c["state"] for c in json.loads(answers.with_name("changes.json").read_text("utf-8"))] == ["same"]
        again = json.loads(harness("score", path, "--json", cwd=path.parent).stdout)
        assert again[0]["prompts"] == PROMPTS


def test_another_distribution_is_found_and_named(baseline: Write) -> None:
    with FaultServer(served(sampling(ODD, 2, "m-2027"), calls=CALLS)) as server:
        path = baseline(server)
        done = harness("monitor", path, "--against", path.parent / "results" / "test", "--json", "-q", cwd=path.parent)
        assert done.returncode == 10, done.stdout + done.stderr
        assert done.stderr == ""
        (found,) = json.loads(done.stdout)
        assert found["state"] == "differs"
        assert found["p_value"] <= found["alpha"] == 0.01
        assert found["channels"][0]["noise_p"] > 0.01
        assert found["planned"] == CALLS
        assert server.asked["good"] - CALLS == found["calls"] < CALLS  # it stops asking as soon as it is seen
        assert "model_answered is new: m-2027 (was m-2026)" in found["notes"]


def test_too_little_to_tell(baseline: Write) -> None:
    with FaultServer(served(sampling(ODD, 2))) as server:
        path = baseline(server)
        few = harness("monitor", path, "--limit", "1", "--alpha", "0.001", "-q", cwd=path.parent)  # 252 relabellings
        assert few.returncode == 11
        assert "cannot tell: so few samples cannot give a p below" in few.stdout
        asked = itertools.count()
        server.script["good"] = [lambda r: STEPS["ok" if next(asked) < 2 else "400"](r)]
        gone = harness("monitor", path, "-q", cwd=path.parent)
        assert gone.returncode == 11
        assert "of the baseline's calls were answered again" in gone.stdout


@pytest.mark.parametrize(
    ("samples", "alpha", "why"),
    [(1, "0.01", "no prompt has two answers on both sides"), (2, "0.0005", "so few samples cannot give a p below")],
)
def test_what_cannot_be_tested_is_not_paid_for(write_campaign: Write, samples: int, alpha: str, why: str) -> None:
    """A baseline of one sample a prompt, or of too few: that is known before anybody is asked."""
    with FaultServer(served(sampling(ODD, 2))) as server:
        path = write_campaign(server.url, n=3, samples=samples, endpoint={"concurrency": 1})
        run_campaign(path)
        asked = server.asked["good"]
        done = harness("monitor", path, "--alpha", alpha, cwd=path.parent)
        assert done.returncode == 11, done.stderr
        assert why in done.stderr
        assert "nobody was asked" in done.stderr
        assert server.asked["good"] == asked


def test_other_questions_are_no_comparison_and_nobody_is_asked(baseline: Write) -> None:
    with FaultServer(served(sampling(EVEN, 2))) as server:
        path = baseline(server)
        assert "no endpoint 'nobody'" in one_line(harness("monitor", path, "--endpoint", "nobody", cwd=path.parent), 2)
        path.write_text(path.read_text().replace("model: good", "model: other"))
        assert "must be those of the baseline" in one_line(harness("monitor", path, cwd=path.parent), 2)
        missing = harness("monitor", path, "--against", path.parent / "nowhere", cwd=path.parent)
        assert "no answers are stored" in one_line(missing, 2)
        assert server.asked["good"] == CALLS


def judged(
    seed: int, now: tuple[float, ...], alpha: float, endpoints: int = 2, baseline: tuple[float, ...] = EVEN
) -> list[Change]:
    rng = np.random.default_rng(seed)

    def grams() -> list[tuple[np.ndarray, int]]:
        old = [[str(w) for w in rng.choice(WORDS, 4, p=p)] for p in (EVEN, baseline) for _ in range(5)]
        new = [[str(w) for w in rng.choice(WORDS, 4, p=now)] for _ in range(10)]
        return [(spectrum(a + b), 4) for a, b in zip(old, new, strict=True)]

    found = {f"e{i}": [drift("text", grams(), alpha, 200, rng)] for i in range(endpoints)}
    return judge_changes(found, alpha)


def test_false_alarms_are_per_run_whatever_is_watched() -> None:
    runs = [any(c.state == "differs" for c in judged(seed, EVEN, alpha=0.1)) for seed in range(150)]
    assert np.mean(runs) <= 0.1 + 3 * (0.1 * 0.9 / 150) ** 0.5
    power = [any(c.state == "differs" for c in judged(seed, ODD, alpha=0.1)) for seed in range(20)]
    assert np.mean(power) >= 0.9


def staged(seed: int, now: tuple[float, ...], alpha: float, parts: int = 4) -> int | None:
    """After how many prompts of twelve a change is found by a run that is judged after each of some parts."""
    rng = np.random.default_rng(seed)
    words = [[*rng.choice(WORDS, 5, p=EVEN), *rng.choice(WORDS, 5, p=now)] for _ in range(12)]
    grams = [(spectrum([str(w) for w in row]), 5) for row in words]
    ends = tuple(12 * (i + 1) // parts for i in range(parts))
    for j, end in enumerate(ends):
        stages = Stages(ends[: j + 1], parts, alpha, seed)
        found = drift("text", grams[:end], alpha, int(20 / alpha), rng, stages=stages)
        if judge_changes({"a": [found]}, alpha)[0].state == "differs":
            return end
    return None


def test_a_run_that_is_judged_as_it_goes_keeps_its_false_alarms_and_finds_a_swap_sooner() -> None:
    alarms = sum(staged(seed, EVEN, alpha=0.1) is not None for seed in range(120))
    assert alarms <= 0.1 * 120 + 2 * (120 * 0.1 * 0.9) ** 0.5
    assert alarms > 0  # the level is spent, not left
    swapped = [staged(seed, (0.92, 0.02, 0.02, 0.02, 0.02), alpha=0.01) for seed in range(20)]
    assert all(end is not None and end <= 6 for end in swapped)


def test_a_channel_that_is_only_reported_decides_nothing() -> None:
    rng = np.random.default_rng(1)
    apart = [(spectrum(["left"] * 4 + ["right"] * 4), 4) for _ in range(12)]
    (change,) = judge_changes({"e": [drift("logprobs", apart, 0.05, 2000, rng, reported=True)]}, 0.05)
    assert change.channels[0].p < 0.01
    assert change.state == "cannot tell"
    assert change_notes(change) == ["logprobs is reported only: logprobs move with a server's load"]
    (change,) = judge_changes({"e": [drift("text", apart, 0.05, 2000, rng)]}, 0.05)
    assert change.state == "differs"


def test_a_baseline_that_is_two_models_says_nothing() -> None:
    rng = np.random.default_rng(1)
    mixed = [(spectrum(["left", "right"] * 2 + ["left"] * 4), 4) for _ in range(12)]
    (change,) = judge_changes({"e": [drift("text", mixed, 0.05, 2000, rng)]}, 0.05)
    assert change.state == "cannot tell"
    assert "own halves differ" in change_notes(change)[0]
