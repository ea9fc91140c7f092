"""Prompt sets: all that ship load; what is not in the documented format is refused with file, line and field."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.channels.wrong_answers import RIGHT, wrong_answer
from harness.config.prompts import available, draw, fill, load_set, shipped_folder
from harness.config.schema import PromptUse
from harness.errors import ConfigError
from tests.support import CARD

CARD_TEXT = yaml.safe_dump({"card": {**CARD, "queries": 2}}, sort_keys=False)
LINES = CARD_TEXT.count("\n")
GOOD = CARD_TEXT + "prompts:\n  - id: tiny-1\n    text: One?\n  - id: tiny-2\n    text: Two?\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "tiny.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_set("tiny", folder)
    assert caught.value.message.startswith(f"{path}")
    assert len(str(caught.value)) < 1000
    return caught.value.message.removeprefix(f"{path}:")


@pytest.mark.parametrize("name", available(shipped_folder()))
def test_every_shipped_set_loads(name: str) -> None:
    found = load_set(name, shipped_folder())
    assert len(found.prompts) == found.card["queries"]
    assert len(found.sha256) == 64
    assert all(p.channels for p in found.prompts)


def test_ids_are_unique_across_shipped_sets() -> None:
    ids = [p.id for n in available(shipped_folder()) for p in load_set(n, shipped_folder()).prompts]
    assert len(ids) == len(set(ids))


def test_duplicate_id(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD.replace("tiny-2", "tiny-1"))
    assert message == f"{LINES + 4}: id 'tiny-1' is already used on line {LINES + 2}"


def test_unknown_field(tmp_path: Path) -> None:
    assert refused(tmp_path, GOOD + "    txet: x\n").startswith(f"{LINES + 4}: unknown field 'txet'")


@pytest.mark.parametrize("text", ["''", "'  '", "null", "5", "[a]"])
def test_no_text(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, GOOD.replace("Two?", text)) == f"{LINES + 4}: 'text' is missing or empty"


def test_bom_and_crlf_make_no_difference(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    plain = load_set("tiny", tmp_path)
    write(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_set("tiny", tmp_path).sha256 == plain.sha256


def test_a_megabyte_in_one_prompt(tmp_path: Path) -> None:
    message = refused(tmp_path, GOOD.replace("Two?", "x" * 1_000_000))
    assert message == f"{LINES + 4}: text has 1,000,000 characters"
    assert "larger than" in refused(tmp_path, GOOD.replace("Two?", "x" * 5_000_000))


def test_missing_card(tmp_path: Path) -> None:
    assert refused(tmp_path, GOOD[GOOD.index("prompts:") :]) == "1: the card is missing"
    assert refused(tmp_path, "card: 5\nprompts: []\n") == "1: the card is missing"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("samples", 0, "at least 1"),
        ("max_tokens", True, "wrong type"),
        ("surface", "voice", "chat or completion"),
        ("family", "other", "must be 'tiny'"),
        ("languages", [], "list of names"),
        ("channels", [1], "list of names"),
        ("channels", ["wordng"], "there is no channel 'wordng'"),
        ("temperature", "warm", "wrong type"),
        ("colour", "red", "unknown field card.colour"),
    ],
)
def test_each_field_of_the_card_is_checked(tmp_path: Path, key: str, value: Any, says: str) -> None:
    card = {**CARD, "queries": 2, key: value}
    text = yaml.safe_dump({"card": card}, sort_keys=False)
    line = next(i for i, x in enumerate(text.split("\n"), start=1) if x.strip().startswith(f"{key}:"))
    message = refused(tmp_path, text + GOOD[GOOD.index("prompts:") :])
    assert message.startswith(f"{line}: ")
    assert says in message


def test_wrong_count_and_missing_field(tmp_path: Path) -> None:
    assert "card.queries is 3" in refused(tmp_path, GOOD.replace("queries: 2", "queries: 3"))
    assert "card.source is missing" in refused(tmp_path, GOOD.replace("  source: written here\n", ""))


@pytest.mark.parametrize(
    "field", ["language: 5", "group: [a]", "rung: high", "answer: [2020-01-01]", 'claim: "\\ud83d"', "twin: null"]
)
def test_field_types(tmp_path: Path, field: str) -> None:
    name = field.partition(":")[0]
    assert refused(tmp_path, GOOD + f"    {field}\n") == f"{LINES + 4}: {name!r} has the wrong type"


@pytest.mark.parametrize("item", ["true", "~", "[yes]", "{yes: 1}"])
def test_an_accepted_answer_is_text_or_a_number(tmp_path: Path, item: str) -> None:
    assert "which is no text" in refused(tmp_path, GOOD + f"    answer: [a, {item}]\n")


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "y", "N"])
def test_an_accepted_answer_is_the_word_that_is_written(tmp_path: Path, word: str) -> None:
    """YAML 1.1 made a boolean of it, so that a right answer was a mistake, the same for every model that is right."""
    (tmp_path / "tiny.yaml").write_text(GOOD + f"    answer: [{word}]\n", encoding="utf-8")
    prompt = load_set("tiny", tmp_path).prompts[-1]
    assert prompt.fields["answer"] == [word]
    assert wrong_answer(f"{word.capitalize()}, it is.", prompt) == RIGHT
    assert wrong_answer("It is true.", prompt) != RIGHT


@pytest.mark.parametrize("prompts", ["5", "{a: 1}", "[5]", "[]", "text"])
def test_prompts_that_are_no_list_of_mappings(tmp_path: Path, prompts: str) -> None:
    refused(tmp_path, CARD_TEXT + f"prompts: {prompts}\n")


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    assert "'text' has the wrong type" in refused(tmp_path, GOOD.replace("Two?", '"\\ud83d"'))


ODD = r"""card:
  {family: odd, version: 1, purpose: tests, discriminates: nothing, source: here, queries: 4, languages: [en, de],
   surface: chat, max_tokens: 16, samples: 2, temperature: 0.7, top_logprobs: 5, channels: [wording]}
