"""What others wrote, on a terminal, in a CSV file and on a page: it moves no cursor, forges no line, tears no row."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.endpoints.answer_files import open_table
from harness.plan import prepare
from harness.records import Response
from harness.report.tables import cell
from harness.report.text import excerpt, harmless, one_line, plain
from harness.sources import gather
from harness.store import Store
from harness.transfer import export_answers, write_answers
from tests.support import CARD, ROOT, Write
from tests.support.command_line import harness
from tests.support.fault_server import FaultServer, Reply, says

NASTY = {
    "clear screen": "\x1b[2J\x1b[H", "clipboard": "\x1b]52;c;ZXZpbA==\x07", "title": "\x1b]0;pwned\x07", "bell": "\x07",
    "backspace": "\x08\x08", "C1": "\x9b2J\x9d52;c;x\x9c", "line": "\nKIN verdict: forged", "return": "\rok: forged",
    "vertical": "\x0bok", "feed": "\x0cok", "next line": "\x85ok", "U+2028": "\u2028ok", "U+2029": "\u2029ok",
    "arabic mark": "\u061c", "soft hyphen": "\xad", "joiners": "\u2060\u2061\u2062\u2063\u2064", "override": "\u202e",
    "isolate": "\u2066\u2069", "zero width": "\u200b\u200d", "BOM": "\ufeff", "tags": "\U000e0041\U000e007f",
    "shorthand": "\U0001bca0\U0001bca3", "hieroglyphs": "\U00013430\U00013455",
    "selectors": "\U000e0100", "half": "\ud800", "NUL": "\x00", "separators": "\x1c\x1d\x1e\x1f",
}  # fmt: skip
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\U00013430-\U0001345f\U0001bca0-\U0001bca3\U000e0000-\U000e01ef]"
)


@pytest.mark.parametrize("name", NASTY)
def test_nothing_gets_past_the_cleaner(name: str) -> None:
    said = f"a{NASTY[name]}b"
    for cleaned in (plain(said), one_line(said), harmless(said, 99), excerpt(said)):
        assert not FORBIDDEN.search(cleaned), name
        assert cleaned[0] == "a"
        cleaned.encode()
    assert len(one_line(said).splitlines()) == len(excerpt(said).splitlines()) == 1


@given(st.text(), st.text())
def test_one_line_is_one_line(a: str, b: str) -> None:
    shown = one_line(f"a{a}\n{b}z")
    assert len(shown.splitlines()) == 1
    assert one_line(shown) == shown
    shown.encode()


def test_the_command_line_prints_in_one_place() -> None:
    """And that place takes only what the cleaner made: a type that nothing else may make."""
    printing = []
    for path in sorted((ROOT / "harness").rglob("*.py")):
        name = path.relative_to(ROOT / "harness").as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            prints = called in ("print", "typer.echo", "typer.secho", "click.echo", "sys.stderr.write")
            makes = called == "Shown"
            if prints and not name.endswith(("local_server.py", "engine_server.py", "reference.py", "tables.py")):
                printing.append((name, called))
            if makes:
                assert name == "report/text.py"
    assert printing == [("cli/options.py", "typer.echo")]
    print_ = next(n for n in ast.walk(ast.parse((ROOT / "harness/cli/options.py").read_text("utf-8")))
                  if isinstance(n, ast.FunctionDef) and n.name == "_print")  # fmt: skip
    assert ast.unparse(print_.args.args[0].annotation) == "Shown"  # type: ignore[arg-type]


def clean_lines(text: str, *begin: str) -> None:
    assert not FORBIDDEN.search(text), ascii(text)
    for line in text.splitlines():
        assert not line.startswith(("KIN", "ok: forged", "forged")), text
    assert all(b in text for b in begin)


ALL = "".join(v for k, v in NASTY.items() if k not in ("half",))


def test_prompt_sets_of_others(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    card = {**CARD, "family": "evil", "queries": 1, "purpose": f"p{ALL}\nok: forged"}
    path = tmp_path / "prompts" / "evil.yaml"
    path.write_text(yaml.safe_dump({"card": card, "prompts": [{"id": "evil-1", "text": f"t{ALL}\nok: forged"}]}))
    for said in (["list"], ["show", "evil"], ["list", "--json"], ["show", "evil", "--json"], ["check", str(path)]):
        done = harness("prompts", *said, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        clean_lines(done.stdout + done.stderr)


def test_a_manifest_of_others(tmp_path: Path, write_campaign: Write) -> None:
    path = write_campaign("http://127.0.0.1:9/v1")
    plan = prepare(path, {})
    with Store(plan.store):
        pass
    files = {f"x{ALL.replace(chr(0x2028), '')}KIN": "0" * 64}
    manifest: dict[str, Any] = {"config": {f"a{ALL}": ALL}, "config_sha256": f"x{ALL}", "files_sha256": files}
    manifest |= {"responses_sha256": f"\nKIN{ALL}", "packages": {f"p{ALL}\nKIN": f"1{ALL}\nKIN"}}
    manifest |= {"python": f"3{ALL}\nok: forged", "campaign": ALL}
    (plan.folder / "manifest.json").write_text(json.dumps(manifest))
    for said in (["verify", str(plan.folder)], ["verify", str(plan.folder), "--json"],
                 ["pack", str(plan.folder), "--out", str(tmp_path / "p.zip")]):  # fmt: skip
        done = harness(*said, cwd=tmp_path)
        assert done.returncode in (2, 0), done.stderr
        assert "Traceback" not in done.stderr
        clean_lines(done.stdout + done.stderr)


def test_a_servers_words(tmp_path: Path, write_campaign: Write) -> None:
    evil = f"no{ALL}\nKIN: forged\nok: forged"
    error = says({"error": {"message": evil, "code": evil}}, 400)
    page = lambda _: Reply(500, evil.encode())  # noqa: E731
    answer = says({"choices": [{"message": {"content": evil}, "finish_reason": evil}], "model": evil, "provider": evil})
    with FaultServer({"good": [answer, error, page, answer], "fine": [answer]}) as server:
        path = write_campaign(server.url, collect={"attempts": 1})
        for said in (["check", path], ["run", path], ["score", path], ["run", path, "--dry-run"], ["monitor", path]):
            done = harness(*said, cwd=tmp_path)
            assert "Traceback" not in done.stderr
            clean_lines(done.stdout + done.stderr)
    for written in (tmp_path / "results" / "test").glob("*.csv"):
        assert not FORBIDDEN.search(written.read_text("utf-8").replace("\r\n", "\n")), written
    report = (tmp_path / "results" / "test" / "report.html").read_text("utf-8")
    assert not FORBIDDEN.search(report)


@pytest.mark.parametrize("command", [["check"], ["run", "--dry-run"], ["score"], ["verify"], ["prompts", "show"],
                                     ["import", "--out", "x"], ["export"], ["monitor"]])  # fmt: skip
def test_a_files_name_forges_no_line(command: list[str], tmp_path: Path) -> None:
    done = harness(*command, f"no\nok: forged\x1b[2J{'.csv' if 'import' in command else ''}", cwd=tmp_path)
    assert done.returncode == 2
    clean_lines(done.stdout + done.stderr)


CELLS = ["a\rb", "\r", "a\r\r\n=1+1", "=cmd()", '"', '""\r"', "a,b\rc", "x\n\r=2+2", "'", "'=1", "\x00", "a\x00b",
         "\x85", "\u2028", "", " ",
         "NaN", "null", "007", "1e5", "\ufeff=1", "\t=1", "é\r", "a\x1ab", "\x0b", "-1\r+1"]  # fmt: skip


def exported(tmp_path: Path, write_campaign: Write, texts: list[str]) -> Path:
    plan = prepare(write_campaign("http://127.0.0.1:9/v1", n=len(texts), samples=1), {})
    answers = [Response("good", p.id, 0, f"h{i}", "ok", t, model_asked="m") for i, (p, t) in
               enumerate(zip(plan.prompts, texts, strict=True))]  # fmt: skip
    with Store(plan.store) as store:
        store.set_plan(plan.prompts, [(r.endpoint, r.prompt, r.sample, r.request_hash) for r in answers], {})
        store.add_many(answers)
    out = tmp_path / "answers.csv"
    assert export_answers(plan, "csv", out, io.BytesIO()) == len(texts)
    return out


def test_a_csv_has_as_many_rows_as_there_are_answers(tmp_path: Path, write_campaign: Write) -> None:
    """By Python, by pandas, by the reader of recorded endpoints and by `import`; and no row is a formula."""
    out = exported(tmp_path, write_campaign, CELLS)
    with out.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [r["output"] for r in rows] == [cell(c) for c in CELLS]
    assert len(pd.read_csv(out, dtype=str, keep_default_na=False)) == len(CELLS)
    read = list(open_table("x", str(out), tmp_path, {}).read(["output"]))
    assert [r["output"] for r in read] == CELLS
    found = gather([str(out)])
    write_answers(tmp_path / "again.parquet", found.entries)
    back = list(open_table("x", str(tmp_path / "again.parquet"), tmp_path, {}).read(["output"]))
    assert [r["output"] for r in back] == CELLS


def test_a_config_in_a_report_is_text(tmp_path: Path, write_campaign: Write) -> Any:
    answer = says({"choices": [{"message": {"content": "fine " * 9}}], "model": "</script><script>alert(1)</script>"})
    with FaultServer({"good": [answer], "fine": [answer]}) as server:
        path = write_campaign(server.url)
        assert harness("run", path, cwd=tmp_path).returncode == 0
    assert "<script>alert(1)" not in (tmp_path / "results" / "test" / "report.html").read_text("utf-8")
