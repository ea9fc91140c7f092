"""Readers: a campaign whose stored answers are given to models that say how likely they find them, end to end.

The readers here are unigram models of words behind a real socket: real likelihoods, of small worlds in which it is
known who writes like whom. tests/endpoints/test_engines.py has a language model as a reader.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
import sqlite3
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from harness import run_campaign, score, write
from harness.channels.reading import read
from harness.cli import app
from harness.config.reach import reach_of
from harness.config.yaml import load_config
from harness.errors import ConfigError
from harness.inference.liking import Readings, likings, preference, ranked
from harness.inference.pool import Model
from harness.judging import read_responses
from harness.plan import stored_plan
from harness.readers import readings
from tests.endpoints.test_engines import python_of
from tests.support import ROOT, payloads
from tests.support.fault_server import FaultServer, Reply, Request

_PARTS = ("ba", "ko", "ri", "ta", "mu", "se", "lo", "ni", "fa", "du", "we", "po", "gi", "xa")
WORDS = tuple(a + b for a in _PARTS for b in _PARTS)
CONTROLS = tuple(f"k{i}" for i in range(9))
MODELS = ("suspect", "candidate", *CONTROLS)


def taste(root: str) -> np.ndarray:
    """How often models of one root use each word."""
    rng = np.random.default_rng(zlib.crc32(root.encode()))
    found: np.ndarray = rng.dirichlet(np.full(len(WORDS), 0.8))
    return 0.6 * found + 0.4 / len(WORDS)


def answers(roots: dict[str, str], prompts: int = 10, words: int = 40) -> list[dict[str, str]]:
    """What each model answers: words drawn by the taste of its root."""
    rng = np.random.default_rng(5)
    return [
        {"model": m, "prompt_id": f"q{p}", "prompt": f"Question {p}?",
         "output": " ".join(rng.choice(WORDS, words, p=taste(root)))}
        for p in range(prompts) for m, root in roots.items()
    ]  # fmt: skip


def unigram(root: str) -> Callable[[Request], Reply]:
    """A reader that knows the taste of one root."""
    known = dict(zip(WORDS, np.log(taste(root)).tolist(), strict=True))

    def step(request: Request) -> Reply:
        asked = json.loads(request.body)
        assert asked["echo"] is True
        assert asked["max_tokens"] == 0
        tokens = re.findall(r"\s*\S+", asked["prompt"])
        values = [None, *(known.get(t.strip(), -8.0) for t in tokens[1:])]
        value = payloads.completion(asked["prompt"])
        shape = {"tokens": tokens, "token_logprobs": values, "top_logprobs": None}
        return Reply(body=payloads.encode(payloads.with_logprobs(value, shape)))

    return step


def campaign(folder: Path, url: str, suspect: str = "mine", **more: Any) -> Path:
    """Recorded answers of a suspect, a candidate of the root ``mine`` and nine strangers, and two readers."""
    roots = {"suspect": suspect, "candidate": "mine", **{k: k for k in CONTROLS}}
    with (folder / "answers.csv").open("w", newline="") as f:
        writer = csv.DictWriter(f, ["model", "prompt_id", "prompt", "output"])
        writer.writeheader()
        writer.writerows(answers(roots))
    role = {"suspect": "suspect", "candidate": "candidate"}
    readers = [
        {"name": n, "kind": "openai-completions", "base_url": url, "model": n, "lineage": root, "concurrency": 1}
        for n, root in (("own", "mine"), ("rival", "other"))
    ]
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "campaign": "read",
                "prompts": [{"set": "recorded"}],
                "endpoints": [
                    {"name": m, "role": role.get(m, "control"), "kind": "recorded", "path": "answers.csv"}
                    | ({} if m == "suspect" else {"lineage": roots[m], "maker": roots[m]})
                    for m in MODELS
                ],
                "readers": readers,
                "analysis": {"questions": ["kinship"]},
                "collect": {"attempts": 1, "park_after": 3},
            }
            | more
        )
    )
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with (path.parent / "results" / "read" / "readings.csv").open(newline="") as f:
        return list(csv.DictReader(f))


SERVED = {"own": [unigram("mine")], "rival": [unigram("other")]}


def test_a_reader_of_its_lineage_likes_a_child_and_no_stranger(tmp_path: Path) -> None:
    with FaultServer(SERVED) as server:
        for suspect in ("mine", "stranger"):
            (folder := tmp_path / suspect).mkdir()
            path = campaign(folder, server.url, suspect)
            found = run_campaign(path)
            write(path, found)
            (liked,) = found.likings
            assert liked.missing == ""
            assert (liked.readers, liked.rivals, liked.controls, liked.prompts) == (("own",), ("rival",), 9, 10)
            assert liked.p_candidate == pytest.approx(0.1)  # it knows the candidate's own answers
            assert (liked.p == pytest.approx(0.1)) == (suspect == "mine")
            (row,) = rows(path)
            assert float(row["p_value"]) == pytest.approx(liked.p)
            assert row["missing"] == ""
            said = next(o for o in found.observations if o.channel == "readers")
            assert ("more likely" in said.value) == (liked.effect > 0)


def test_what_readers_said_is_verified_and_packed_with_the_answers(tmp_path: Path) -> None:
    with FaultServer(SERVED) as server:
        path = campaign(tmp_path, server.url)
        write(path, run_campaign(path))
    folder = tmp_path / "results" / "read"
    for command in (["verify", str(folder)], ["check", str(path), "--offline"], ["run", str(path), "--dry-run"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, done.output
        if command[0] != "verify":
            assert "own, rival: at most 110 answers each" in done.output
    with sqlite3.connect(folder / "responses.sqlite") as db:
        assert db.execute("SELECT COUNT(*) FROM responses WHERE endpoint = 'own'").fetchone() == (110,)
        db.execute("UPDATE responses SET logprobs = x'00' WHERE endpoint = 'own' AND prompt = 'q3'")
    assert CliRunner().invoke(app, ["verify", str(folder)]).exit_code != 0


def test_readers_decide_nothing(tmp_path: Path) -> None:
    """With and without readers every finding is the same."""
    with FaultServer(SERVED) as server:
        with_readers = run_campaign(campaign(tmp_path, server.url))
        (tmp_path / "b").mkdir()
        without = run_campaign(campaign(tmp_path / "b", server.url, readers=[]))
    assert repr(with_readers.findings) == repr(without.findings)  # NaN is not equal to itself
    assert without.likings == ()


def test_what_is_read_is_not_read_again(tmp_path: Path) -> None:
    own = unigram("mine")
    broken: list[Any] = [*[own] * 12, *["500"] * 3, own]
    with FaultServer({"own": broken, "rival": SERVED["rival"]}) as server:
        path = campaign(tmp_path, server.url)
        said: list[str] = []
        first = run_campaign(path, say=said.append)
        assert server.asked["own"] == 15
        assert any(line.startswith("own: 98 of 110 calls got no answer") for line in said)
        assert first.likings[0].prompts < 10
        second = run_campaign(path)
        assert server.asked == {"own": 15 + 98, "rival": 110}
        assert second.likings[0].prompts == 10
        run_campaign(path)
        assert server.asked == {"own": 15 + 98, "rival": 110}
    assert score(path).likings == second.likings  # nobody is asked


def test_a_server_that_gives_no_logprobs_of_what_it_is_given_is_told(tmp_path: Path) -> None:
    """As llama.cpp's, which ignores `echo` and returns logprobs of a token of its own."""
    with FaultServer({"own": ["ok"], "rival": SERVED["rival"]}) as server:
        said: list[str] = []
        found = run_campaign(campaign(tmp_path, server.url), say=said.append)
        assert server.asked["own"] == 1
    assert any("reader own cannot be used" in line and "`echo`" in line for line in said)
    assert found.likings[0].missing == "not read"
    assert found.findings  # the verdicts stand


