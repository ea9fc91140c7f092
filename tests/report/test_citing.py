"""What may be written follows from what was found, and every endpoint is told with its address or file and its days."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import pytest

from harness.inference.conclusion import Clause, Conclusion
from harness.inference.findings import Finding
from harness.inference.questions import QUESTIONS
from harness.inference.verdicts import inconclusive
from harness.report.citing import asked_of, cited, may_write, propositions

CLAUSES: tuple[Clause, ...] = get_args(Clause)
ACCUSING = ("copied", "stolen", "taken", "built on", "trained on", "swapped", "cleared", "nothing to do")


@pytest.mark.parametrize("clause", CLAUSES)
def test_every_clause_has_a_sentence_for_and_one_against(clause: Clause) -> None:
    yes, no = may_write(Conclusion("red", "blue", (clause,)))
    assert len(yes) == len(no) == 1
    assert "red" in yes[0]
    assert "blue" in yes[0] + no[0]
    assert no[0].startswith("“")
    assert ": " in no[0].split("”", 1)[1], "the reason stands behind it"


@pytest.mark.parametrize("clause", CLAUSES)
def test_nothing_supported_accuses_or_clears(clause: Clause) -> None:
    (sentence,) = may_write(Conclusion("red", "blue", (clause,)))[0]
    assert not [word for word in ACCUSING if word in sentence]


def test_an_open_question_is_said_beside_what_is_known() -> None:
    yes, no = may_write(Conclusion("red", "blue", ("served apart",), open=("kinship",)))
    assert len(yes) == len(no) == 2
    assert "do not settle" in yes[1]
    assert "kinship" in yes[1]


def test_a_pair_of_which_nothing_is_known_is_not_cleared() -> None:
    yes, no = may_write(Conclusion("red", "blue", ()))
    assert "do not settle" in yes[0]
    assert "cleared" in no[0]


@pytest.mark.parametrize("question", sorted(QUESTIONS))
def test_two_propositions_name_both_models(question: Any) -> None:
    found = Finding(question, "red", "blue", ("a",), 0.05, inconclusive("too few controls"))
    one, other = propositions(found)
    assert one != other
    assert all("red" in text for text in (one, other))
    assert "blue" in one


def facts() -> dict[str, Any]:
    endpoints = [
        {"name": "c", "role": "control", "kind": "openai-chat", "base_url": "https://c.example/v1", "maker": "C"},
        {"name": "s", "role": "suspect", "kind": "recorded", "path": "folder/said.csv", "model": "s-1"},
        {"name": "p", "role": "candidate", "kind": "local", "weights": {"gguf": "p.gguf", "sha256": "b" * 64}},
    ]
    days = {"first": "2026-11-01T10:00:00.1", "last": "2026-11-03T11:30"}
    said = {
        "c": {"asked": ["m"], "answered": ["m-2"], **days, "answers": 7},
        "s": {"asked": ["s-1"], "answered": [], "first": "", "last": "", "answers": 1200},
    }
    return {
        "config": {"endpoints": endpoints},
        "endpoints": said,
        "runs": [{"recorded_sha256": {"s": "a" * 64}}, {}],
        "packages": {"behavioral-probing-harness": "9.9"},
        "written_at": "2026-11-04T08:00:00+00:00",
        "config_sha256": "c" * 64,
        "responses_sha256": "d" * 64,
    }


def test_each_endpoint_is_told_with_its_place_and_its_days() -> None:
    rows = asked_of(facts(), {"s": ("suspect", ""), "p": ("candidate", "pine"), "c": ("control", "cedar")})
    assert [r.name for r in rows] == ["s", "p", "c"]
    suspect, candidate, control = rows
    assert (suspect.where, suspect.sha256, suspect.first) == ("said.csv", "a" * 64, "")
    assert (candidate.where, candidate.sha256, candidate.answers) == ("this machine, weights p.gguf", "b" * 64, 0)
    assert (control.where, control.maker, control.model, control.answered_as) == (
        "https://c.example/v1",
        "C",
        "m",
        "m-2",
    )
    assert (control.first, control.last) == ("2026-11-01 10:00", "2026-11-03 11:30")


def test_the_citation_fixes_days_version_and_hashes() -> None:
    found = facts()
    line = cited("spring", found, asked_of(found, {}))
    needed = ("spring", "2026-11-01 to 2026-11-03", "1,207 answers", "9.9", "2026-11-04 08:00", "c" * 64, "d" * 64)
    assert [part for part in needed if part not in line] == []


def test_without_times_the_answers_are_recorded() -> None:
    found = facts()
    found["endpoints"].pop("c")
    assert "recorded answers" in cited("spring", found, asked_of(found, {}))


def test_no_two_clauses_say_the_same() -> None:
    told = [may_write(Conclusion("red", "blue", (clause,))) for clause in CLAUSES]
    assert not [1 for a, b in itertools.combinations(told, 2) if set(a[0]) & set(b[0])]
