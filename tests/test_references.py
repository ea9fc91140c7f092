"""Packs of references: recorded by one, believed in nothing, and used by another as controls that nobody asks."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from harness.campaign import run_campaign, write
from harness.config import ReferenceUse, draw, load_config, load_set
from harness.endpoints.banked import Taken, with_references
from harness.endpoints.packs import Card, Given, Referee, Sent, open_pack, pack_members
from harness.errors import ConfigError
from harness.evidence import write_zip
from harness.inference.control_match import manners_of
from harness.inference.nearest import MANY, fitting
from harness.inference.pool import Model
from harness.plan import prepare
from harness.records import Prompt, ReferenceGap, Response, Responses, request_hash
from harness.report.caveats import left_out
from harness.report.naming import look_text
from harness.which import look, quick_plan
from tests.support import ROOT
from tests.support.command_line import harness, one_line
from tests.support.fault_server import FaultServer
from tests.test_which import hand

KNOWN = [f"m{i}" for i in range(8)]
ASKED = [{"set": "everyday", "limit": 30, "max_tokens": 64}, {"set": "integers"}]


def endpoint(name: str, url: str, role: str = "control", **more: Any) -> dict[str, Any]:
    lineage = {} if role == "suspect" else {"lineage": f"root {name}"}
    return {"name": name, "role": role, "kind": "openai-chat", "base_url": url, "model": name, **lineage, **more}


def written(folder: Path, endpoints: Sequence[Mapping[str, Any]], **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"campaign": "case", "prompts": ASKED, "endpoints": list(endpoints), **settings}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    tastes = {name: [hand(i)] for i, name in enumerate(KNOWN)}
    with FaultServer({**tastes, "nova": [hand(3)], "mother": [hand(3)], "stranger": [hand(40)]}) as started:
        yield started


@pytest.fixture(scope="module")
def bank(server: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of all known models but the fourth, made by the commands."""
    folder = tmp_path_factory.mktemp("recorded")
    models = [endpoint(n, server.url, maker=f"maker {n}", released="2025-01") for n in KNOWN if n != "m3"]
    config = written(folder, models, analysis={"questions": []})
    assert harness("run", config, "--quiet", cwd=folder).returncode == 0
    made = harness("pack", "--references", config, "--out", "known.zip", "--licence", "CC0-1.0", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder / "known.zip"


def accused(folder: Path, url: str, bank: Path | str, **settings: Any) -> Path:
    pair = [endpoint("nova", url, "suspect", maker="Aurora"), endpoint("mother", url, "candidate", maker="Mother")]
    pair[1]["released"] = "2025-03"
    analysis = {"questions": ["kinship"], "bootstrap": 100, **settings.pop("analysis", {})}
    return written(folder, pair, references=[str(bank)], analysis=analysis, **settings)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def test_controls_of_a_pack_are_asked_by_nobody_and_score_without_the_pack(
    server: FaultServer, bank: Path, tmp_path: Path
) -> None:
    before = {n: server.asked.get(n, 0) for n in KNOWN}
    config = accused(tmp_path, server.url, bank)
    plan = prepare(config, {})
    scores = run_campaign(plan)
    (found,) = scores.findings
    assert len(found.control_lineages) == 7
    assert found.p_value == pytest.approx(found.p_floor)  # the kin pair is the closest of all
    assert {n: server.asked.get(n, 0) for n in KNOWN} == before
    told = found.told("references checked")
    assert told is not None
    assert told.names[2] in KNOWN
    assert told.values[2] > 0.05  # a reference posing as the suspect is no kin
    write(plan, scores)
    first = (plan.folder / "summary.csv").read_bytes()
    hidden = bank.rename(bank.with_suffix(".away"))
    try:
        done = harness("score", config, "--quiet", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert harness("verify", plan.folder, cwd=tmp_path).returncode == 0
    finally:
        hidden.rename(bank)
    assert (plan.folder / "summary.csv").read_bytes() == first


def test_other_references_than_the_stored_ones_are_another_campaign(
    server: FaultServer, bank: Path, tmp_path: Path
) -> None:
    config = accused(tmp_path, server.url, bank)
    run_campaign(config)
    text = config.read_text("utf-8")
    config.write_text(text.replace(str(bank), "other.zip"), "utf-8")
    assert "references" in one_line(harness("score", config, cwd=tmp_path), 2)


def test_the_candidates_own_recording_is_the_positive_control(server: FaultServer, bank: Path, tmp_path: Path) -> None:
    """A pack with kin of the candidate: it is shown apart, and found when it poses as the suspect."""
    kin = written(tmp_path / "kin", [endpoint("m3", server.url, lineage="root mother")], analysis={"questions": []})
    run_campaign(kin)
    assert harness("pack", "--references", kin, "--out", tmp_path / "kin.zip", cwd=tmp_path).returncode == 0
    config = accused(tmp_path / "use", server.url, bank)
    settings = yaml.safe_load(config.read_text("utf-8"))
    config.write_text(yaml.safe_dump(settings | {"references": [str(bank), str(tmp_path / "kin.zip")]}), "utf-8")
    plan = prepare(config, {})
    assert {e.role for e in plan.campaign.endpoints if e.name == "m3"} == {"relative"}
    (found,) = run_campaign(plan).findings
    told = found.told("references checked")
    assert told is not None
    assert told.names[:2] == ("m3", "mother")
    assert told.values[0] == pytest.approx(told.values[1])
    assert "root mother" not in found.control_lineages


def test_one_key_and_a_pack_name_a_model(server: FaultServer, bank: Path, tmp_path: Path) -> None:
    """`which` asks the one endpoint that is in the config, and takes its known models from the pack."""
    only = [endpoint("stranger", server.url, "suspect")]
    config = written(tmp_path, only, prompts=[{"set": "everyday"}], analysis={"questions": ["attribution"]})
    with pytest.raises(ConfigError, match="no known models"):
        quick_plan(config, "stranger", {})
    plan = quick_plan(config, "stranger", {}, [str(bank)])
    assert [e.name for e in plan.called] == ["stranger"]
    assert len(plan.campaign.endpoints) == 8
    run_campaign(plan)
    found = look(plan)
    assert found.lineages == 7
    assert "integers" in {s.what for s in found.sights}
    assert look_text(found)


# What fits a campaign, and what is left out of it.

QUESTIONS = [f"What is number {i}?" for i in range(40)]


def prompts(**more: Any) -> list[Prompt]:
    told = {"max_tokens": 64, "temperature": 0.0, "channels": ("wording",), **more}
    return [Prompt(f"q{i}", "tiny", text, **told) for i, text in enumerate(QUESTIONS)]


def packed(path: Path, models: Sequence[Referee], asked: Sequence[Prompt], said: str = "word " * 40, **of: Any) -> Path:
    answers = [Given(m.name, i, 0, said, **of) for m in models for i in range(len(asked))]
    write_zip(path, "", pack_members(Card(path.stem, list(models)), asked, [], answers), {})
    return path


def referee(name: str, **more: Any) -> Referee:
    return Referee(name, f"root {name}", **{"maker": f"maker {name}", "released": "2025-01", **more})


def taken(folder: Path, pack: Path, ours: Sequence[Prompt], **use: Any) -> Taken:
    pair = [
        endpoint("nova", "http://127.0.0.1:9/v1", "suspect"),
        endpoint("mother", "http://127.0.0.1:9/v1", "candidate", released="2025-01", reasoning=False),
    ]
    config = written(folder, pair, references=[{"pack": str(pack), **use}], analysis={"questions": ["attribution"]})
    return with_references(load_config(config), ours, folder, ())


UNFIT: list[tuple[ReferenceGap, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("reference of another era", {"released": "2022-12"}, {}, {}),
    ("reference thinks otherwise", {"reasoning": True}, {}, {}),
    ("reference with a system prompt", {"system_prompt": "Be concise."}, {}, {}),
    ("reference sampled otherwise", {"params": {"temperature": 0.7}}, {}, {}),
    ("reference sampled otherwise", {}, {"temperature": 1.0}, {}),
    ("reference sampled otherwise", {}, {"temperature": 0.0, "top_p": None}, {"temperature": 1.0}),
    ("reference sampled otherwise", {"params": {"top_k": 40}}, {"temperature": 1.0}, {"temperature": 1.0}),
    ("reference cut elsewhere", {}, {"max_tokens": 256}, {}),
    ("reference cut elsewhere", {}, {"max_tokens": 32}, {}),
    ("reference asked other things", {}, {"surface": "completion"}, {}),
]


@pytest.mark.parametrize(("why", "model", "theirs", "ours"), UNFIT)
def test_what_was_recorded_under_other_conditions_is_left_out_and_named(
    why: ReferenceGap, model: dict[str, Any], theirs: dict[str, Any], ours: dict[str, Any], tmp_path: Path
) -> None:
    pack = packed(tmp_path / "bank.zip", [referee("odd", **model), referee("like")], prompts(**theirs))
    found = taken(tmp_path, pack, prompts(**ours))
    if model:
        assert [r.endpoint.name for r in found.recordings] == ["like"]
        assert [(x.model, x.why) for x in found.left] == [("odd", why)]
    else:  # of all models of the pack
        assert not found.recordings
        assert {x.why for x in found.left} == {why}
    assert all(name in " ".join(left_out(found.left)) for name in {x.model for x in found.left})


FIT: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"released": "2023-01"}, {}, {}),  # 24 months
    ({"params": {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "seed": 4}}, {"temperature": 1.0}, {"temperature": 1.0}),
    ({"params": {"top_k": 40}}, {}, {}),  # the likeliest token is taken anyway
    ({}, {"family": "another name", "samples": 3}, {}),
]


