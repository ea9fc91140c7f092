"""Parsing answers: numbers, wrong answers, refusals and reasoning, in the forms in which models give them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.channels.choices import normalised
from harness.channels.ratings import parse_ratings
from harness.channels.reasoning import find_reasoning
from harness.channels.refusals import ReactionKind, reaction_kind
from harness.channels.wrong_answers import RIGHT, final, wrong_answer
from harness.records import Prompt


def split_reasoning(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a text that may carry its thoughts inline."""
    found = find_reasoning(text)
    return (text[found.start : found.end], text[found.answer : found.stop]) if found else ("", text)


SCALES = ("angry", "at ease", "proud")


@pytest.mark.parametrize(("text", "same"), [(" ４２ ", "42"), ("**Blue**.", "blue"), ("红色。", "红 色"), ("!", "!")])
def test_answers_are_normalised(text: str, same: str) -> None:
    assert normalised(text) == same


@pytest.mark.parametrize(
    ("text", "answer", "asked", "wrong"),
    [
        ("25,143", ["25143", "25,143"], "?", RIGHT),
        ("125143", ["25143"], "?", {"125143"}),
        ("There's no such prize.", ["no such"], "?", RIGHT),
        ('```json\n{"answer": "Red"}\n```', ["red"], "Output only JSON", RIGHT),
        ('{"answer": 7}', ["8"], "Output only JSON", {"7"}),
        ("sorry", ["8"], "Output only JSON", {"(no answer)"}),
        ("Venus's larger moon is Neith.", ["no moon"], "Name the larger of Venus's moons", {"is", "moon", "neith"}),
    ],
)
def test_wrong_answers(text: str, answer: list[str], asked: str, wrong: set[str]) -> None:
    assert wrong_answer(text, Prompt("q", "f", asked, fields={"answer": answer})) == wrong


def test_only_the_final_line_of_shown_work_counts() -> None:
    prompt = Prompt("q", "f", 'Finish with "Answer: ..."', fields={"answer": ["3"]})
    assert final("3 and 4 make 7.\n**Answer:** 7 roses", prompt) == "7 roses"
    assert final("3 and 4", prompt) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("对不起，我无法提供这些信息。", "declines"),
        ("It is important to note the risks.", "hedges"),
        ("Add salt.", "complies"),
    ],
)
def test_kinds_of_reaction(text: str, kind: ReactionKind) -> None:
    assert reaction_kind(text) == kind


@pytest.mark.parametrize(
    "text",
    [
        "angry: 3\nat ease: 0\nproud: 10",
        "**Angry:** 3\n- *At ease* - 0/10\n3. Proud = 10.",
        "| angry | 3 |\n| at-ease | 0 |\n| proud | 10 |",
        '{"angry": 3, "at ease": 0, "proud": 10}',
        "<think>angry: 9 at ease: 9</think>Angry：3，At ease：0，Proud：10",
        "3, 0, 10",
        "1. 3\n2. 0\n3. 10",
    ],
)
def test_ratings_are_read_in_many_forms(text: str) -> None:
    assert parse_ratings(split_reasoning(text)[1], SCALES) == {"angry": 3, "at ease": 0, "proud": 10}


@pytest.mark.parametrize(
    ("text", "read"), [("angry: 30\nproud: 4", {"proud": 4}), ("angry: 7.5", {}), ("3, 4", {}), ("", {})]
)
def test_ratings_that_are_none(text: str, read: Mapping[str, int]) -> None:
    assert parse_ratings(split_reasoning(text)[1], SCALES) == read


@pytest.mark.parametrize(
    "text",
    [
        "<think>hm</think>yes",
        "hm\n</think>\n\nyes",
        "◁think▷hm◁/think▷ yes",
        "Thinking...\nhm\n...done thinking.\n\nyes",
        "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes",
        "**Thinking:**\nhm\n\n**Answer:**\nyes",
        "<thought>hm</thought><answer>yes</answer>",
    ],
)
def test_reasoning_is_separated(text: str) -> None:
    reasoning, answer = split_reasoning(text)
    assert answer == "yes"
    assert "hm" in reasoning


@pytest.mark.parametrize(
    "text", ["Thinking about it is fun.\nYes", "It ends with `</think>` there.", "a < b", "<b>yes</b>"]
)
def test_answers_that_only_look_like_reasoning(text: str) -> None:
    assert split_reasoning(text) == ("", text)
