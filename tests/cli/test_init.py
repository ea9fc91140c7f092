"""`harness init`: every template is a campaign that passes the check, and on a terminal it asks."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.cli.templates import lineage_of, shipped, template_text, templates
from harness.comparison import cast, config_text, endpoints_for
from harness.config.yaml import load_config
from harness.inference.excess import smallest_p
from harness.inference.likelihood import shipped_tables
from harness.plan import prepare
from harness.power import expected_power, power_text
from harness.sources import gather
from harness.transfer import blocks_of
from tests.support import ROOT
from tests.support.command_line import command, harness, one_line
from tests.support.fault_server import FaultServer
from tests.support.terminals import Terminal

PASTED = "sk-or-v1-0123456789abcdef0123456789abcdef"
OTHER = "a3f9c1d27b6e4f0c9d8e7a6b5c4d3e2f"  # no prefix that gives it away


@pytest.mark.parametrize("name", list(templates()))
def test_every_preset_passes_the_check(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    environ = {"RECORDED_DATA": str(request.getfixturevalue("recorded_data"))} if name == "recorded" else {}
    done = harness("init", "--preset", name, cwd=tmp_path, **environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    checked = harness("check", "--offline", cwd=tmp_path, **environ)
    assert checked.returncode == 0, checked.stderr
    assert "ok: " in checked.stderr
    text = (tmp_path / "config.yaml").read_text()
    assert not [w for w in ("../results", "Twin", "examples/", "recorded/") if w in text and name != "recorded"]
    assert "../results" not in text
    assert text.lstrip().startswith("#")


def test_an_editor_finds_the_schema_and_excel_its_switch(tmp_path: Path) -> None:
    done = harness("init", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = tmp_path / "config.yaml"
    first, *_, last = config.read_text().splitlines()
    named = tmp_path / first.removeprefix("# yaml-language-server: $schema=")
    assert (
        list(Draft202012Validator(json.loads(named.read_text())).iter_errors(yaml.safe_load(config.read_text()))) == []
    )
    assert "wrote campaign.schema.json" in done.stderr
    switch = re.search(r"`(report: .*?)`", last)
    assert switch is not None
    config.write_text(config.read_text() + switch[1] + "\n")
    assert load_config(config).report.bom

    named.write_text("somebody's own")
    config.unlink()
    assert "campaign.schema.json is there already" in harness("init", "--preset", "which", cwd=tmp_path).stderr
    assert named.read_text() == "somebody's own"
    assert harness("init", "--force", cwd=tmp_path).returncode == 0
    assert named.read_text() == (ROOT / "docs" / "campaign.schema.json").read_text()


def test_kinship_has_enough_controls_and_nothing_of_the_example_s_case(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(template_text("kinship", seed=77))
    campaign = load_config(path)
    controls = {e.lineage for e in campaign.endpoints if e.role == "control"}
    assert len(controls) >= 13
    assert smallest_p(len(controls)) <= 0.01
    assert campaign.seed == 77
    assert not [w for w in ("pangu", "huawei") if w in path.read_text().casefold()]
    assert [e.role for e in campaign.endpoints].count("suspect") == 1
    assert path.read_text().count("# change:") == 6
    assert path.read_text().count('maker: "?"') == 1  # the suspect's, which nobody knows


@pytest.mark.parametrize("name", ["kinship", "which", "swap"])
def test_kin_and_twins_of_the_candidate_are_no_controls(name: str, tmp_path: Path) -> None:
    suspect = {"name": "s", "role": "suspect", "kind": "openai-chat", "provider": "openrouter", "model": "x/y"}
    kin = {**suspect, "name": "c", "role": "candidate", "lineage": "Mistral-Small 3", "model": "a/b"}
    twin = {**kin, "lineage": "new", "model": "together/Mistral-Small-24B-Instruct-2501"}
    path = tmp_path / "config.yaml"
    for candidate in (kin, twin):
        path.write_text(template_text(name, suspect, candidate))
        campaign = load_config(path)
        assert "mistral-small-3" not in {e.name for e in campaign.endpoints}
        assert {"s", "c"} <= {e.name for e in campaign.endpoints}


@pytest.mark.parametrize(
    ("model", "lineage"),
    [
        ("qwen/qwen-2.5-14b-instruct", "qwen2.5"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3"),
        ("olmo-2-13b", "olmo-2"),
    ],
)
def test_the_lineage_offered_is_written_as_the_controls_write_it(model: str, lineage: str) -> None:
    assert lineage_of(model, ["qwen2.5", "qwen3", "llama-3", "gemma-3"]) == lineage


def test_unknown_preset_and_nothing_overwritten(tmp_path: Path) -> None:
    assert "did you mean 'kinship'?" in one_line(harness("init", "--preset", "kinshp", cwd=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []
    assert harness("init", "--preset", "which", cwd=tmp_path).returncode == 0
    before = (tmp_path / "config.yaml").read_bytes()
    assert "--force" in one_line(harness("init", "--preset", "swap", cwd=tmp_path), 2)
    assert (tmp_path / "config.yaml").read_bytes() == before
    assert harness("init", "--preset", "swap", "--force", cwd=tmp_path).returncode == 0
    assert (tmp_path / "config.yaml").read_bytes() != before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["campaign.schema.json", "config.yaml"]


def test_results_stay_out_of_a_repository_that_ignores_nothing(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert harness("init", "sub", cwd=tmp_path).returncode == 0
    assert (tmp_path / "sub" / ".gitignore").read_text() == "results/\n"
    (tmp_path / ".gitignore").write_text("*.log\n")
    assert harness("init", "other", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "other" / ".gitignore").exists()


def test_what_is_answered_on_a_terminal_is_a_campaign_that_runs(tmp_path: Path) -> None:
    with (
        FaultServer({"their-model": ["ok"], "my-model": ["ok"]}) as server,
        Terminal(command("init"), tmp_path, {"MY_KEY": "k" * 20}) as t,
    ):
        t.say("Number or name [demo]", "kinshp")
        t.until("did you mean 'kinship'?")
        t.say("Number or name", "2")
        t.say("Its name", "the suspect")
        t.until("letters, digits")
        t.say("Its name", "gemma-3-27b")
        t.until("another endpoint is called 'gemma-3-27b'")
        t.say("Its name", "nova")
        t.say("provider", "openruoter")
        t.until("did you mean 'openrouter'?")
        t.say("provider", server.url)
        t.say("Model", "their-model")
        t.say("Variable", OTHER)
        t.until("not the name of a variable")
        t.say("Variable", PASTED)
        t.until("looks like a key")
        t.say("Variable", "MY_KEY")
        t.say("Its name", "base")
        t.say("provider", PASTED)
        t.say("provider", "openrouter")
        t.say("Model", "qwen/qwen-2.5-14b-instruct")
        t.say("Lineage", "")
        t.say("Variable", "")
        assert t.ended() == 0, t.shown
    assert OTHER not in t.shown
    assert "next: harness check config.yaml" in t.shown
    campaign = load_config(tmp_path / "config.yaml")
    suspect, candidate = campaign.endpoints[:2]
    assert (suspect.name, suspect.model, suspect.api_key_env, suspect.base_url) == (
        "nova", "their-model", "MY_KEY", server.url,
    )  # fmt: skip
    assert (candidate.provider, candidate.lineage, candidate.api_key_env) == (
        "openrouter", "qwen2.5", "OPENROUTER_API_KEY",
    )  # fmt: skip
    assert (suspect.maker, candidate.maker) == ("?", "Alibaba")
    assert campaign.campaign == "nova-vs-base"
    written = (tmp_path / "config.yaml").read_text()
    assert PASTED not in written
    assert OTHER not in written
    assert harness("check", "--offline", cwd=tmp_path).returncode == 0


def test_answers_at_hand_are_asked_for_by_their_file(tmp_path: Path) -> None:
    rows = [f"{m},p{i},said {m} {i}" for m in ("ours", "theirs", "x-1", "y-2", "z-3") for i in range(3)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "answers.csv").write_text("\n".join(["model,prompt_id,output", *rows]) + "\n")
    (tmp_path / "bad.csv").write_text("generator,text\na,b\n")
    with Terminal(command("init", "sub"), tmp_path) as t:
        t.say("Number or name", "recorded")
        t.say("File", "none.csv")
        t.until("No such file")
        t.say("File", "bad.csv")
        t.until("hold their prompts")
        t.say("File", "data/answers.csv")
        t.until("5 models")
        t.say("The suspect", "hours")
        t.until("did you mean 'ours'")
        t.say("The suspect", "ours")
        t.say("The candidate", "theirs")
        t.say("Its lineage", "root-1")
        assert t.ended() == 0, t.shown
    campaign = load_config(tmp_path / "sub" / "config.yaml")
    assert [(e.name, e.role) for e in campaign.endpoints][:2] == [("ours", "suspect"), ("theirs", "candidate")]
    checked = harness("check", "--offline", "sub/config.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    ran = harness("run", "sub/config.yaml", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("key", ["\x03", "\x04"])
@pytest.mark.parametrize("after", [0, 3])
def test_leaving_in_the_middle_writes_nothing(key: str, after: int, tmp_path: Path) -> None:
    with Terminal(command("init", "new"), tmp_path) as t:
        questions = [("Number or name", "swap"), ("Its name", ""), ("provider", "openrouter")]
        for question, answer in questions[:after]:
            t.say(question, answer)
        t.until("[demo]" if after == 0 else "Model")
        t.type(key)
        assert t.ended() == 130, t.shown
    assert "nothing was written" in t.shown
    assert "Traceback" not in t.shown
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_found_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert "cannot be written to" in one_line(harness("init", "file/new", cwd=tmp_path), 2)
    with Terminal(command("init", "file/new"), tmp_path) as t:
        assert t.ended() == 2
    assert "What do you want" not in t.shown
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        try:
            assert "cannot be written to" in one_line(harness("init", "new", cwd=tmp_path), 2)
        finally:
            tmp_path.chmod(0o700)


def test_short_answers_are_proposed_where_wording_alone_is_asked_with_what_that_length_finds(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(template_text("brief", seed=7))
    keys = {"SUSPECT_API_KEY": "k" * 20, "OPENROUTER_API_KEY": "k" * 21}
    plan = prepare(path, keys)
    assert {c for p in plan.prompts for c in p.channels} == {"wording", "verbatim", "style"}
    assert {p.max_tokens for p in plan.prompts} == {40}
    assert len(plan.prompts) == 64
    (power,) = expected_power(plan)
    assert power.channel == "wording"
    table = shipped_tables()["wording"]
    assert power.close == table.rate("close", power.controls, 64, 0.7 * 40, power.alpha / power.looks)
    (line,) = power_text([power], plan)
    assert "wording of 64 prompts in answers of 28 words finds" in line
    path.write_text(path.read_text().replace("max_tokens: 40", "max_tokens: 20"))
    shorter = prepare(path, keys)
    (less,) = expected_power(shorter)
    assert less.base < power.base
    path.write_text(path.read_text().replace("max_tokens: 20", "max_tokens: 8"))
    (none,) = expected_power(prepare(path, keys))
    assert none.close != none.close  # no table was fitted on answers so short


def test_presets_are_made_from_what_is_shipped() -> None:
    assert [n for n, p in templates().items() if not shipped(p.source).is_file()] == []
    sources = {p.source.split("/")[0] for p in templates().values()}
    included = (ROOT / "pyproject.toml").read_text()
    assert [s for s in sources if f'"{s}" = "harness/_{s}"' not in included] == []


def test_a_key_in_the_place_of_its_variable_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for key in (PASTED, OTHER, "0a1b-2c3d-4e5f-6071"):
        path.write_text(template_text("which").replace("MYSTERY_API_KEY", key))
        said = one_line(harness("check", "--offline", cwd=tmp_path), 2)
        assert key not in said
        assert key[4:12] not in said


def test_a_provider_s_usual_key_can_be_declined(tmp_path: Path) -> None:
    with Terminal(command("init"), tmp_path, {"EXAMPLE_KEY": "k" * 20}) as t:
        answers = [("Number", "which"), ("Its name", ""), ("provider", "openrouter"), ("Model", "a/b")]
        for question, answer in [*answers, ("Variable", "none")]:
            t.say(question, answer)
        assert t.ended() == 0, t.shown
    suspect = load_config(tmp_path / "config.yaml").endpoints[0]
    assert (suspect.provider, suspect.api_key_env) == ("openrouter", None)


def recorded_config(source: Path, suspect: str, candidate: str) -> str:
    """What `harness init` writes for answers at hand."""
    casting = cast(source, gather([str(source)]), suspect, candidate, lineage_of(candidate, []))
    return config_text("recorded", casting)


def test_no_control_of_speechmap_is_kin_of_the_candidate(recorded_data: Path, tmp_path: Path) -> None:
    """It declared 47 lineages, six of them the candidate's kin."""
    text = recorded_config(recorded_data / "speechmap.parquet", "perplexity_r1-1776", "deepseek_deepseek-r1")
    (tmp_path / "config.yaml").write_text(text)
    endpoints = load_config(tmp_path / "config.yaml").endpoints
    with (recorded_data / "speechmap_lineage.csv").open(newline="") as f:
        truth = {row["model"]: row["base_model"] for row in csv.DictReader(f)}
    by_role = {r: {e.model or e.name for e in endpoints if e.role == r} for r in ("control", "relative", "candidate")}
    kin = {m for m, base in truth.items() if base == truth["deepseek_deepseek-r1"]}
    assert by_role["control"] & kin == set()
    assert by_role["relative"] == kin - {"deepseek_deepseek-r1", "perplexity_r1-1776"}
    assert len(by_role["relative"]) == 6
    assert len(by_role["control"]) == len(truth) - 8
    cloaked = [e for e in endpoints if e.name.startswith("openrouter_")]
    assert [(e.lineage, e.maker) for e in cloaked] == [("?", "?")] * 3
    assert text.count("`?`") == 1  # one comment says what to do
    checked = harness("check", "--offline", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "lineage unknown" in checked.stderr
    assert "openrouter_optimus-alpha" in checked.stderr


def test_kin_of_any_candidate_of_speechmap_is_a_control_only_under_a_name_that_tells_nothing(
    recorded_data: Path,
) -> None:
    source = recorded_data / "speechmap.parquet"
    with (recorded_data / "speechmap_lineage.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    blocks = blocks_of(source, [r["model"] for r in rows])
    base = {r["model"]: r["base_model"] for r in rows}
    for row in rows:
        suspect = next(r["model"] for r in rows if r["model"] != row["model"])
        for e in endpoints_for(suspect, row["model"], lineage_of(row["model"], []), blocks):
            if e["role"] == "control" and base[e.get("model", e["name"])] == row["base_model"]:
                assert "?" in (e["lineage"], lineage_of(row["model"], [])), (e, row["model"])


KIN = """\
campaign: t
prompts: [{set: everyday}]
endpoints:
  - {name: s, role: suspect, kind: openai-chat, model: mystery}
  - {name: deepseek-v3, role: candidate, lineage: deepseek-v3, kind: openai-chat, model: deepseek-chat}
  - {name: deepseek-r1, role: ROLE, lineage: deepseek-r1, kind: openai-chat, model: deepseek-r1MORE}
  - {name: a, role: control, lineage: a, maker: A, kind: openai-chat, model: a-1}
  - {name: b, role: control, lineage: b, maker: B, kind: openai-chat, model: b-1}
"""


def test_a_control_that_is_kin_by_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for command_line in (["check", "--offline"], ["run", "--dry-run"]):
        path.write_text(KIN.replace("ROLE", "control").replace("MORE", ""))
        said = one_line(harness(*command_line, cwd=tmp_path), 2)
        assert "config.yaml:6: control 'deepseek-r1'" in said
        assert "kin of candidate 'deepseek-v3'" in said
        assert "role: relative" in said
        assert "unrelated: true" in said
        for role, more in (("relative", ""), ("control", ", unrelated: true"), ("control", "")):
            questions = "analysis: {questions: [identity]}\n" if not more and role == "control" else ""
            path.write_text(KIN.replace("ROLE", role).replace("MORE", more) + questions)
            done = harness(*command_line, cwd=tmp_path)
            assert done.returncode == 0, (role, more, done.stderr)