@pytest.mark.parametrize(("model", "theirs", "ours"), FIT)
def test_what_changes_nothing_leaves_nothing_out(
    model: dict[str, Any], theirs: dict[str, Any], ours: dict[str, Any], tmp_path: Path
) -> None:
    asked = [dataclasses.replace(p, **theirs) for p in prompts()]
    found = taken(tmp_path, packed(tmp_path / "bank.zip", [referee("a", **model)], asked), prompts(**ours))
    assert [len(r.given) for r in found.recordings] == [len(QUESTIONS)]
    assert not found.left


def test_answers_that_neither_limit_cut_count(tmp_path: Path) -> None:
    pack = packed(tmp_path / "bank.zip", [referee("a")], prompts(max_tokens=256), "short", completion_tokens=2)
    assert not taken(tmp_path, pack, prompts()).left


def test_prompts_match_by_their_text_and_missing_ones_are_counted(tmp_path: Path) -> None:
    asked = [dataclasses.replace(p, id=f"other-{i}", text=f"  {p.text}\n") for i, p in enumerate(prompts()[:30])]
    found = taken(tmp_path, packed(tmp_path / "bank.zip", [referee("a")], asked), prompts())
    assert [len(r.given) for r in found.recordings] == [30]
    assert [(x.why, x.prompts, x.of) for x in found.left] == [("reference asked other things", 10, 40)]