prompts:
  - {id: odd-1, text: "One?\u2028 \U0001F600 é", answer: [1, 2.50, "x"], scales: [{10: a, 9: b}]}
  - {id: odd-2, text: " Two?\n", twin: odd-1, rung: 3, language: de, claim: "c", group: g}
  - id: odd-3
    text: |
      Three
      lines
  - {id: odd-4, text: Four, answer: [1.0e+3, .5, 0x1f, 1_000, "1_000"]}
"""


def test_hashes_are_those_of_stored_manifests(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(ODD, encoding="utf-8")
    odd = load_set("odd", tmp_path)
    assert odd.sha256 == "48de79ad54aa9979c9d6993e794f8cea795ae5fdc5e56808b8e3dd3ac5a9b95d"
    assert odd.prompts[0].fields["scales"] == [{"10": "a", "9": "b"}]
    versions = {
        "everyday": (1, "160ab17cb63e09c959f5d0878757e59e1993f707a2abd6db63a7c092e1c8c5e8"),
        "multilingual": (1, "7b2e2cde283ba542045f2fe88bfe3016d6e4676d86c5b51716005f9d033e75f2"),
        "ratings": (1, "0c27251bff97361801cb7477f99d513a7659cae5de094baf74693406986c739f"),
        "stubs": (1, "ef8583314ab07cdd6f89fb8913c08011d92dc0d49aefd251c8a1761a3940f56b"),
    }
    for name, (version, sha256) in versions.items():
        found = load_set(name, shipped_folder())
        assert (found.card["version"], found.sha256) == (version, sha256), f"{name}: a new text is a new version"


def test_jsonl_with_a_card_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tiny.card.yaml").write_text(CARD_TEXT)
    rows = [{"id": "tiny-1", "text": "line\u2028separator\u0085"}, {"id": "tiny-2", "text": "Two?"}]
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    (tmp_path / "tiny.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [p.text for p in load_set("tiny", tmp_path).prompts] == [r["text"] for r in rows]
    assert available(tmp_path) == ["tiny"]
    (tmp_path / "tiny.jsonl").write_text("\n".join([lines[0], "{half"]))
    with pytest.raises(ConfigError, match=r"tiny\.jsonl:2: not JSON"):
        load_set("tiny", tmp_path)
    (tmp_path / "tiny.jsonl").write_text("\n".join([lines[0], "[" * 50_000]))
    with pytest.raises(ConfigError, match=r"tiny\.jsonl:2: not JSON"):
        load_set("tiny", tmp_path)


def test_an_unknown_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_set("evryday", tmp_path)
    assert "everyday" in caught.value.hint


def test_a_draw_depends_on_the_seed_alone(tmp_path: Path) -> None:
    prompts = load_set("everyday", shipped_folder()).prompts
    use = PromptUse(set="everyday", limit=5, samples=3, top_logprobs=0)
    first = draw(use, prompts, seed=1)
    assert first == draw(use, prompts, seed=1)
    assert [p.id for p in first] != [p.id for p in draw(use, prompts, seed=2)]
    assert {(p.samples, p.top_logprobs) for p in first} == {(3, None)}
    assert draw(PromptUse(set="everyday"), prompts, seed=1) == tuple(prompts)


SEED = "correct horse battery staple"
TEMPLATES = (
    GOOD.replace(
        "prompts:\n",
        "slots:\n  place: [Rome, Bonn, Oslo, Cork]\n  pet: [cat, dog, newt]\nprompts:\n",
    )
    .replace("One?", "'{Tell|Show} {place} from {place.2}, as {place} has {1-90} {pet}s.'")
    .replace("Two?", "'{1-2000}?'")
)


def test_templates_are_filled_in_public_and_anew_by_a_private_seed(tmp_path: Path) -> None:
    write(tmp_path, TEMPLATES)
    shipped, both = load_set("tiny", tmp_path), load_set("tiny", tmp_path, SEED)
    assert [p.id for p in both.prompts] == ["tiny-1", "tiny-2", "tiny-1-fresh", "tiny-2-fresh"]
    assert both.prompts[:2] == shipped.prompts
    assert both.sha256 != shipped.sha256
    assert [p.fields for p in both.prompts] == [{}, {}, *({"twin": f"tiny-{i}", "fresh": True} for i in (1, 2))]
    assert load_set("tiny", tmp_path, SEED).sha256 == both.sha256
    other = load_set("tiny", tmp_path, SEED + "r")
    assert not {p.text for p in other.prompts[2:]} & {p.text for p in both.prompts}
    found = re.fullmatch(r"(Tell|Show) (\w+) from (\w+), as (\w+) has (\d+) (cat|dog|newt)s\.", both.prompts[2].text)
    assert found is not None
    assert found[2] == found[4] != found[3]
    assert 1 <= int(found[5]) <= 90


def test_every_filling_comes_up(tmp_path: Path) -> None:
    slots = {"pet": ["cat", "dog", "newt"]}
    drawn = Counter(fill("{pet} {a|b} {1-3}", slots, str(seed), "id") for seed in range(1800))
    assert len(drawn) == 18
    assert min(drawn.values()) > 60


def test_sets_without_slots_do_not_see_the_seed() -> None:
    for name in set(available(shipped_folder())) - {"daily"}:
        assert load_set(name, shipped_folder(), SEED).sha256 == load_set(name, shipped_folder()).sha256


def test_the_shipped_templates_make_prompts_that_nobody_has_listed() -> None:
    found = load_set("daily", shipped_folder(), SEED).prompts
    texts, fresh = {p.text for p in found}, [p for p in found if p.fields.get("fresh")]
    assert len(texts) == len(found) == 128
    assert len(fresh) == 64
    assert len({p.group for p in fresh}) >= 8
    assert not any(set("{}|") & set(t) for t in texts)
    drawn = draw(PromptUse(set="daily", limit=20), found, seed=3)
    assert {p.fields["twin"] for p in drawn if p.fields} == {p.id for p in drawn if not p.fields}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{place.2}", "{town}", "there is no slot 'town'"),
        ("{place.2}", "{place.5}", "there is no slot 'place.5'"),
        ("{place.2}", "{place", "a brace stands alone"),
        ("{1-2000}", "{2000-1}", "{2000-1} is no range"),
        ("{1-2000}", "{1-900}", "this template makes 900 texts"),
        ("[cat, dog, newt]", "[cat, true]", "slot 'pet' is no list of texts"),
        ("[cat, dog, newt]", "[cat, cat]", "slot 'pet' is no list of texts"),
        ("[cat, dog, newt]", "[cat, '{place}']", "slot 'pet' is no list of texts"),
        ("  pet:", "  Pet:", "slot 'Pet' is no name"),
    ],
)
def test_templates_that_cannot_be_filled_are_refused_by_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in TEMPLATES
    message = refused(tmp_path, TEMPLATES.replace(old, new))
    assert re.match(r"\d+: ", message)
    assert says in message