HEAT = {"at-nought": 0.0, "warm": 0.7}


def after(root: str, word: str) -> str:
    """The word that models of one root say after another one at temperature 0, of some forty thousand."""
    number = zlib.crc32(f"{root} {word}".encode())
    return WORDS[number % len(WORDS)] + WORDS[number // len(WORDS) % len(WORDS)]


def chain(root: str, start: str, slips: int) -> str:
    """An answer of 40 words at temperature 0, of which every so manieth is a slip."""
    out = [start]
    for i in range(1, 40):
        best = after(root, out[-1])
        out.append(after(root, best) if i % slips == 0 else best)
    return " ".join(out)


def speaks(root: str, slips: int) -> Callable[[Request], Reply]:
    """A model that says the chain of its root, from a word that the question asks for."""

    def step(request: Request) -> Reply:
        asked = json.loads(request.body)["messages"][-1]["content"]
        at = int(re.findall(r"\d+", asked)[0])
        return Reply(body=payloads.encode(payloads.chat(chain(root, WORDS[at], slips))))

    return step


def chooses(root: str) -> Callable[[Request], Reply]:
    """A reader that finds likeliest what its root would say next, and says so as vLLM does."""

    def step(request: Request) -> Reply:
        asked = json.loads(request.body)["prompt"]
        tokens = re.findall(r"\s*\S+", asked)
        top: list[dict[str, float] | None] = [None]
        for before, token in itertools.pairwise(tokens):
            best = " " + after(root, before.strip())
            top.append({token: -0.05} if best == token else {best: -0.05, token: -3.0})
        values = [None, *(t[token] for t, token in zip(top[1:], tokens[1:], strict=True) if t)]
        shape = {"tokens": tokens, "token_logprobs": values, "top_logprobs": top}
        return Reply(body=payloads.encode(payloads.with_logprobs(payloads.completion(asked), shape)))

    return step


@pytest.mark.parametrize("heat", list(HEAT))
def test_answers_at_temperature_0_are_read_token_by_token(heat: str, write_campaign: Any) -> None:
    """Over a real socket: the same model, a coarser one that slips more often than the candidate, and strangers."""
    served = {"c": ("mine", 13), "same": ("mine", 13), "coarse": ("mine", 4), "k": ("other", 13)}
    steps: dict[str, list[Any]] = {n: [speaks(*told)] for n, told in served.items()}
    with FaultServer(steps | {"own": [chooses("mine")], "rival": [chooses("else")]}) as server:
        readers = [
            {"name": n, "kind": "openai-completions", "base_url": server.url, "model": n, "lineage": root}
            for n, root in (("own", "c"), ("rival", "rival"))
        ]
        path = write_campaign(
            server.url, tuple(served), n=12, samples=1, readers=readers,
            endpoint={"params": {"temperature": HEAT[heat]}},
            roles=["candidate", "suspect", "suspect", "control"], analysis={"questions": []},
        )  # fmt: skip
        found = run_campaign(path)
        write(path, found)
    with (path.parent / "results" / "test" / "readings.csv").open(newline="") as f:
        told = {r["suspect"]: r for r in csv.DictReader(f)}
    if heat == "warm":
        assert {r["greedy_missing"] for r in told.values()} == {"no greedy answers"}
        assert "no answer at temperature 0" in told["same"]["greedy_words"]
        return
    assert told["same"]["greedy_reader"] == "own"
    assert (float(told["same"]["greedy_p_value"]), told["same"]["greedy_prompts"]) == (1.0, "12")
    assert float(told["coarse"]["greedy_p_value"]) == pytest.approx(2 / 2**12, rel=1e-3)
    agreement = {n: float(r["greedy_agreement"]) for n, r in told.items()}
    assert agreement["same"] == float(told["same"]["greedy_agreement_candidate"]) > 0.9 > agreement["coarse"] > 0.7
    assert float(told["same"]["greedy_agreement_controls"]) < 0.1
    seen = next(o for o in found.observations if (o.channel, o.model, o.what) == ("readers", "coarse", "greedy for c"))
    assert "coarser ones" in seen.value


def test_recorded_answers_are_greedy_where_the_config_says_so(tmp_path: Path) -> None:
    """Nobody knows how they were sampled but who recorded them; this reader does not say what it would have chosen."""
    with FaultServer(SERVED) as server:
        for name, prompts, missing in (
            ("unsaid", [{"set": "recorded"}], "no greedy answers"),
            ("said", [{"set": "recorded", "temperature": 0}], "not read"),
        ):
            (folder := tmp_path / name).mkdir()
            found = run_campaign(campaign(folder, server.url, prompts=prompts))
            assert [g.missing for g in found.followings] == [missing]


@pytest.mark.slow
def test_a_model_knows_its_own_prose_behind_a_system_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SmolLM2 as nova, its own weights as the reader, Gemma as the rival; from text alone, all of it served here."""
    pytest.importorskip("xllamacpp", reason="kind `local` needs the extra [local]")
    told = yaml.safe_load((ROOT / "config.yaml").read_text())
    by = {e["name"]: e for e in told["endpoints"]}
    names = ("nova", "smollm2", "gemma-3-270m", "qwen2.5-coder-0.5b")
    readers = [
        {
            "name": f"reads-{n}",
            "kind": "local",
            "lineage": by[n]["lineage"],
            "weights": by[n]["weights"],
            "context": 512,
        }
        for n in ("smollm2", "gemma-3-270m")
    ]
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {"campaign": "own", "prompts": [{"set": "everyday", "limit": 6, "samples": 1, "max_tokens": 48}],
             "endpoints": [by[n] for n in names], "analysis": {"questions": []}, "readers": readers}
        )
    )  # fmt: skip
    python = python_of("ENGINES_PYTHON", "transformers, torch, gguf")
    command = [python, "-c", "import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    monkeypatch.setenv("PYTHONPATH", done.stdout.strip())  # where the readers' process finds its engine
    run_campaign(path)
    plan = stored_plan(path)
    found = readings(plan, read(read_responses(plan)))
    assert found is not None
    assert found.models == names
    liked = dict(zip(names, preference(found.values, [0], [1]), strict=True))
    assert min(liked["nova"], liked["smollm2"]) > max(liked["gemma-3-270m"], liked["qwen2.5-coder-0.5b"]) + 0.3


def test_readers_of_one_lineage_are_refused(tmp_path: Path) -> None:
    path = campaign(tmp_path, "http://127.0.0.1:9/v1")
    told = yaml.safe_load(path.read_text())
    cases: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
        (lambda t: t["readers"].pop(), "of one lineage"),
        (lambda t: t["readers"][0].pop("lineage"), "needs `lineage:`"),
        (lambda t: t["readers"][0].update(name="suspect"), "two endpoints are called"),
        (lambda t: t["readers"][0].update(kind="openai-chat"), "kind"),
        (lambda t: t["readers"][0].update(role="suspect"), "role"),
        (lambda t: t["endpoints"][3].update(role="reader"), "under `readers:`"),
    ]
    for change, said in cases:
        spoilt = json.loads(json.dumps(told))
        change(spoilt)
        path.write_text(yaml.safe_dump(spoilt))
        with pytest.raises(ConfigError, match=re.escape(said)) as caught:
            load_config(path)
        assert "config.yaml" in str(caught.value)


def test_a_local_reader_is_not_served_by_llama_cpp(tmp_path: Path) -> None:
    path = campaign(tmp_path, "http://127.0.0.1:9/v1")
    told = yaml.safe_load(path.read_text())
    told["readers"][0] = {
        "name": "own", "kind": "local", "lineage": "mine", "engine": "llama.cpp", "weights": {"gguf": "a.gguf"}
    }  # fmt: skip
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(ConfigError, match="engine"):
        load_config(path)


def test_recorded_answers_go_to_a_reader_elsewhere_only_after_a_yes(tmp_path: Path) -> None:
    far = campaign(tmp_path, "https://reader.example.com/v1")
    found = reach_of(load_config(far), tmp_path)
    assert [r.host for r in found if r.kind == "sent file" and r.asks] == ["reader.example.com"]
    near = campaign(tmp_path, "http://127.0.0.1:9/v1")
    assert not [r for r in reach_of(load_config(near), tmp_path) if r.asks]


def worlds(count: int, own_gain: float = 1.0) -> list[np.ndarray]:
    """Values of strangers: skill, prompts and noise; readers may feel skill unlike one another."""
    rng = np.random.default_rng(1)
    out = []
    for _ in range(count):
        skill = rng.normal(0, 0.3, 12)
        base = rng.normal(0, 1, (16, 1, 1)) + skill[None, :, None] * np.array([own_gain, 1.0, 1.0])
        out.append(base + rng.normal(0, 0.1, (16, 12, 3)) + rng.normal(0, 0.03, (1, 12, 3)))
    return out


@pytest.mark.parametrize("gain", [1.0, 1.6])
def test_strangers_have_uniform_ranks_whatever_their_skill(gain: float) -> None:
    p = np.array([ranked(v, [0], [1, 2])[1] for v in worlds(600, gain)])
    found = Counter(np.round(p * 12).astype(int).tolist())
    assert set(found) == set(range(1, 13))
    spread = sum((found[k] - 50) ** 2 / 50 for k in range(1, 13))  # chi-squared, 11 degrees of freedom
    assert spread < 31.3  # 99.9 %


def test_what_rivals_explain_is_no_liking() -> None:
    """The plainest writer of all is liked by every reader: by its own reader alone it would be called kin."""
    beyond, alone = [], []
    for v in worlds(200, 1.3):
        best = int(v.mean((0, 2)).argmax())
        order = [best, *(i for i in range(12) if i != best)]
        beyond.append(ranked(v[:, order], [0], [1, 2])[1])
        alone.append(float((v[..., 0].mean(0) >= v[:, best, 0].mean()).mean()))
    assert np.mean(np.array(alone) <= 1 / 12 + 1e-9) > 0.8
    assert np.mean(np.array(beyond) <= 1 / 12 + 1e-9) < 0.16


def test_gaps_and_what_is_missing_is_said() -> None:
    pair = Model("s", "suspect", None), Model("c", "candidate", "mine")
    models = (*pair, *(Model(f"k{i}", "control", f"k{i}") for i in range(5)))
    readers = tuple(Model(n, "reader", root) for n, root in (("a", "mine"), ("b", "b")))
    values = np.random.default_rng(0).normal(-1, 0.1, (6, 7, 2))

    def one(values: np.ndarray, readers: tuple[Model, ...] = readers) -> Any:
        names = tuple(m.name for m in models)
        (found,) = likings(Readings(names, readers, ("p",) * 6, 42, values), models, "one a maker")
        return found

    assert one(values).missing == ""
    assert one(values, readers[1:]).missing == "no reader of its lineage"
    assert one(values[..., :1], readers[:1]).missing == "no rival reader"
    gone = values.copy()
    gone[:, 0] = math.nan
    assert one(gone).missing == "not read"
    few = values.copy()
    few[:, 3:] = math.nan
    assert one(few).missing == "few controls"
    some = values.copy()
    some[:3, 0] = math.nan
    assert (one(some).missing, one(some).prompts) == ("", 3)