def test_only_named_models_count(tmp_path: Path) -> None:
    pack = packed(tmp_path / "bank.zip", [referee("a"), referee("b")], prompts())
    assert [r.endpoint.name for r in taken(tmp_path, pack, prompts(), models=["b"]).recordings] == ["b"]
    with pytest.raises(ConfigError, match="no model 'c'"):
        taken(tmp_path, pack, prompts(), models=["c"])


def test_a_model_that_is_asked_itself_is_not_taken_twice(tmp_path: Path) -> None:
    pack = packed(tmp_path / "bank.zip", [referee("NOVA"), referee("a")], prompts())
    assert [(x.model, x.why) for x in taken(tmp_path, pack, prompts()).left] == [("NOVA", "reference asked itself")]


def test_controls_that_even_a_pack_does_not_give_are_missed_before_anything_is_asked(tmp_path: Path) -> None:
    pack = packed(tmp_path / "bank.zip", [referee("a")], prompts())
    pair = [endpoint("nova", "http://127.0.0.1:9/v1", "suspect"), endpoint("m", "http://127.0.0.1:9/v1", "candidate")]
    config = written(tmp_path, pair, references=[str(pack)])
    with pytest.raises(ConfigError, match="control lineage"):
        prepare(config, {})


# What answers show.


def table(said: Mapping[str, str]) -> Responses:
    """Models that answer every question as a template says; `{}` is the question's number."""
    asked = prompts()
    given = [
        Response(m, p.id, 0, "h", "ok", t.replace("{}", str(i))) for m, t in said.items() for i, p in enumerate(asked)
    ]
    return Responses.of(tuple(said), asked, given)


