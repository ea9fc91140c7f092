"""Files as tools write them: each becomes a verdict by one command without flags, or one clear sentence."""

from __future__ import annotations

import csv
import doctest
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from harness import sources
from harness.cli import app
from harness.config.endpoint import Recorded
from harness.errors import ConfigError
from harness.report.account import account_lines
from harness.sources import gather
from harness.transfer import write_answers
from tests.files.odd import ODD
from tests.files.writers import FILES as TRIED
from tests.files.writers import MODELS, PROMPTS, cells, chat, frame_of_replies, openai_output, plain_zip, said
from tests.support.fault_server import FaultServer, Reply, Request, Step
from tests.support.recordings import everything
from tests.support.terminals import Terminal

FILES = {**TRIED, **ODD}
TRUTH = {(m, p): o for m, p, o in cells()}
STRANGERS = ("claude-2", "cohere")
CONTROLS = ("gpt-3.5-turbo-0301", "Yi-34B-Chat", "vicuna-7b", "Qwen1.5-14B-Chat", "phi-2", "falcon-7b-instruct",
            "gemini-pro", "dbrx-instruct")  # fmt: skip
KEYS = (
    *("model", "prompt", "output", "samples", "eval", "resps", "arguments", "results"),
    *("request_states", "choices", "adapter_spec", "entry_type", "outputs", "messages", "role", "content"),
    *("turns", "question_id", "custom_id", "response", "conversation_a", "model_a", "model_b"),
)
NUMBERED = {"OpenAI batch without its input", "Anthropic batch"}  # no file of theirs has the prompts


