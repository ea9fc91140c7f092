"""The benchmark of readers reads each answer once, behind the question it should, and finds whom a reader likes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from benchmarks import reading
from benchmarks.liked import Part, read_of, sides
from benchmarks.recorded import read
from harness.channels.likelihoods import Heard

MODELS, KIN, PROMPTS = 20, 4, 6
READERS = ("qwen05", "gemma", "smol")


@dataclass
class Pretender:
    """Reads by the book: the one reader likes a house's answers, by as much more behind their own question."""

    name: str
    seen: ClassVar[list[tuple[str, str, int]]] = []
    noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    @classmethod
    def load(cls, path: Path) -> Pretender:
        return cls(path.stem)

    def read(self, question: str, texts: Sequence[str], template: str) -> list[Heard]:
        self.seen.append((self.name, question, len(texts)))
        out = []
        for text in texts:
            words = text.split()
            values = np.full(len(words), -3.0) + self.noise.normal(0, 0.05)
            if self.name == "qwen05" and words[9][0] == "z":
                values += 0.3 if words[9][1:] == question.split()[-1] else 0.1
            values[8:] -= 1.0 if words[10][0] == "b" else 0.0  # which all readers find alike
            out.append(Heard(values, np.cumsum([len(w) + 1 for w in words]) - 1))
        return out


def answer(model: int, prompt: int, drawn: Sequence[int]) -> str:
    """Thirty words; the tenth says whether a model is of the house, and what was asked, those behind it its skill."""
    behind = (f"{'ab'[model % 2]}{w}" for w in drawn[9:])
    return " ".join([*(f"w{w}" for w in drawn[:9]), f"{'zw'[model >= KIN]}{prompt}", *behind])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Four models of a reader's house, and sixteen of as many others; each of three readers has read them."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": f"m{i:02}",
            "prompt_id": f"p{p}",
            "prompt": f"What of {p}",
            "output": answer(i, p, rng.choice(50, 29).tolist()),
        }
        for i in range(MODELS)
        for p in range(PROMPTS)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    lines = [{"model": f"m{i:02}", "organisation": "Qwen" if i < KIN else f"o{i}", "relation": "independent",
              "series": "qwen2.5" if i < KIN else f"s{i}", "base_model": f"b{i}"} for i in range(MODELS)]  # fmt: skip
    pd.DataFrame(lines).to_csv(tmp_path / "x.csv", index=False)
    monkeypatch.setattr(reading, "BatchReader", Pretender)
    monkeypatch.setattr(Pretender, "seen", [])
    return ["--data", str(tmp_path / "x.parquet"), "--lineage", str(tmp_path / "x.csv"),
            "--readings", str(tmp_path / "r.jsonl")]  # fmt: skip


def named() -> list[str]:
    return [part for r in READERS for part in ("--read", f"{r}={r}.gguf")]


def cells(printed: str, *first: str) -> list[str]:
    """Cells of the row that begins so."""
    rows = [[c.strip() for c in line.strip("| ").split("|")] for line in printed.splitlines()]
    return next(row for row in rows if row[: len(first)] == list(first))


def test_each_answer_is_read_once_and_the_house_is_liked(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    reading.main([*files, *named(), "--prompts", "4"])
    reading.main([*files, *named()])
    assert sorted(Pretender.seen) == sorted((r, f"What of {p}", MODELS) for r in READERS for p in range(PROMPTS))
    reading.main(files)
    row = cells(capsys.readouterr().out, "qwen05", "of the house")
    assert row[2] == str(KIN * (KIN - 1))
    assert row[3].startswith("1.00 [")
    assert float(row[4].split()[0]) > 0.9  # with the first factor out
    assert 0.3 < float(row[6].split()[0]) < 0.7  # rivals alone


def test_behind_anothers_question_less_is_left(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    reading.main([*files, *named()])
    reading.main([*files, *named(), "--template", "other"])
    told = [json.loads(line) for line in Path(files[-1]).read_text().splitlines()]
    asked = {e["prompt"]: (e["heard"]["m00"][0][0], e["template"]) for e in told if e["reader"] == "qwen05"}
    assert len(told) == 2 * len(READERS) * PROMPTS
    assert all(template == "other" and value < -2.7 - 0.05 for value, template in asked.values())
    reading.main([*files, "--template", "other"])
    row = cells(capsys.readouterr().out, "qwen05", str(KIN))
    assert row[2] == "1.00"
    assert float(row[4]) > 0.9  # what its own question adds is of the house, too


@pytest.mark.parametrize(("part", "level"), [("all", -3.37), ("first", -3.0), ("rest", -3.5)])
def test_first_tokens_can_be_looked_at_apart(files: list[str], part: Part, level: float) -> None:
    reading.main([*files, *named()])
    given = dict(zip(files[::2], files[1::2], strict=True))
    collection = read(Path(given["--data"]), Path(given["--lineage"]))
    found = read_of(collection, Path(given["--readings"]), "bare", "token", part, only=("gemma", "smol"))
    assert found.readers == ("gemma", "smol")
    assert found.values[:, :KIN].mean() == pytest.approx(level, abs=0.05)


def test_readers_of_a_house_are_taken_together(files: list[str]) -> None:
    reading.main([*files, *named(), "--read", "qwen15=qwen15.gguf"])
    given: dict[str, Any] = dict(zip(files[::2], files[1::2], strict=True))
    collection = read(Path(given["--data"]), Path(given["--lineage"]))
    found = read_of(collection, Path(given["--readings"]), "bare", "token")
    assert [s.name for s in sides(collection, found)] == ["qwen05", "qwen15", "qwen05 + qwen15"]
    assert all([found.readers[i] for i in s.rivals] == ["gemma", "smol"] for s in sides(collection, found))


def test_strangers_can_be_fewer_and_the_house_is_whole(files: list[str]) -> None:
    given = dict(zip(files[::2], files[1::2], strict=True))
    collection = read(Path(given["--data"]), Path(given["--lineage"]))
    some = reading.chosen_models(collection, most=1, strangers=5)
    assert some[:KIN] == list(range(KIN))
    assert len(some) == KIN + 5
    assert len(reading.chosen_models(collection, most=1)) == MODELS