LONG = "The answer to that is the number {} and it is so because of the rules that we know and that they told us, " * 3


def models(names: Sequence[str]) -> list[Model]:
    roles = {"s": "suspect", "c": "candidate"}
    return [Model(n, roles.get(n, "control"), f"root {n}") for n in names]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Die Antwort auf diese Frage ist eine Zahl und zwar {} weil wir sie so kennen und nicht anders. " * 4,
         "reference in another language"),
        ("It is the number {} as we know.", "reference much shorter"),
    ],
)  # fmt: skip
def test_references_that_answer_otherwise_than_both_are_left_out(text: str, why: str) -> None:
    found = table({"s": LONG, "c": LONG, "odd": text, "like": LONG})
    all_models = models(found.models)
    kept, left = fitting(manners_of(found), all_models[0], all_models[1], all_models, {"odd", "like"})
    assert [m.name for m in kept] == ["s", "c", "like"]
    assert [(x.model, x.why) for x in left] == [("odd", why)]
    assert fitting(manners_of(found), all_models[0], all_models[1], all_models, {"like"})[0] == tuple(all_models)


@pytest.mark.parametrize("count", [MANY, MANY - 1])
def test_of_many_lineages_the_half_that_is_nearest_in_manner_counts(count: int) -> None:
    listed = "- The answer to that is the number {}\n- it is so because of the rules that we know\n- they told us\n" * 3
    near = {f"near{i}": LONG for i in range(count // 2 + 1)}
    far = {f"far{i}": listed for i in range(count - len(near))}
    found = table({"s": LONG, "c": LONG, **far, **near})
    every = models(found.models)
    kept, left = fitting(manners_of(found), every[0], every[1], every, set(far) | set(near))
    if count < MANY:
        assert len(kept) == len(every)
        return
    assert {m.name for m in kept} - {"s", "c"} == set(near)
    assert {x.why for x in left} == {"reference further in manner"}


# A pack is data of a stranger.


def whole(folder: Path) -> dict[str, bytes]:
    body = '{"model":"a"}'
    sent = Sent(request_hash("chat", body.encode()), "chat", body)
    given = [Given("a", i, 0, "word", request=sent.hash) for i in range(3)]
    return pack_members(Card("bank", [referee("a")]), prompts()[:3], [sent], given)


def relisted(members: dict[str, bytes], name: str, old: bytes, new: bytes) -> dict[str, bytes]:
    """A member changed by somebody who also mends the list."""
    assert old in members[name]
    changed = members | {name: members[name].replace(old, new)}
    listed = json.loads(members["pack.json"])
    listed["files_sha256"][name] = hashlib.sha256(changed[name]).hexdigest()
    return changed | {"pack.json": json.dumps(listed).encode()}


FORGERIES = {
    "an answer": lambda m: m | {"answers.jsonl": m["answers.jsonl"].replace(b"word", b"other")},
    "a card": lambda m: m | {"references.json": m["references.json"].replace(b"root a", b"root b")},
    "another member": lambda m: m | {"code.py": b"print(1)"},
    "a member less": lambda m: {k: v for k, v in m.items() if k != "prompts.jsonl"},
    "a way out": lambda m: m | {"../answers.jsonl": b""},
    "a request": lambda m: relisted(m, "requests.jsonl", b"model", b"moon"),
    "an unknown prompt": lambda m: relisted(m, "answers.jsonl", b'"prompt":2', b'"prompt":9'),
    "an unknown model": lambda m: relisted(m, "answers.jsonl", b'"model":"a"', b'"model":"b"'),
    "an unsent request": lambda m: relisted(m, "answers.jsonl", b'"request":"', b'"request":"0'),
    "a name that is a path": lambda m: relisted(m, "references.json", b'"bank"', b'"../bank"'),
    "a name with a control": lambda m: relisted(m, "references.json", b"root a", b"root\\u001b[2J"),
    "a name that turns round": lambda m: relisted(m, "references.json", b"root a", b"root\\u202e"),
    "a month": lambda m: relisted(m, "references.json", b"2025-01", b"2025-99"),
    "a number": lambda m: relisted(m, "answers.jsonl", b'"sample":0', b'"sample":-1'),
    "a type": lambda m: relisted(m, "answers.jsonl", b'"text":"word"', b'"text":7'),
    "a prompt's field": lambda m: relisted(m, "prompts.jsonl", b'"family"', b'"__class__": 1, "family"'),
    "another kind": lambda m: m | {"pack.json": m["pack.json"].replace(b'"references"', b'"results"')},
    "no JSON": lambda m: m | {"pack.json": b"{"},
    "deep JSON": lambda m: m | {"pack.json": b"[" * 100_000},
    "no UTF-8": lambda m: relisted(m, "answers.jsonl", b"word", b"\xff\xfe"),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_a_changed_pack_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bank.zip"
    write_zip(path, "", whole(tmp_path), {})
    assert open_pack(path).card.models
    write_zip(path, "", FORGERIES[what](whole(tmp_path)), {})
    with pytest.raises(ConfigError) as refused:
        open_pack(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.hint


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bank.zip"
    write_zip(path, "", whole(tmp_path) | {"answers.jsonl": b" " * 60_000_000}, {})
    assert path.stat().st_size < 200_000
    with pytest.raises(ConfigError, match="become"):
        open_pack(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x00" * 500])
def test_what_is_no_zip_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bank.zip").write_bytes(content)
    one_line(harness("references", "check", "bank.zip", cwd=tmp_path), 2)


def test_the_same_answers_make_the_same_members(tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_zip(tmp_path / name, "", whole(tmp_path), {})
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_packs_are_kept_by_name_signed_and_not_replaced(bank: Path, tmp_path: Path) -> None:
    key, public = keys(tmp_path)
    config = bank.parent / "config.yaml"
    signed = tmp_path / "signed.zip"
    assert harness("pack", "--references", config, "--out", signed, "--sign", key, cwd=tmp_path).returncode == 0
    home = {"HARNESS_REFERENCES": str(tmp_path / "kept")}
    one_line(harness("references", "add", bank, "--signer", public, cwd=tmp_path, **home), 2)
    assert harness("references", "add", signed, "--signer", public, cwd=tmp_path, **home).returncode == 0
    assert harness("references", "add", signed, cwd=tmp_path, **home).returncode == 0  # the very same
    other = tmp_path / "other.zip"
    made = harness("pack", "--references", config, "--out", other, "--name", "signed", "--model", "m1", cwd=tmp_path)
    assert made.returncode == 0
    one_line(harness("references", "add", other, cwd=tmp_path, **home), 2)
    (kept,) = [k for k in json.loads(harness("references", "list", "--json", cwd=tmp_path, **home).stdout)
               if k["name"] == "signed"]  # fmt: skip
    assert kept["models"] == [n for n in KNOWN if n != "m3"]
    shown = json.loads(harness("references", "show", "signed", "--json", cwd=tmp_path, **home).stdout)
    assert {a["family"] for a in shown["asked"]} == {"everyday", "integers"}
    assert harness("references", "check", "signed", "--signer", public, cwd=tmp_path, **home).returncode == 0


def test_a_pack_on_a_plan_says_what_fits(server: FaultServer, bank: Path, tmp_path: Path) -> None:
    config = accused(tmp_path, server.url, bank)
    done = harness("references", "check", bank, config, cwd=tmp_path)
    assert done.stdout.count("fits: ") == 7
    other = yaml.safe_load(config.read_text("utf-8"))
    other["analysis"]["questions"] = ["attribution"]
    other["prompts"] = [{"set": "everyday", "temperature": 0.5}]
    config.write_text(yaml.safe_dump(other), "utf-8")
    assert "another temperature" in harness("references", "check", bank, config, cwd=tmp_path).stdout


def test_hashed_words_say_of_real_answers_what_the_texts_say(tmp_path: Path) -> None:
    """A pack without texts: no answer can be read in it, and `wording` says of codes what it says of words."""
    recorder = shipped(tmp_path / "recorder")
    assert harness("run", recorder, "--quiet", cwd=recorder.parent).returncode == 0
    found = {}
    for kind, how in (("texts", ()), ("codes", ("--without-texts",))):
        pack = tmp_path / f"{kind}.zip"
        assert harness("pack", "--references", recorder, "--out", pack, *how, cwd=tmp_path).returncode == 0
        said = " ".join(g.text + (g.logprobs or "") for some in open_pack(pack).answers.values() for g in some)
        assert (" the " in said) == (kind == "texts")
        told = {"kind": "reference", "pack": "small-models"}
        pair = [
            {"name": "nova", "role": "suspect", "model": "qwen2.5-coder-0.5b", **told},
            {
                "name": "g",
                "role": "candidate",
                "lineage": "gemma-3",
                "maker": "Google",
                "model": "gemma-3-270m",
                **told,
            },
        ]
        asked = {"prompts": [{"set": "everyday", "limit": 40, "max_tokens": 32}], "references": [str(pack)]}
        settings = {"questions": [], "channels": ["wording"]}
        config = written(tmp_path / kind, pair, analysis=settings, **asked)
        (found[kind],) = run_campaign(config).similarities
    one, other = found["texts"], found["codes"]
    assert one.models == other.models
    assert len(one.models) == 6
    assert np.isfinite(one.values).sum() > 400
    np.testing.assert_allclose(other.values, one.values, atol=1e-6)


# The pack that ships.


def shipped(folder: Path) -> Path:
    """SmolLM2 of the shipped pack, asked whether it is itself, among the other models of the pack."""
    pair = [{"name": n, "role": r, "kind": "reference", "pack": "small-models", "model": "smollm2-135m-instruct"}
            for n, r in (("nova", "suspect"), ("smollm2", "candidate"))]  # fmt: skip
    pair[1] |= {"lineage": "smollm2", "maker": "Hugging Face", "released": "2024-11"}
    asked = [
        {"set": "everyday", "limit": 40, "max_tokens": 32},
        {"set": "stubs", "limit": 40, "max_tokens": 1, "samples": 2},
        {"set": "choices", "limit": 12, "max_tokens": 4, "samples": 5},
    ]
    return written(folder, pair, prompts=asked, references=["small-models"], analysis={"questions": ["kinship"]})


def test_small_models_of_the_shipped_pack_give_the_same_tables_on_two_machines(tmp_path: Path) -> None:
    """Real answers, choices, stubs and logprobs, recorded once; nobody is asked and nothing is downloaded."""
    tables = []
    for machine in ("one", "two"):
        config = shipped(tmp_path / machine)
        done = harness("run", config, "--quiet", cwd=config.parent)
        assert done.returncode == 0, done.stderr
        tables.append({p.name: p.read_bytes() for p in sorted((config.parent / "results/case").glob("*.csv"))})
    assert tables[0] == tables[1]
    (found,) = rows(tmp_path / "one/results/case/summary.csv")
    assert found["control_lineages"] == "2"
    assert float(found["p_value"]) == pytest.approx(1 / 3, abs=1e-5)
    assert float(found["effect"]) > 1
    channels = {r["channel"] for r in rows(tmp_path / "one/results/case/evidence.csv")}
    assert {"choices", "continuations", "logprobs"} <= channels  # of wording all is one text


def test_the_shipped_pack_is_small_and_fits_the_default_campaign(tmp_path: Path) -> None:
    path = ROOT / "harness" / "banks" / "small-models.zip"
    assert path.stat().st_size < 2_000_000
    pack = open_pack(path)
    assert all(g.request for some in pack.answers.values() for g in some)  # every one with the request that got it
    campaign = load_config(ROOT / "config.yaml")
    asked = [p for u in campaign.prompts for p in draw(u, load_set(u.set, ROOT / "prompts").prompts, campaign.seed)]
    use = campaign.model_copy(update={"references": (ReferenceUse(pack="small-models"),)})
    found = with_references(use, asked, ROOT, (path.parent,))
    given = {r.endpoint.name: len({p for p, _, _ in r.given}) for r in found.recordings}
    assert set(given.values()) == {len(asked)}


# A recorded twin.

SUSPECT, CANDIDATE = "openrouter_quasar-alpha", "openai_gpt-4.1-2025-04-14"
CONTROLS = {
    "anthropic_claude-3-5-sonnet-20241022": ("claude-3.5-sonnet", "Anthropic"),
    "deepseek_deepseek-chat-v3-0324": ("deepseek-v3", "DeepSeek"),
    "google_gemini-1.5-pro-002": ("gemini-1.5-pro", "Google"),
    "meta-llama_llama-3.3-70b-instruct": ("llama-3.1", "Meta"),
    "qwen_qwen-2.5-72b-instruct": ("qwen2.5", "Alibaba"),
    "thudm_glm-4-32b-0414": ("glm-4", "Zhipu"),
    "x-ai_grok-2-1212": ("grok-2", "xAI"),
}


def recorded(name: str, role: str, path: str) -> dict[str, Any]:
    lineage, maker = CONTROLS.get(name, ("gpt-4.1", "OpenAI"))
    told = {} if role == "suspect" else {"lineage": lineage, "maker": maker}
    return {"name": name, "role": role, "kind": "recorded", "path": path, **told}


def test_recorded_models_as_references_on_another_machine_give_the_same_tables(
    recorded_data: Path, tmp_path: Path
) -> None:
    """Two models of SpeechMap with controls from a pack: made, signed, checked, and used in two other folders."""
    frame = pd.read_parquet(recorded_data / "speechmap.parquet")
    answered = frame[frame["model"].isin([SUSPECT, CANDIDATE])].groupby("prompt_id")["model"].nunique()
    shared = sorted(answered.index[answered == 2])[:30]
    part = frame[frame["model"].isin([SUSPECT, CANDIDATE, *CONTROLS]) & frame["prompt_id"].isin(shared)]
    part = part.sort_values(["prompt_id", "model"], kind="stable")
    own = part[part["model"].isin(CONTROLS)]
    pack = recorder(tmp_path / "recorder", own)
    tables = []
    for machine in ("one", "two"):
        where = tmp_path / machine
        use = machine_of(where, part[~part["model"].isin(CONTROLS)], "pair.parquet", (), references=["bank.zip"])
        (where / "bank.zip").write_bytes(pack.read_bytes())
        done = harness("references", "check", "bank.zip", "--signer", pack.parent / "key.pub", cwd=where)
        assert done.returncode == 0, done.stderr
        assert harness("run", use, "--quiet", cwd=where).returncode == 0
        tables.append({p.name: p.read_bytes() for p in sorted((where / "results/case").glob("*.csv"))})
    assert len(tables[0]) >= 4
    assert tables[0] == tables[1]
    asked = machine_of(tmp_path / "all", part, "all.parquet", tuple(CONTROLS))
    assert harness("run", asked, "--quiet", cwd=tmp_path / "all").returncode == 0
    (one,), (other,) = (rows(tmp_path / f / "results/case/summary.csv") for f in ("one", "all"))
    for column in ("verdict", "p_value", "p_smallest_possible", "effect", "control_lineages", "log10_lr"):
        assert one[column] == other[column], column


def recorder(folder: Path, answers: pd.DataFrame) -> Path:
    """A signed pack of recorded controls, with the public key beside it."""
    folder.mkdir()
    answers.to_parquet(folder / "controls.parquet")
    keys(folder)
    config = written(folder, [recorded(n, "control", "controls.parquet") for n in CONTROLS],
                     prompts=[{"set": "recorded"}], analysis={"questions": []})  # fmt: skip
    run_campaign(config)
    made = harness("pack", "--references", config, "--out", "bank.zip", "--sign", "key.pem", cwd=folder)
    assert made.returncode == 0, made.stderr
    return folder / "bank.zip"


def machine_of(folder: Path, answers: pd.DataFrame, name: str, controls: Sequence[str], **settings: Any) -> Path:
    """A campaign on recorded answers of the pair, and of controls."""
    folder.mkdir()
    answers.to_parquet(folder / name)
    roles = {SUSPECT: "suspect", CANDIDATE: "candidate", **dict.fromkeys(controls, "control")}
    return written(folder, [recorded(n, role, name) for n, role in roles.items()], prompts=[{"set": "recorded"}],
                   analysis={"questions": ["kinship"], "bootstrap": 100}, **settings)  # fmt: skip


def keys(folder: Path) -> tuple[Path, Path]:
    """An Ed25519 key and its public half."""
    key, public = folder / "key.pem", folder / "key.pub"
    for command in (["genpkey", "-algorithm", "ed25519", "-out", key], ["pkey", "-in", key, "-pubout", "-out", public]):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)  # noqa: S607
    return key, public
