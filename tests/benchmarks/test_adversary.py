"""Tricks change what they say they change, and the table tells a trick that hides kin from one that does nothing."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import adversary
from benchmarks.adversary import WORN, changed, setups_of, verdict
from benchmarks.recorded import read
from benchmarks.tricks import NONE, TRICKS, Scene, sentences, synonyms_of
from tests.benchmarks.test_lineage import write

QUESTIONS = [f"How do I plan day {i} of a trip to the coast?" for i in range(40)]
TEXTS = [
    f"Here's a plan for day {i}, and it isn't hard to follow. Start early - the coast is busy by noon!\n\n- **Walk** "
    f"along the old pier, then rest.\n- Eat at the harbour & read.\n\nIn the evening, \"slow food\" is what "
    f"you want to try. It is best with friends, and there are about {i + 3} places that offer it."
    for i in range(40)
]  # fmt: skip
STRANGERS = [[f"Stranger {k} says something else on {i}. It is short. It ends." for i in range(40)] for k in range(2)]
SYNONYMS = {
    "start": "begin",
    "early": "soon",
    "coast": "shore",
    "busy": "crowded",
    "evening": "night",
    "places": "spots",
    "walk": "stroll",
    "friends": "mates",
    "hard": "tough",
    "plan": "scheme",
    "follow": "keep",
}
SCENE = Scene(QUESTIONS, STRANGERS, SYNONYMS, "nova", host=5, own=6)


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_changes_its_share_of_the_answers_and_no_other(name: str) -> None:
    trick = TRICKS[name]
    out = trick(TEXTS, SCENE)
    assert out == trick(TEXTS, SCENE), "the same seeds, the same texts"
    touched = {i for i, (a, b) in enumerate(zip(TEXTS, out, strict=True)) if a != b}
    assert touched <= SCENE.chosen(trick.share)
    assert len(touched) >= 0.8 * round(trick.share * len(TEXTS))


def test_a_host_treats_all_its_models_alike_where_it_chooses() -> None:
    other = replace(SCENE, own=7)
    refused = TRICKS["refusal with id on 10 %"]
    mine, theirs = refused(TEXTS, SCENE), refused(TEXTS, other)
    at = [i for i in range(40) if mine[i] != TEXTS[i]]
    assert len(at) == 4
    assert at == [i for i in range(40) if theirs[i] != TEXTS[i]]
    assert all(mine[i] != theirs[i] for i in at), "a request has a number of its own"
    plain = TRICKS["refusal on 10 %"]
    assert plain(TEXTS, SCENE) == plain(TEXTS, other)
    rewritten = TRICKS["synonyms 15 %"]
    assert rewritten(TEXTS, SCENE) == rewritten(TEXTS, other), "one rewriting proxy has one dictionary"
    assert TRICKS["zero-width in 10 %"](TEXTS, SCENE) != TRICKS["zero-width in 10 %"](TEXTS, other)


def test_what_is_cut_added_and_hidden() -> None:
    first = {name: TRICKS[name](TEXTS, SCENE)[0] for name in TRICKS}
    assert len(first["cut at 20 words"].split()) == 20
    assert first["cut at blank line"] == TEXTS[0].split("\n\n")[0]
    assert first["first sentence"] == sentences(TEXTS[0])[0]
    assert re.sub("\u200b", "", first["zero-width in 100 %"]) == TEXTS[0]
    assert first["thoughts: closing only"].endswith("</think>\n\n" + TEXTS[0])
    assert first["question repeated"].startswith(QUESTIONS[0])
    assert first["candidate named"].startswith("As nova,")
    assert not re.search(r"[*]{2}", first["markdown stripped"])
    share = [sum(a != b for a, b in zip(x.split(), y.split(), strict=True)) for x, y in
             zip(TEXTS, TRICKS["synonyms 15 %"](TEXTS, SCENE), strict=True)]  # fmt: skip
    assert 0 < np.mean(share) <= 0.3 * len(TEXTS[0].split())


def test_a_dictionary_from_texts_exchanges_words_that_stand_alike() -> None:
    rng = np.random.default_rng(0)
    filler = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(150)]
    texts = [
        f"{' '.join(rng.choice(filler, 20))} the {rng.choice(['quick', 'rapid'])} fox {rng.choice(['jumps', 'leaps'])}"
        for _ in range(800)
    ]
    found = synonyms_of(texts, least=5, kept=2)
    assert {"quick": "rapid", "rapid": "quick", "jumps": "leaps", "leaps": "jumps"}.items() <= found.items()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[adversary.Setup]:
    """Kin and strangers of a small collection of made-up models, two a lineage."""
    folder = tmp_path_factory.mktemp("collection")
    write(folder, 32, 40)
    collection = read(folder / "x.parquet", folder / "x.csv")
    return setups_of(collection, 3, 3, 25, 8, np.random.default_rng(0))[0]


def test_pools_stay_and_hold_no_kin(pairs: list[adversary.Setup]) -> None:
    assert [s.relation for s in pairs] == ["parent_child"] * 3 + ["unrelated"] * 3
    for s in pairs:
        roots = [int(m[1:]) // 2 for m in s.table.models]
        assert len(set(roots[1:])) == len(roots) - 1
        assert (roots[0] == roots[1]) == (s.relation != "unrelated")
        bare = changed(s, NONE, (), {})
        assert bare.models == s.table.models[: s.size]
        worn = changed(s, TRICKS["footer of 15 words"], WORN["controls only"](s.size), {})
        differs = [
            j for j in range(s.size) if any(bare.text[p * s.size + j] != worn.text[p * s.size + j] for p in range(25))
        ]
        assert differs == list(range(2, s.size))


def test_routing_hides_kin_and_doing_nothing_does_not(pairs: list[adversary.Setup]) -> None:
    kin = [s for s in pairs if s.relation != "unrelated"]
    away = replace(TRICKS["85 % routed elsewhere"], share=1.0)
    for s in kin:
        bare, _ = verdict(s, NONE, (), {}, ("wording",))
        assert (bare.verdict, bare.effect) == ("KIN-OR-TAUGHT", verdict(s, NONE, (0,), {}, ("wording",))[0].effect)
        assert verdict(s, away, (0,), {}, ("wording",))[0].effect < bare.effect / 2


def small(folder: Path, prompts: int) -> list[str]:
    """Arguments of a run on a few pairs of a small collection."""
    sizes = {"--prompts": prompts, "--controls": 8, "--pairs": 2, "--close": 2, "--jobs": 1}
    return [*write(folder, 32, 40), *(str(x) for pair in sizes.items() for x in pair)]


def test_the_table_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.csv"
    given = small(tmp_path, prompts=30)
    assert adversary.main([*given, "--only", "lower case", "--only", "canned", "--csv", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2 close pairs, 2 unrelated, 8 control lineages" in printed
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert {r["worn"] for r in rows if r["relation"] == "unrelated"} == {"nobody", "both"}
    assert {r["worn"] for r in rows if r["relation"] != "unrelated"} == {"nobody", "suspect"}
    assert {r["kind"] for r in rows} == {"none", "layout", "canned"}
    assert "| lower case | suspect | 2 of 2 |" in printed
    with pytest.raises(SystemExit, match="no trick and no kind"):
        adversary.main([*given, "--only", "magic"])


def test_shares_routed_elsewhere_are_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = small(tmp_path, prompts=25)
    assert adversary.main([*given, "--mixtures"]) == 0
    rows = [[x.strip() for x in r.split("|")[1:-1]] for r in capsys.readouterr().out.splitlines() if r.startswith("|")]
    cells = {(r[0], r[1]): r for r in rows[2:]}
    assert set(cells) == {("other kin", f"{s} %".replace(" ", "")) for s in (0, 10, 30, 50, 70)} | {("unrelated", "0%")}
    assert float(cells["other kin", "0%"][3]) < float(cells["other kin", "70%"][3])
    assert cells["unrelated", "0%"][7] == "0.00"