def compare(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", "compare", *arguments]
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("kind", FILES)
def test_every_answer_is_read_as_the_model_gave_it(kind: str, tmp_path: Path) -> None:
    write, source = FILES[kind]
    write(tmp_path)
    gathered = gather([str(tmp_path / source)])
    names = {m.removeprefix("org/"): m for m in gathered.models}
    assert set(names) == set(MODELS), "\n".join(account_lines(gathered.account))
    assert len(gathered.entries) == len(TRUTH)
    assert {e.sample for e in gathered.entries} == {0}
    if kind not in NUMBERED:
        assert {(e.model.removeprefix("org/"), e.prompt): e.output for e in gathered.entries} == TRUTH
    else:
        assert {(e.model, e.output) for e in gathered.entries} == {(m, o) for (m, _), o in TRUTH.items()}
        assert gathered.account.by_number == len(PROMPTS)
    assert gathered.account.shared == gathered.account.prompts == len(PROMPTS)


SHOWN = ["CSV of a German Excel", "XLSX, a column a model under a title", "OpenAI batch"]


@pytest.mark.parametrize("kind", [*SHOWN, *(pytest.param(k, marks=pytest.mark.slow) for k in FILES if k not in SHOWN)])
def test_one_command_gives_the_verdict(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, source = FILES[kind]
    write(tmp_path)
    monkeypatch.chdir(tmp_path)

    def found(suspect: str, candidate: str) -> dict[str, Any]:
        arguments = ["compare", source, "--suspect", suspect, "--candidate", candidate, "--json", "--yes"]
        app(arguments, standalone_mode=False)
        (finding,) = json.loads(capsys.readouterr().out)
        return dict(finding)

    kin = found("nova", "qwen2.5")
    assert kin["verdict"] == "KIN-OR-TAUGHT"
    assert len(kin["control_lineages"]) == 6
    assert kind not in SHOWN or found("gemma", "llama-3")["p_value"] > 0.05


def test_a_campaign_is_left_that_other_commands_take(tmp_path: Path) -> None:
    FILES["CSV, a column a model"][0](tmp_path)
    done = compare("wide.csv", "--suspect", "nova", "--candidate", "qwen2.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "one column a model" in done.stderr
    assert "not used: Category, Comment" in done.stderr
    folder = tmp_path / "results" / "nova-vs-qwen2.5-7b-instruct"
    before = (folder / "summary.csv").read_bytes()

    def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    for arguments in (
        ["score", str(folder / "config.yaml")],
        ["verify", str(folder)],
        ["pack", str(folder), "--out", "p.zip"],
    ):
        after = harness(*arguments)
        assert after.returncode == 0, after.stderr
    assert (folder / "summary.csv").read_bytes() == before
    again = compare("wide.csv", "--suspect", "nova", "--candidate", "qwen2.5", "--quiet", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("maker: '?'", "maker: Aurora"))
    refused = compare("wide.csv", "--suspect", "nova", "--candidate", "qwen2.5", "--quiet", cwd=tmp_path)
    assert refused.returncode == 2
    assert "says something else" in refused.stderr
    assert "maker: Aurora" in config.read_text()


def test_two_files_are_suspect_and_candidate_in_their_order_and_a_folder_the_controls(tmp_path: Path) -> None:
    FILES["a folder of CSV, a file a model"][0](tmp_path)
    for name in MODELS[:2]:
        (tmp_path / "run" / f"{name}_answers.csv").rename(tmp_path / f"{name}.csv")
    done = compare("nova.csv", "qwen2.5-7b-instruct.csv", "run", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (finding,) = json.loads(done.stdout)
    assert (finding["suspect"], finding["candidate"]) == ("nova", "qwen2.5-7b-instruct")
    assert finding["verdict"] == "KIN-OR-TAUGHT"


def test_the_path_that_an_error_names_is_read(tmp_path: Path) -> None:
    """Following the hint used to store `{'status_code': 200, ...` as the answer."""
    odd = [
        {"model": m, "prompt": p, "response": {"status": 200, "answer": {"words": o}}} for (m, p), o in TRUTH.items()
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in odd))
    with pytest.raises(ConfigError) as e:
        gather([str(path)])
    assert "column 'response' holds an object, not text" in e.value.message
    assert "--output-column response.answer.words" in e.value.hint
    found = gather([str(path)], {"output": "response.answer.words"})
    assert {(e.model, e.prompt): e.output for e in found.entries} == TRUTH


@pytest.mark.parametrize("column", ["response", "response.body.choices.0.message.content"])
def test_a_batch_file_with_its_column_named_gives_the_answers_and_no_repr(column: str, tmp_path: Path) -> None:
    path = tmp_path / "nova.jsonl"
    path.write_text(openai_output("nova"))
    found = gather([str(path)], {"output": column, "prompt_id": "custom_id"})
    assert [e.output for e in found.entries] == [said("nova", p) for p in PROMPTS]
    assert {e.model for e in found.entries} == {"nova"}


def test_a_frame_of_replies_gives_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "frame.csv"
    path.write_text(frame_of_replies())
    found = gather([str(path)])
    assert {e.output for e in found.entries} == set(TRUTH.values())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pdf", b"%PDF-1.7 ...", "this is a PDF"),
        ("a.db", b"SQLite format 3\x00....", "this is a database"),
        ("a.pkl", b"\x80\x04\x95....", "this is a pickle"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ("a.csv", b"<!DOCTYPE html><html>", "this is a web page"),
        ("a.csv", b"", "the file is empty"),
        ("a.yaml", b"- {model: m, prompt: q, output: a}\n", "this is YAML"),
        ("a.csv.bz2", b"BZh91AY&SY", "packed with bzip2"),
        ("a.avro", b"Obj\x01\x04\x14avro.codec", "an Avro file"),
        ("a.bin", b"\x01\x02\x00\xff\xfe\x00\x80\x00\x81\x05", "this is no text"),
        ("a.jsonl", 2 * b'{"config": {"x": "y"}, "prediction": {"text": "a"}}\n', "hold their prompts"),
        ("a.csv", b"just a sentence\n", "no table in it"),
        ("a.csv", b"colour,size\nred,3\nblue,4\n", "no column can be told to hold"),
        ("a.jsonl", b'{"model": "m", "prompt": "q", "output": "a"}\n{"model": "m", "pro', "a.jsonl:2"),
        ("a.json", b'{"results": {"acc": 0.5}}', "no column can be told to hold"),
        ("a.jsonl", b'{"model": "m", "prompt": "q", "output": {"a": {"b": "x"}}}', "--output-column output.a.b"),
        ("a.parquet", b"PAR1 and nothing else", "Parquet"),
    ],
)
def test_what_is_no_file_of_answers_is_told_in_one_sentence(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as e:
        gather([str(tmp_path / name)])
    assert said in str(e.value)
    assert name in e.value.message
    assert e.value.hint
    assert "\n" not in str(e.value)


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda t: t.encode("utf-16"))
    | st.recursive(
        st.none() | st.floats() | st.text(max_size=9),
        lambda inside: (
            st.lists(inside, max_size=4) | st.dictionaries(st.sampled_from([*KEYS, "x"]), inside, max_size=5)
        ),
        max_leaves=20,
    ).map(lambda v: json.dumps(v).encode())
)
@settings(max_examples=150)
def test_whatever_stands_in_a_file_is_read_or_told(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_bytes(content)
        complaint: ConfigError | None = None
        try:
            account = gather([str(path)]).account
        except ConfigError as e:
            complaint = e
        if complaint is None:
            assert list(account_lines(account))
        else:
            assert complaint.message.startswith(str(path))
            assert complaint.hint


def test_a_zip_is_unpacked_by_its_owner(tmp_path: Path) -> None:
    plain_zip(tmp_path)
    with pytest.raises(ConfigError, match="this is a zip file"):
        gather([str(tmp_path / "answers.zip")])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    lines = [f"{m},{p.split(':')[0]},said {i} {m}" for m in MODELS[:2] for i, p in enumerate(PROMPTS)]
    (tmp_path / "two.csv").write_text("\n".join(["model,prompt,output", *lines]) + "\n")
    done = compare("two.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "0 control lineages" in done.stderr
    assert "at least 5 unrelated models to the same prompts" in done.stderr
    assert "Traceback" not in done.stderr
    FILES["CSV"][0](tmp_path)
    done = compare("answers.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "8 models: who is suspected of what?" in done.stderr
    assert "--suspect M --candidate N" in done.stderr


def test_strangers_in_a_batch_file_are_strangers(recorded_data: Path, tmp_path: Path) -> None:
    """The wrapper that all lines of a batch share made kin of two unrelated models when it was stored as the answer."""
    table: list[dict[str, Any]] = parquet.read_table(recorded_data / "alpaca_eval_dev.parquet").to_pylist()
    ids = sorted({r["prompt_id"] for r in table})[:120]
    plain = [r for m in (*STRANGERS, *CONTROLS) for r in table if r["model"] == m and r["prompt_id"] in ids]
    parquet.write_table(pa.Table.from_pylist(plain), tmp_path / "plain.parquet")
    (tmp_path / "batches").mkdir()
    for m in (*STRANGERS, *CONTROLS):
        found = [
            {"id": "b", "custom_id": str(r["prompt_id"]), "error": None,
             "response": {"status_code": 200, "body": chat(m, r["output"])}}
            for r in plain if r["model"] == m
        ]  # fmt: skip
        (tmp_path / "batches" / f"{m}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in found))
    findings = []
    for source in ("batches", "plain.parquet"):
        named = ("--suspect", STRANGERS[0], "--candidate", STRANGERS[1], "--name", source)
        done = compare(source, *named, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        findings += json.loads(done.stdout)
    one, other = ({k: f[k] for k in ("verdict", "p_value")} for f in findings)
    assert one == other
    assert one["verdict"] not in ("KIN-LIKE", "KIN-OR-TAUGHT")
    assert one["p_value"] > 0.3
    assert all(f["log10_lr"] < 0 for f in findings)


def test_on_a_terminal_it_asks_who_is_suspected_of_what(tmp_path: Path) -> None:
    FILES["CSV"][0](tmp_path)
    with Terminal([sys.executable, "-m", "harness", "compare", "answers.csv"], tmp_path) as t:
        t.until("one row an answer")
        t.say("The suspect", "novo")
        t.until("did you mean 'nova'")
        t.say("The suspect", "nova")
        t.say("The candidate", "QWEN2.5")
        t.until("lineage qwen2.5, maker Alibaba")
        t.say("Is that right? [Y/n]", "")
        assert t.ended() == 0, t.shown
    assert "KIN-OR-TAUGHT" in t.shown
    with Terminal([sys.executable, "-m", "harness", "compare", "answers.csv", "--name", "other"], tmp_path) as t:
        t.say("The suspect", "nova")
        t.say("The candidate", "gpt-4o")
        t.say("Is that right? [Y/n]", "n")
        assert t.ended() == 0, t.shown
    assert not (tmp_path / "results" / "other").exists()


def test_two_models_alone_can_be_told_apart_if_they_were_asked_several_times(tmp_path: Path) -> None:
    with (tmp_path / "two.csv").open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(["model", "prompt", "sample", "output"])
        writer.writerows([m, p, s, said(m, p, s)] for m in ("nova", "gpt-4o") for p in PROMPTS for s in range(3))
    done = compare("two.csv", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kinship is not asked" in done.stderr
    assert [(f["question"], f["verdict"]) for f in json.loads(done.stdout)] == [("identity", "DIFFERENT-LIKE")]


def test_what_a_stranger_wrote_cannot_move_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,prompt,output,\x1b[2Jnote\n" + "m\x1b[31m,q\x1b]0;x\x07,a,b\n" + "n,r,a,b\n")
    shown = "\n".join(account_lines(gather([str(tmp_path / "a.csv")]).account))
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_prompts_that_do_not_match_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,output\n"  What is 1? ",x\nOnly here?,y\n')
    (tmp_path / "b.csv").write_text("Frage,Antwort\nWhat is 1?,z\nOnly there?,w\n")
    account = gather([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]).account
    assert (account.prompts, account.shared) == (3, 1)
    assert account.alone == (("a", "Only here?"), ("b", "Only there?"))
    assert "only a answered: 'Only here?'" in "\n".join(account_lines(account))
    numbered = [
        f"{m},{'What is 1?' if i else f'Only {m}?'},{s},x{s}{m}" for m in "ab" for i in range(2) for s in range(2)
    ]
    (tmp_path / "c.csv").write_text("\n".join(["model,prompt,sample,output", *numbered]))
    done = compare("c.csv", cwd=tmp_path)
    assert "compared on 1 prompt that" in done.stderr
    assert "left out: 1 that a alone answered, such as 'Only a?'" in done.stderr


@pytest.mark.parametrize(
    "headings", [("gpt-4o (1)", "gpt-4o (2)"), ("gpt-4o", "gpt-4o"), ("gpt-4o run 1", "gpt-4o run 2")]
)
def test_two_columns_of_one_model_are_samples(headings: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"prompt,{headings[0]},{headings[1]},llama-3\nQ?,yes,yes,no\nR?,no,yes,no\n")
    found = gather([str(tmp_path / "a.csv")])
    assert [(e.model, e.output, e.sample) for e in found.entries if e.prompt == "Q?"] == [
        ("gpt-4o", "yes", 0), ("gpt-4o", "yes", 1), ("llama-3", "no", 0),
    ]  # fmt: skip


@pytest.mark.parametrize("module", list(pkgutil.iter_modules(sources.__path__)), ids=lambda m: m.name)
def test_examples_in_docstrings(module: pkgutil.ModuleInfo) -> None:
    assert doctest.testmod(importlib.import_module(f"harness.sources.{module.name}")).failed == 0


def test_samples_with_something_beside_each_are_not_one_answer(tmp_path: Path) -> None:
    draws = [{"text": "yes", "logprob": -1.0}, {"text": "no", "logprob": -2.0}]
    parts = [{"type": "text", "text": "ye"}, {"type": "text", "text": "s"}]
    for name, answers, expected in (("a", draws, ["yes", "no"]), ("b", parts, ["yes"])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"model": m, "question": "Q?", "responses": answers}) + "\n" for m in "xy"))
        assert [e.output for e in gather([str(path)]).entries if e.model == "x"] == expected


def test_a_path_through_keys_with_points_is_read(tmp_path: Path) -> None:
    """The hint of the error used to name a path that was then refused."""
    path = tmp_path / "a.jsonl"
    rows = [{"who": m, "span": {"x.said": {"y.text": o}, "x.asked": p}} for (m, p), o in TRUTH.items()]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    named: dict[Any, str] = {"model": "who", "prompt": "span.x.asked", "output": "span.x.said.y.text"}
    assert {(e.model, e.prompt): e.output for e in gather([str(path)], named).entries} == TRUTH


def test_two_batches_that_number_prompts_alike_are_not_mixed(tmp_path: Path) -> None:
    for name, prompt in (("a", "What is 1?"), ("b", "What is 2?")):
        line = {
            "custom_id": "r-0",
            "method": "POST",
            "body": {"model": "m", "messages": [{"role": "user", "content": prompt}]},
        }
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(ConfigError, match="two prompts are called 'r-0'"):
        gather([str(tmp_path)])


def test_numbers_of_prompts_match_whatever_a_table_made_of_them(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"model": ["a"], "prompt_id": [1], "output": ["x"]}), tmp_path / "a.parquet")
    parquet.write_table(pa.table({"model": ["b"], "prompt_id": [1.0], "output": ["y"]}), tmp_path / "b.parquet")
    assert {e.prompt_id for e in gather([str(tmp_path)]).entries} == {"1"}


def test_every_channel_comes_along(tmp_path: Path) -> None:
    """Ratings with their scales, choices, samples, logprobs and raw completions, from a file into the store."""
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": [{"token": "a", "logprob": -0.1}]}]}
    found: list[dict[str, Any]] = []
    for m in MODELS:
        found += [{"model": m, "prompt": "Rate it.", "output": {"angry": 3 + len(m) % 5, "proud": 4}}]
        found += [{"model": m, "prompt": "Pick a colour.", "output": ["blue", "red", "blue", "green", "teal"]}]
        found += [{"model": m, "prompt": "Once upon", "output": " a time", "surface": "completion"}]
        found += [{"model": m, "prompt": "Begin.", "output": "a", "logprobs": logprobs}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in found))
    gathered = gather([str(tmp_path / "a.jsonl")])
    write_answers(tmp_path / "a.parquet", gathered.entries)
    endpoints = [Recorded(kind="recorded", name=m, role="suspect", path="a.parquet") for m in MODELS[:2]]
    prompts, answers = everything(endpoints, tmp_path, {})
    by_text = {p.text: p for p in prompts}
    assert by_text["Rate it."].channels[0] == "ratings"
    assert by_text["Rate it."].fields["scales"] == ["angry", "proud"]
    assert by_text["Pick a colour."].channels[0] == "choices"
    assert by_text["Pick a colour."].samples == 5
    assert by_text["Once upon"].channels[:2] == ("verbatim", "continuations")
    assert "logprobs" in by_text["Begin."].channels
    assert [r.text for r in answers if r.prompt == by_text["Pick a colour."].id][:3] == ["blue", "red", "blue"]
    assert any(r.logprobs for r in answers)
    assert gathered.account.channels == {"ratings": 1, "choices": 1, "continuations": 1, "logprobs": 1}


def test_where_controls_are_too_few_live_models_are_asked_the_same_prompts_price_first(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text(
        "model,prompt,output\n" + "".join(f'{m},"{p}","{o}"\n' for (m, p), o in TRUTH.items() if m in MODELS[:4])
    )
    done = compare("few.csv", "--suspect", MODELS[0], "--candidate", MODELS[1], "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 more control lineages would let p reach 0.05" in done.stderr
    assert "--dry-run" in done.stderr
    config = next((tmp_path / "results").glob("*/config.yaml"))
    command = [sys.executable, "-m", "harness", "run", str(config)]
    env = {**os.environ, "TEST_KEY": "k" * 24}

    def answering(model: str) -> Step:
        def step(request: Request) -> Reply:
            prompt = json.loads(request.body)["messages"][-1]["content"]
            return Reply(body=json.dumps(chat(request.model, said(model, prompt))).encode())

        return step

    with FaultServer({f"live-{i}": [answering(MODELS[4 + i])] for i in range(3)}) as server:
        text = config.read_text()
        for i in range(3):
            live = {"name": f"live-{i}", "role": "control", "lineage": f"l{i}", "maker": f"M{i}", "kind": "openai-chat",
                    "base_url": server.url, "model": f"live-{i}", "api_key_env": "TEST_KEY",
                    "price": {"input": 1.0, "output": 2.0}}  # fmt: skip
            text += f"- {json.dumps(live)}\n"
        config.write_text(text)
        dry = subprocess.run([*command, "--dry-run", "--json"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert dry.returncode == 0, dry.stderr
        planned = {r["endpoint"]: r for r in json.loads(dry.stdout) if r["endpoint"].startswith("live-")}
        assert {r["to_ask"] for r in planned.values()} == {len(PROMPTS)}
        assert all(r["priced"] for r in planned.values())  # and no bound is claimed where no length is asked for
        assert not server.seen
        ran = subprocess.run([*command, "--json"], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        asked = {json.loads(body)["messages"][-1]["content"] for _, body in server.seen}
    assert asked == set(PROMPTS)
    (finding,) = json.loads(ran.stdout)
    assert len(finding["control_lineages"]) == 5
    assert finding["verdict"] == "KIN-OR-TAUGHT"


def test_import_prints_a_campaign_that_runs(tmp_path: Path) -> None:
    FILES["OpenAI batch"][0](tmp_path)
    command = [sys.executable, "-m", "harness"]
    arguments = ["import", "run", "--out", "data/mine", "--suspect", "nova", "--candidate", "qwen2.5"]
    done = subprocess.run([*command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
    (tmp_path / "config.yaml").write_text(done.stdout)
    ran = subprocess.run([*command, "run"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "KIN-OR-TAUGHT" in ran.stdout
