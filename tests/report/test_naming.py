"""Attributions in words, as a table and as JSON: the tier, the set, and what the known models were."""

from __future__ import annotations

import io
import json
from typing import Any

from harness.inference.findings import UNKNOWN, Attribution, Match
from harness.report.dictionary import FILES
from harness.report.naming import attributed, attribution_basis
from harness.report.terminal import findings_json, print_attributions
from tests.support.results import read, results

KNOWN = (
    Match("far", "f", "Elsewhere", 0.1, 0.2, -1.0, 0.6, 0.9, 0.5),
    Match("near", "n", "House", 0.7, 6.0, 5.0, 0.01, 0.05, 0.005, ("2025-01-02T03:04:05", "2025-02-03T04:05:06")),
    Match("kin", "k", "House", 0.2, 5.0, 4.0, 0.02, 0.05, 0.01),
)


def found(**more: Any) -> Attribution:
    of: dict[str, Any] = {
        "suspect": "mystery", "best": "near", "probabilities": {"near": 0.7, "kin": 0.2, "far": 0.1}, "p_unknown": 0.01,
        "p_floor": 0.01, "answers": 100, "tier": "model", "named": ("near",), "rule": "conformal", "lineages": 20,
        "prompts": 100, "matches": KNOWN,
    }  # fmt: skip
    return Attribution(**of | more)


def test_each_tier_has_its_sentence() -> None:
    assert attributed(found()).startswith("mystery is near or close kin of it.")
    assert "Further ones that pass: kin." in attributed(found(named=("near", "kin")))
    assert attributed(found(tier="maker")).startswith("mystery is something of House:")
    none = attributed(found(tier="none", named=(), best=UNKNOWN, p_unknown=0.4))
    assert none.startswith("mystery is none of the known models")
    assert "The closest is near." in none
    assert "could not be compared" in attributed(Attribution("mystery", UNKNOWN, {}, 1.0, 1.0, 0))


def test_it_says_what_it_rests_on_and_when_that_was_recorded() -> None:
    basis = "answers to the same 100 prompts; 20 known lineages; recorded 2025-01-02 to 2025-02-03"
    assert attribution_basis(found()) == basis
    assert "too few to stand alone" in attribution_basis(found(rule="carried"))
    assert attribution_basis(found(rule="classifier")).startswith("by the text classifier, 100 answers")


def test_the_table_has_a_row_a_known_model_closest_first() -> None:
    rows = read("attribution", results(attributions=[found(named=("near", "kin"))]))
    assert list(rows[0]) == list(FILES["attribution"].columns)
    assert [r["known_model"] for r in rows] == ["near", "kin", "far"]
    assert {r["tier"] for r in rows} == {"model"}
    assert [r["in_set"] for r in rows] == ["yes", "yes", "no"]
    assert rows[0]["recorded_from"] == "2025-01-02T03:04:05"
    assert (rows[0]["score"], rows[0]["p_conformal"], rows[0]["maker"]) == ("5", "0.05", "House")
    (empty,) = read("attribution", results(attributions=[Attribution("s", UNKNOWN, {}, float("nan"), 1.0, 0)]))
    assert empty["known_model"] == empty["score"] == ""


def test_json_and_terminal_say_the_same() -> None:
    (record,) = json.loads(findings_json([], [found()]))
    assert (record["question"], record["tier"], record["named"]) == ("attribution", "model", ["near"])
    assert record["sentence"] == attributed(found())
    assert [m["name"] for m in record["known"]] == ["near", "kin", "far"]
    out = io.StringIO()
    print_attributions([found()], out)
    assert attributed(found()) in out.getvalue()
    assert "score 5 (z 6), p = 0.01" in out.getvalue()
