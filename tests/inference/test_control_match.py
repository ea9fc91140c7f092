"""Conditions that differ between pair and controls: named before a run and after it, and verdicts withheld for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.recorded import read
from harness.channels.ratings import ratings
from harness.check import advice, uncounted, unlike_controls, warnings
from harness.config.endpoint import Remote
from harness.config.providers import guessed, well_known
from harness.config.schema import Campaign
from harness.inference.assessment import assess
from harness.inference.control_match import CLEAR, FORMS, form_of, manners_of, unlike
from harness.inference.excess import max_null_p
from harness.inference.findings import HIDING, MISMATCHES, Caveat, ChannelEvidence, Finding, Settings
from harness.inference.kinship import judge
from harness.inference.pool import Model, told
from harness.inference.teaching import judge as judge_teaching
from harness.inference.verdicts import SILENT
from harness.judging import models_of
from harness.plan import plan_of
from harness.records import Prompt, Response, Responses
from harness.report.words import caveat, sentence
from tests.support import ROOT

PROMPTS = 30
CONTROLS = 5
GRAMMAR = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "with", "as", "on", "be", "at", "by", "this")
Write = Callable[[str], str]


def campaign(
    candidate: dict[str, Any],
    *controls: dict[str, Any],
    suspect: dict[str, Any] | None = None,
    rule: str = "every lineage",
) -> Campaign:
    place = {"kind": "openai-chat", "base_url": "http://a/v1"}
    ends: list[dict[str, Any]] = [{"name": "s", "role": "suspect", "model": "s"} | (suspect or {})]
    ends.append({"name": "c", "role": "candidate", "lineage": "c", "model": "c"} | candidate)
    for i, traits in enumerate(controls):
        ends.append({"name": f"k{i}", "role": "control", "lineage": f"k{i}", "model": f"k{i}"} | traits)
    return Campaign.model_validate(
        {
            "campaign": "t",
            "prompts": [{"set": "preset:quick"}],
            "endpoints": [place | e for e in ends],
            "analysis": {"controls": rule},
        }
    )


def plain(rng: np.random.Generator) -> str:
    """Prose of one to five sentences and one to three paragraphs, as a model without instructions writes it."""
    words = int(rng.integers(22, 42))
    said = [*rng.choice(GRAMMAR, words), *(f"w{n}" for n in rng.integers(0, 500, words))]
    rng.shuffle(said)
    sentences = np.split(np.array(said), np.sort(rng.choice(np.arange(4, 2 * words - 4), rng.integers(0, 5), False)))
    text = ". ".join(" ".join(s).capitalize() for s in sentences if len(s)) + "."
    for _ in range(int(rng.integers(0, 3))):
        text = text.replace(". ", ".\n", 1)
    return text


def answers(write: dict[str, Write], thoughts: dict[str, str] | None = None) -> Responses:
    """A table in which s, c and the controls answer, each through its own way of writing (default: as it comes)."""
    names = ["s", "c", *(f"k{i}" for i in range(CONTROLS))]
    rng = np.random.default_rng(1)
    prompts = [Prompt(f"q{i}", "f", "", channels=("wording",)) for i in range(PROMPTS)]
    given = [
        Response(n, p.id, 0, "", "ok", write.get(n, str)(plain(rng)), reasoning=(thoughts or {}).get(n, ""))
        for p in prompts
        for n in names
    ]
    return Responses.of(names, prompts, given)


def models(**known: Any) -> list[Model]:
    """Suspect, candidate and controls; ``pair`` and ``others`` are what is known of them."""
    pair, others = known.get("pair", {}), known.get("others", {})
    controls = [Model(f"k{i}", "control", f"r{i}", **others) for i in range(CONTROLS)]
    return [Model("s", "suspect", None, **pair), Model("c", "candidate", "c", **pair), *controls]


def found(write: dict[str, Write], all_models: list[Model] | None = None, **more: Any) -> list[Caveat]:
    every = all_models or models()
    return unlike(manners_of(answers(write, **more)), every[0], every[1], every)


def parts(text: str) -> list[str]:
    return text.replace("\n", " ").split(". ")


FORMATS: dict[str, tuple[Write, str]] = {
    "marked up": (lambda t: f"<reply><text>{t}</text><sure/></reply>", "markup"),
    "bullets": (lambda t: "\n".join(f"- {x}" for x in parts(t)), "bullets"),
    "numbered": (lambda t: "\n".join(f"{i}. {x}" for i, x in enumerate(parts(t), 1)), "numbers"),
    "shouted": (str.upper, "capitals"),
    "lower case": (str.lower, "capitals"),
    "excited": (lambda t: t.replace(".", "!"), "exclamations"),
    "one line a word": (lambda t: t.replace(" ", "\n"), "line length"),
    "bold": (lambda t: f"**Answer** {t}", "emphasis"),
    "rocket": (lambda t: f"{t} \U0001f680.", "symbols"),
}


def mapped(text: str) -> str:
    """Another language, word for word."""
    return " ".join("".join(chr(ord("a") + (ord(x) * 7) % 26) for x in w) + "en" for w in text.split())


@pytest.mark.parametrize("name", FORMATS)
def test_format_that_the_pair_shares_and_controls_lack(name: str) -> None:
    write, form = FORMATS[name]
    shared = found({"s": write, "c": write})
    assert [c.kind for c in shared] == ["pair in another format"]
    assert shared[0].values[1:] == (CONTROLS, CONTROLS)
    if name not in ("bold", "one line a word"):
        assert shared[0].channel == form
    assert "as if another format" in caveat(shared[0])
    assert found(dict.fromkeys(["s", "c", *(f"k{i}" for i in range(CONTROLS))], write)) == []
    alone = found({"s": write})
    assert [c.kind for c in alone] == ["suspect in another format"]
    assert not {c.kind for c in alone} & (MISMATCHES | HIDING)


def test_format_that_only_some_controls_lack_is_no_mismatch() -> None:
    write = FORMATS["bullets"][0]
    assert found({"s": write, "c": write, "k0": write, "k1": write, "k2": write}) == []
    kinds = [c.kind for c in found({"s": write, "c": write, "k0": write})]
    assert kinds == ["pair in another format"]


def test_like_pools_are_left_alone() -> None:
    assert found({}) == []
    few = answers({"s": str.upper, "c": str.upper}).only(range(10))
    every = models()
    assert unlike(manners_of(few), every[0], every[1], every) == []  # ten prompts say nothing of a format


def test_another_language_is_seen_in_the_words_of_grammar() -> None:
    shared = found({"s": mapped, "c": mapped})
    assert shared[0].kind == "pair in another language"
    assert "in other words" in caveat(shared[0])
    alone = found({"s": mapped})
    assert alone[0].kind == "suspect in another language"
    assert alone[0].kind in HIDING


def test_answers_too_short_for_one_length() -> None:
    def short(t: str) -> str:
        return " ".join(t.split()[:15]) + "."

    shared = [c for c in found({"s": short, "c": short}) if "short" in c.kind]
    assert [c.kind for c in shared] == ["pair much shorter"]
    assert "15 words at most, the controls in 6" in caveat(shared[0])
    assert "pair much longer" in {c.kind for c in found({f"k{i}": short for i in range(CONTROLS)})}
    assert "suspect much shorter" in {c.kind for c in found({"s": short})}


def test_a_length_that_a_cut_mends_is_a_limit() -> None:
    kinds = {c.kind for c in found({f"k{i}": lambda t: " ".join(t.split()[:35]) + "." for i in range(CONTROLS)})}
    assert "controls unlike in length" in kinds
    assert not kinds & HIDING


@pytest.mark.parametrize(
    ("pair", "others", "kind"),
    [
        ({"released": "2025-03"}, {"released": "2023-07"}, "pair of another era"),
        ({"released": "2023-07"}, {"released": "2025"}, "pair of another era"),
        ({"released": "2025-03"}, {"released": "2024-10"}, None),
        ({"released": "2025-03"}, {}, None),
        ({"thinks": True}, {"thinks": False}, "pair alone thinks"),
        ({"thinks": False}, {"thinks": True}, "pair alone does not think"),
        ({"thinks": True}, {"thinks": True}, None),
        ({"thinks": True}, {}, None),
        ({"host": "h"}, {"host": "g"}, "pair on one host"),
        ({"host": "h"}, {"host": "h"}, None),
    ],
)
def test_conditions_that_are_told(pair: dict[str, Any], others: dict[str, Any], kind: str | None) -> None:
    every = models(pair=pair, others=others)
    kinds = [c.kind for c in told(every[0], every[1], every)]
    assert kinds == ([kind] if kind else [])


def test_of_a_suspect_of_unknown_age_the_candidates_counts_and_a_claimed_age_changes_nothing() -> None:
    s, c, *controls = models(pair={"released": "2025-03"}, others={"released": "2023-07"})
    assert [x.kind for x in told(replace(s, released=None), c, controls)] == ["pair of another era"]
    assert told(s, replace(c, released=None), controls) == []
    assert told(replace(s, released="2023-06"), c, controls) == []  # then it is not the pair that is apart


def test_one_like_control_in_five_leaves_a_limit() -> None:
    s, c, *controls = models(pair={"thinks": True}, others={"thinks": False})
    like = [replace(m, thinks=True) for m in controls[:2]]
    assert [x.kind for x in told(s, c, [*like, *controls[2:]])] == ["controls unlike in thinking"]
    several = [replace(m, lineage="r0") for m in controls]  # many controls of one lineage are one
    assert told(s, c, several) == []


def test_thoughts_that_are_seen_count_before_what_is_told() -> None:
    every = models(pair={"thinks": False}, others={"thinks": False})
    seen = found({}, every, thoughts={"s": "Let me see.", "c": "Hm."})
    assert [c.kind for c in seen] == ["pair alone thinks", "thinking unlike told"]
    assert "come with thoughts, against what was said" in caveat(seen[1])
    assert seen[1].names == ("s", "c")
    alone = found({}, every, thoughts={"s": "Let me see."})
    assert [c.kind for c in alone] == ["only one thinks", "thinking unlike told"]
    assert alone[1].names == ("s",)


def counted(tokens: dict[str, int], every: list[Model]) -> list[Caveat]:
    """Of answers without a thought, for which the servers of some models count tokens of reasoning."""
    table = answers({})
    owners = [table.cell(r)[1] for r in range(len(table.text))]
    table = replace(table, reasoning_tokens=[tokens.get(name) for name in owners])
    return unlike(manners_of(table), every[0], every[1], every)


def test_reasoning_that_the_server_counts_is_thinking_that_nobody_sees() -> None:
    everybody = dict.fromkeys(("s", "c", *(f"k{i}" for i in range(CONTROLS))), 0)
    assert [c.kind for c in counted({**everybody, "s": 400, "c": 9}, models())] == ["pair alone thinks"]
    assert [c.kind for c in counted({**everybody, "c": 400}, models())] == ["only one thinks"]
    assert counted(everybody, models()) == []
    assert counted({}, models()) == []
    thinking = models(pair={"thinks": True}, others={"thinks": True})
    assert counted({}, thinking) == []  # a server that counts nothing contradicts nobody
    told_wrongly = counted({**everybody, "s": 400}, thinking)
    assert [c.kind for c in told_wrongly] == ["thinking unlike told"]
    assert told_wrongly[0].names == ("c", *(f"k{i}" for i in range(CONTROLS)))
    assert "counts no thought" in caveat(told_wrongly[0])


RIVALS = ("deepseek", "deepseek-fireworks-v3-0324"), ("r1-fireworks", "r1-0528")  # V3 and R1, one pretrained root


@pytest.fixture(scope="module")
def rated(recorded_data: Path) -> Responses:
    """Ratings by models of 2024 and 2025, as recorded."""
    file = recorded_data / "ratings_2025.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is missing")
    return read(file, file.with_name("ratings_2025_lineage.csv")).table


@pytest.mark.parametrize("thinker", RIVALS[1])
@pytest.mark.parametrize("other", RIVALS[0])
def test_deepseek_v3_and_r1_are_not_told_apart_by_silence(rated: Responses, other: str, thinker: str) -> None:
    """Ratings are silent of the same pretrained root where one thinks: that is no sign of other weights."""
    lineages = {"gpt-4o": "4o", "gpt-4.5-preview-2025-02-27": "45", "gemini_20_flash": "g2", "gemma": "m2",
                "llama": "l", "kimi-k2": "k", "glm4-32b-0414": "z", "qwen-max": "q"}  # fmt: skip
    part = rated.among([rated.models.index(n) for n in (other, thinker, *lineages)])
    similarity = ratings(part)
    assert similarity is not None
    settings = Settings(0.05, 0.9, 99, 20, 1)
    verdicts = {}
    for declared in (True, False):
        s = Model(other, "suspect", None, thinks=False if declared else None)
        c = Model(thinker, "candidate", "deepseek", thinks=True if declared else None)
        every = [s, c, *(Model(n, "control", x) for n, x in lineages.items())]
        a = assess(s, c, every, [similarity], settings)
        caveats = tuple(unlike(manners_of(part), s, c, every))
        blank = Finding("kinship", other, thinker, a.pool.lineages, 0.05, evidence=a.evidence, caveats=caveats)
        p = max_null_p(a.combined, a.effect) if a.combined is not None else float("nan")
        kin = judge(replace(blank, p_value=p, p_adjusted=p, p_floor=0.02))
        taught = judge_teaching(replace(blank, question="teaching", p_value=0.02, p_adjusted=0.02, p_floor=0.02))
        verdicts[declared] = (p, kin.verdict, taught.verdict)
        if declared:
            assert [x.kind for x in caveats] == ["only one thinks"]
    assert verdicts[True][1:] == ("INCONCLUSIVE", "KIN-OR-TAUGHT")
    silent, _, untold = verdicts[False]
    assert untold == ("TAUGHT-LIKE" if silent >= SILENT else "KIN-OR-TAUGHT")
    assert (other, thinker) != (RIVALS[0][1], "r1-fireworks") or silent >= SILENT  # or nothing was tested here


def test_half_of_the_answers_with_thoughts_are_not_most() -> None:
    table = answers({}, {"s": "Let me see."})
    half = replace(table, reasoning=[t if i % (2 * (CONTROLS + 2)) else "" for i, t in enumerate(table.reasoning)])
    assert manners_of(table).mode("s") is True
    assert manners_of(half).mode("s") is None


def test_one_of_two_that_may_think_is_told_and_only_silence_of_weights_is_unheard() -> None:
    s, c, *controls = models()
    for one, other in (
        (replace(s, thinks=True), c),
        (s, replace(c, thinker=True)),
        (replace(s, thinks=False), replace(c, thinker=True)),
    ):
        kinds = [x.kind for x in told(one, other, controls)]
        assert kinds == ["one may think"], (one, other)
    for one, other in (
        (s, c),
        (replace(s, thinker=True), replace(c, thinks=True)),  # shown by one, able to by name of the other
        (replace(s, thinks=False), c),
        (replace(s, thinks=False, thinker=True), c),  # it was asked not to
    ):
        assert told(one, other, controls) == [], (one, other)
    text = replace(finding(0.8), caveats=(Caveat("one may think", names=("c", "s")),))
    assert judge(text).verdict == "UNRELATED-LIKE"
    silent = replace(text, evidence=(ChannelEvidence("ratings", "weights", "product", 50, 1.0, p=0.9),))
    judged = replace(silent, judgement=judge(silent))
    assert judged.judgement.ground == "unlike suspect"
    assert "c thinks before it answers, or can, and nothing shows whether s does" in sentence(judged)


def finding(p: float, *kinds: Any) -> Finding:
    caveats = tuple(Caveat(k, "bullets", ("s", "c", "x", "y"), (3, 4, 5)) for k in kinds)
    ratio = -1.2 if p >= 0.5 else float("nan")  # an acquittal is earned
    return Finding(
        "kinship",
        "s",
        "c",
        ("a",) * 8,
        0.05,
        p_value=p,
        p_adjusted=p,
        p_floor=0.02,
        log10_lr=ratio,
        log10_lr_base=ratio,
        caveats=caveats,
    )  # fmt: skip


@pytest.mark.parametrize("kind", sorted(MISMATCHES))
def test_a_mismatch_takes_away_an_accusation_and_no_acquittal(kind: Any) -> None:
    accused = finding(0.02, kind)
    accused = replace(accused, judgement=judge(accused))
    assert accused.verdict == "INCONCLUSIVE"
    assert accused.judgement.ground == "unlike conditions"
    assert sentence(accused).startswith(f"Cannot tell: {caveat(accused.caveats[0])}.")
    assert judge(finding(0.02)).verdict == "KIN-OR-TAUGHT"
    assert judge(finding(0.8, kind)).verdict == "UNRELATED-LIKE"


@pytest.mark.parametrize("kind", sorted(HIDING))
def test_what_hides_kin_takes_away_an_acquittal_and_no_accusation(kind: Any) -> None:
    cleared = finding(0.8, kind)
    cleared = replace(cleared, judgement=judge(cleared))
    assert cleared.judgement.ground == "unlike suspect"
    assert sentence(cleared).startswith(f"Cannot tell: {caveat(cleared.caveats[0])}.")
    assert judge(finding(0.8)).verdict == "UNRELATED-LIKE"
    assert judge(finding(0.02, kind)).verdict == "KIN-OR-TAUGHT"


def test_a_mismatch_is_named_before_a_failed_self_check() -> None:
    assert judge(finding(0.02, "negative control failed", "pair alone thinks")).ground == "unlike conditions"
    assert judge(finding(0.8, "negative control failed", "pair alone thinks")).ground == "self-check failed"


@pytest.mark.parametrize(
    ("own", "alike", "unlike_it", "said"),
    [
        ({"released": "2025-06"}, {"released": "2025-02"}, {"released": "2023-03"}, "more than half a year"),
        ({"era": 2025}, {"era": 2025}, {"era": 2023}, "more than half a year"),
        ({"model": "gpt-4.1"}, {"model": "gemma-3-27b-it"}, {"model": "vicuna-13b"}, "more than half a year"),
        ({"parameters_b": 70}, {"parameters_b": 32}, {"parameters_b": 0.5}, "times smaller or larger"),
    ],
)
def test_controls_unlike_the_candidate_are_named_before_a_call(
    own: dict[str, Any], alike: dict[str, Any], unlike_it: dict[str, Any], said: str
) -> None:
    def notes(*controls: dict[str, Any]) -> list[str]:
        config = campaign(own, *controls)
        return unlike_controls(config, config.endpoints[1])

    assert notes(alike, alike, alike) == []
    assert notes({}, {}, {}) == []
    (note,) = notes(alike, unlike_it, unlike_it)
    assert said in note
    assert "k1, k2" in note


def test_check_says_that_no_verdict_will_come() -> None:
    config = campaign({"reasoning": True}, *[{"reasoning": False}] * 3, suspect={"reasoning": True})
    (note,) = unlike_controls(config, config.endpoints[1])
    assert "no verdict of kinship will be given" in note
    silent = campaign({}, *[{"model": "gpt-4.1"}] * 3)
    assert not [n for n in unlike_controls(silent, silent.endpoints[1]) if "think" in n]
    seen = unlike_controls(silent, silent.endpoints[1], [{"endpoint": n, "reasoning": "reasoning"} for n in "sc"])
    assert [n for n in seen if "s and c think before they answer" in n]


def test_check_asks_for_a_control_on_the_host_of_the_pair() -> None:
    apart = campaign({}, {"base_url": "http://b/v1"}, {"base_url": "http://c/v1"})
    assert [n for n in unlike_controls(apart, apart.endpoints[1]) if "Add a control that is served there" in n]
    near = campaign({}, {"base_url": "http://b/v1"}, {})
    assert unlike_controls(near, near.endpoints[1]) == []


@pytest.mark.parametrize(
    ("pair", "control", "said"),
    [
        ({"system_prompt": "Answer in JSON."}, {}, "have a system_prompt, most controls have none"),
        ({}, {"system_prompt": "Be brief."}, "most controls have a system_prompt"),
        ({"params": {"stop": ["\n"]}}, {}, "`params: stop`"),
        ({}, {"params": {"max_tokens": 40}}, "`params: max_tokens`"),
    ],
)
def test_settings_of_the_pair_alone_are_named(pair: dict[str, Any], control: dict[str, Any], said: str) -> None:
    config = campaign(pair, *[control] * 3, suspect=pair)
    (note,) = unlike_controls(config, config.endpoints[1])
    assert said in note
    alike = campaign(pair, *[pair] * 3, suspect=pair)
    assert unlike_controls(alike, alike.endpoints[1]) == []


def test_controls_of_one_maker() -> None:
    def notes(*controls: dict[str, Any], rule: str = "one a maker") -> list[str]:
        config = campaign({"maker": "Us"}, *controls, rule=rule)
        return uncounted(config, config.endpoints[1])

    one = [{"vendor": "Acme"}, {"maker": "ACME"}, {"maker": "Other"}]
    assert [n for n in notes(*one) if "k1" in n and "maker that is counted already" in n and "every lineage" in n]
    (repeated,) = notes(*one, rule="every lineage")
    assert "3 control lineages are of 2 makers" in repeated
    named = notes(*[{"model": m} for m in ("gpt-4.1", "gpt-4o", "grok-3")])
    assert ["k1" in n for n in named if "already" in n] == [True]
    (house,) = notes({"maker": "US"}, {"maker": "A"}, {"maker": "B"})
    assert "a maker of suspect or candidate" in house
    assert "k0" in house
    assert notes({"maker": "Acme"}, {"maker": "Foo"}, {"maker": "Other"}) == []


def test_check_lists_what_is_unknown() -> None:
    config = campaign({"lineage": "?"}, {"lineage": "?"}, {"maker": "A"}, {"model": "grok-3"}, rule="one a maker")
    makers, lineages = uncounted(config, config.endpoints[1])
    assert "the maker of 1 of 3 controls is unknown (k0)" in makers
    assert lineages.startswith("lineage unknown: c, k0;")
    asked = config.model_copy(update={"analysis": config.analysis.model_copy(update={"questions": ("identity",)})})
    assert uncounted(asked, asked.endpoints[1]) == []


def test_what_is_written_counts_before_what_a_name_tells() -> None:
    config = campaign(
        {"model": "openai/o1"}, {"model": "qwen/qwen3-8b"}, {"model": "o3", "era": "2020", "vendor": "Us"}
    )
    _, candidate, open_thinker, written = models_of(config)
    assert (candidate.maker, candidate.released, candidate.thinks, candidate.host) == ("OpenAI", "2024-09", True, "a")
    assert open_thinker.thinks is None  # its thoughts would be seen
    assert (written.maker, written.released, written.host) == ("Us", "2020", "a")


@pytest.mark.parametrize(
    ("name", "released", "thinks"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", "2024-07", False),
        ("deepseek/deepseek-r1-distill-llama-70b", "2025-01", True),
        ("gpt-5-2025-08-07", "2025-08", True),
        ("gpt-4-1106-preview", "2023-11", False),
        ("claude-3-5-sonnet-20241022", "2024-08", False),
        ("THUDM/glm-4-9b-chat", "2024-06", False),
        ("nova-by-aurora-labs", None, None),
    ],
)
def test_well_known_names(name: str, released: str | None, thinks: bool | None) -> None:
    assert (guessed(name).released, guessed(name).thinks) == (released, thinks)


def test_every_well_known_name_can_be_found() -> None:
    """No pattern stands behind one that takes all its names: each is the first for what it was written for."""
    assert len({k.name for k in well_known()}) == len(well_known())
    assert all(k.maker or k.released for k in well_known())


def test_forms_are_numbers_of_any_text() -> None:
    for text in ("", " \n", "答案是四。", "{}", "a" * 10_000, "- a\n- b"):
        assert len(form_of(text)) == len(FORMS)
        assert np.isfinite(form_of(text)).all()
    assert 0.5 < CLEAR <= 1


def row(**more: Any) -> dict[str, Any]:
    base = {"endpoint": "s", "role": "suspect", "surfaces": ["chat"], "usage": "yes", "logprobs": 20, "reasoning": ""}
    return base | more


def test_advice_names_what_a_wrapper_leaves_open() -> None:
    config = campaign({}, {}, {})
    plan = plan_of(config, ROOT, {}, None)
    (line,) = advice(plan, [row(), row(role="control")])
    assert "ratings (numbers)" in line
    assert "stubs" not in line
    assert "no raw completion" in line
    (open_to_all,) = advice(plan, [row(surfaces=["chat", "completion"])])
    assert "stubs (raw completions)" in open_to_all
    assert "no " not in open_to_all.split("not asked yet")[0]
    (shut,) = advice(plan, [row(usage="missing", logprobs="refused")])
    assert "tokenizer" not in shut.split(";")[0]
    assert "no token counts, no logprobs" in shut
    missing = line.split("not asked yet: ")[1].split(";")[0].split(", ")
    assert missing
    assert all((ROOT / "prompts" / f"{name}.yaml").is_file() for name in missing)
    assert not set(missing) & {p.family for p in plan.prompts}


def test_an_echoing_server_is_named() -> None:
    plan = plan_of(campaign({}, {}, {}), ROOT, {}, None)
    assert [w for w in warnings(plan, [row(echoes=True)]) if "comes back" in w]
    assert not [w for w in warnings(plan, [row(echoes=False)]) if "comes back" in w]
    assert all(isinstance(e, Remote) for e in plan.campaign.endpoints)


EXCHANGED = {"this": "yond", "with": "amid", "by": "ex", "at": "nr"}


def rewritten(text: str) -> str:
    """Always the same words for the same others, as a proxy with a dictionary does."""
    return re.sub(r"\w+", lambda m: EXCHANGED.get(m.group().lower(), m.group()), text)


def test_one_hand_that_rewrites_both_is_told_by_what_both_leave_unsaid() -> None:
    shared = found({"s": rewritten, "c": rewritten})
    assert [c.kind for c in shared] == ["pair leaves words unsaid"]
    assert shared[0].kind in MISMATCHES
    assert shared[0].values[0] == len(EXCHANGED)
    assert set(shared[0].names[2].split(", ")) == set(EXCHANGED)
    assert "as behind one proxy" in caveat(shared[0])


def test_what_all_leave_unsaid_or_the_suspect_alone_is_no_mismatch() -> None:
    assert found(dict.fromkeys(["s", "c", *(f"k{i}" for i in range(CONTROLS))], rewritten)) == []
    assert found({"s": rewritten}) == []
    assert found({"s": rewritten, "c": rewritten, "k0": rewritten, "k1": rewritten}) == []  # two controls do as much


def test_short_answers_of_both_leave_much_unsaid_and_are_no_rewriting() -> None:
    short = {n: (lambda t: " ".join(t.split()[:12])) for n in ("s", "c")}
    assert "pair leaves words unsaid" not in [c.kind for c in found(short)]
