"""The laws of the house, over the syntax tree: what may import what, and what is done in one place only."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from harness.inference.verdicts import Verdict
from tests.support import ROOT

HOUSE = ROOT / "harness"
FLOOR = {"records", "errors", "clock", "files", "token_logprobs"}
# Data falls in this order; a room imports from its own line and those above it, never from one below.
STOREYS = (
    FLOOR,
    {"config"},
    {"endpoints", "store", "plan", "sources"},
    {"collect"},
    {"channels"},
    {"inference"},
    {"report"},
    {"stages", "judging", "power", "readers"},
    {"campaign", "check", "monitor", "calibrate", "transfer", "evidence", "comparison", "which", "view", "references"}
    | {"order"},
    {"cli", "__main__", "__init__"},
)
NETWORK = {"socket", "ssl", "http", "urllib.request", "httpx", "httpx2", "aiohttp", "openai", "requests", "urllib3"}
SQL = re.compile(
    r"\b(SELECT .* FROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE|PRAGMA )\b", re.DOTALL
)
MOST_MODULES, MOST_IMPORTS, LONGEST, SHORTEST = 175, 22.0, 500, 40


@cache
def modules() -> dict[str, Path]:
    """Every module by its dotted name without ``harness.``; packages by their folder."""
    return {_name(p): p for p in sorted(HOUSE.rglob("*.py"))}


def _name(path: Path) -> str:
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1]) if len(parts) > 1 and parts[-1] == "__init__" else ".".join(parts)


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text("utf-8"))


def imports(name: str) -> Iterator[tuple[str, ast.stmt]]:
    """Every module that a module imports, wherever in it: ours without ``harness.``, with a leading dot."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from ((a.name, node) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            found = node.module or ""
            if found.split(".")[0] != "harness":
                yield found, node
                continue
            inside = found.removeprefix("harness").removeprefix(".")
            members = [f"{inside}.{a.name}".removeprefix(".") for a in node.names]
            for member in members:
                yield "." + (member if member in modules() else inside), node


def ours(name: str) -> set[str]:
    return {found[1:] for found, _ in imports(name) if found.startswith(".") and found[1:]}


def room(name: str) -> str:
    return name.split(".")[0]


def storey(name: str) -> int:
    return next(i for i, rooms in enumerate(STOREYS) if room(name) in rooms)


def where(offences: list[str]) -> str:
    return "\n".join(offences)


def test_every_module_has_its_storey() -> None:
    assert {room(n) for n in modules()} <= set().union(*STOREYS)


def test_records_and_errors_import_nothing_of_ours() -> None:
    assert ours("records") == ours("errors") == set()


def test_data_never_climbs() -> None:
    climbing = [f"{n} imports {m}" for n in modules() for m in ours(n) if storey(m) > storey(n)]
    assert not climbing, where(climbing)


@pytest.mark.parametrize("name", [n for n in modules() if room(n) in ("channels", "inference")])
def test_channels_and_inference_know_nothing_of_files_networks_and_pages(name: str) -> None:
    assert not {room(m) for m in ours(name)} & {"config", "store", "collect", "endpoints", "report", "plan"}


def test_one_socket() -> None:
    open_to = {"endpoints.client", "endpoints.local_server", "endpoints.engine_server"}
    found = [f"{n}: {m}" for n in modules() if n not in open_to for m, _ in imports(n)
             if m in NETWORK or m.split(".")[0] in NETWORK]  # fmt: skip
    assert not found, where(found)


def test_sql_stands_in_the_store() -> None:
    found = []
    for n in modules():
        if room(n) == "store":
            continue
        found += [f"{n}: imports sqlite3" for m, _ in imports(n) if m.split(".")[0] == "sqlite3"]
        found += [f"{n}:{c.lineno}: {c.value[:60]!r}" for c in strings(n) if SQL.search(c.value)]
    assert not found, where(found)


def strings(name: str) -> list[ast.Constant]:
    """String constants that are no docstrings."""
    docs = {id(n.value) for n in ast.walk(tree(name)) if isinstance(n, ast.Expr)}
    return [n for n in ast.walk(tree(name))
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs]  # fmt: skip


def test_verdict_words_are_made_in_one_module() -> None:
    """Elsewhere they may be the key under which a word is told, and nothing else."""
    words = set(get_args(Verdict))
    found = []
    for n in modules():
        if n == "inference.verdicts":
            continue
        keys = {id(k) for d in ast.walk(tree(n)) if isinstance(d, ast.Dict) for k in d.keys}
        if room(n) not in ("report", "inference"):
            keys = set()
        found += [f"{n}:{c.lineno}: {c.value}" for c in strings(n) if c.value in words and id(c) not in keys
                  and not _is_question_asked(n, c)]  # fmt: skip
    assert not found, where(found)


def _is_question_asked(name: str, constant: ast.Constant) -> bool:
    """A page that folds an undecided verdict's card asks for the word; it makes none."""
    return any(constant in ast.walk(n) for n in ast.walk(tree(name)) if isinstance(n, ast.Compare)) and room(name) == (
        "report"
    )


TEXTS = {"note", "sentence", "message", "text", "headline", "limit", "hint", "said", "caveat", "last_error"}


def test_no_decision_reads_a_sentence() -> None:
    """Kinds are typed: nothing asks what a sentence of ours holds. Servers' words are read where that is the job."""
    readers = {"endpoints.failures", "endpoints.quirks", "endpoints.replies", "config.yaml"}
    found = []
    for n in modules():
        if (
            room(n) not in ("inference", "report", "collect", "endpoints", "campaign", "check", "monitor")
            or n in readers
        ):
            continue
        for node in ast.walk(tree(n)):
            if asked := _sentence_read(node):
                found.append(f"{n}:{node.lineno}: {asked}")  # type: ignore[attr-defined]
    assert not found, where(found)


def _sentence_read(node: ast.AST) -> str:
    """What a node asks of a text of ours: ``x.note.startswith``, ``"abstains" in x.note``, ``"(chat)" in channel``."""
    prefix = isinstance(node, ast.Call) and _named(node.func) in ("startswith", "endswith")
    if prefix and _named(node.func.value) in TEXTS | {"channel", "kind"}:  # type: ignore[attr-defined]
        return ast.unparse(node)
    if isinstance(node, ast.Compare) and any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
        left, right = node.left, node.comparators[-1]
        literal = isinstance(left, ast.Constant) and isinstance(left.value, str)
        if literal and _named(right) in TEXTS | {"channel"}:
            return ast.unparse(node)
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Slice)
        and _named(node.value) in {"failed", "note"}
    ):
        return ast.unparse(node)
    return ""


def _named(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def test_whole_files_are_written_by_one_module() -> None:
    """Only `files` puts a file into its place; who streams into one writes to the temporary path that it gives."""
    found = []
    for n in modules():
        if n == "files":
            continue
        calls = [c for c in ast.walk(tree(n)) if isinstance(c, ast.Call)]
        found += [f"{n}:{c.lineno}: {ast.unparse(c)}" for c in calls if _puts_into_place(c)]
        if "files" not in ours(n):
            found += [f"{n}:{c.lineno}: {ast.unparse(c)}" for c in calls if _opens_for_writing(c)]
    assert not found, where(found)


def _puts_into_place(call: ast.Call) -> bool:
    """``path.replace(there)``, ``os.replace``, ``shutil.move``: `str.replace` takes two arguments."""
    name = ast.unparse(call.func)
    moved = name.endswith(".replace") and len(call.args) == 1 and not call.keywords
    return moved or name.endswith(".rename") or name in ("os.replace", "shutil.move")


def _opens_for_writing(call: ast.Call) -> bool:
    name = _named(call.func)
    modes = [a.value for a in [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
             if isinstance(a, ast.Constant) and isinstance(a.value, str)]  # fmt: skip
    opens = name == "open" and any(set(m) <= set("rwxabt+") and set(m) & set("wxa") for m in modes)
    return opens or name in ("write_text", "write_bytes")


def test_keys_are_recognised_and_cut_in_one_module() -> None:
    """Patterns of keys and the forms in which one comes back stand in config.secrets."""
    marks = re.compile(r"sk-\[|AIza|gsk_|hf_\[|\[key\]|Bearer ")
    found = [f"{n}:{c.lineno}: {c.value[:50]!r}" for n in modules() if n != "config.secrets" for c in strings(n)
             if marks.search(c.value)]  # fmt: skip
    readers = ("config.secrets", "report.html", "channels.residue")  # keys, pictures, replies that came packed
    found += [f"{n}: imports base64" for n in modules() if n not in readers for m, _ in imports(n) if m == "base64"]
    assert not found, where(found)


def test_time_comes_from_the_clock() -> None:
    asked = {"datetime.now", "datetime.utcnow", "time.time", "time.monotonic", "date.today", "datetime.datetime.now"}
    found = [f"{n}:{node.lineno}: {ast.unparse(node)}" for n in modules() if n != "clock" for node in ast.walk(tree(n))
             if isinstance(node, ast.Attribute) and ast.unparse(node) in asked]  # fmt: skip
    assert not found, where(found)


def test_no_circle() -> None:
    """Imports inside functions and under TYPE_CHECKING count: neither may hide one."""
    graph = {n: ours(n) & set(modules()) - {n} for n in modules()}
    for package in [n for n in graph if any(m.startswith(n + ".") for m in graph)]:
        graph[package] = set()  # importing a module runs its package, which is empty or a registry
    gone: set[str] = set()
    while free := {n for n in graph if n not in gone and graph[n] <= gone}:
        gone |= free
    left = {n: sorted(graph[n] - gone) for n in graph if n not in gone}
    assert not left, left


def test_no_two_modules_share_a_name() -> None:
    names = Counter(p.stem for p in modules().values() if p.stem != "__init__")
    assert not [n for n, count in names.items() if count > 1]


def test_files_are_one_noun_each() -> None:
    lines = {n: len(p.read_text("utf-8").splitlines()) for n, p in modules().items()}
    small = [n for n, count in lines.items() if count < SHORTEST and modules()[n].stem not in ("__init__", "__main__")]
    assert not small, small
    assert max(lines.values()) < LONGEST, max(lines, key=lambda n: lines[n])
    assert len(lines) <= MOST_MODULES


def test_files_lean_on_few_others() -> None:
    """Statements that import something of ours, per 1,000 lines."""
    statements = sum(len({id(node) for found, node in imports(n) if found.startswith(".")}) for n in modules())
    lines = sum(len(p.read_text("utf-8").splitlines()) for p in modules().values())
    assert 1000 * statements / lines <= MOST_IMPORTS, f"{statements} in {lines} lines"


def test_the_laws_see_what_they_forbid() -> None:
    """Each reader above finds the fault that it is for."""
    for text in ('f.note.startswith("FAILED")', '"abstains" not in e.note', '"(chat)" in channel', "failed[7:]"):
        assert _sentence_read(ast.parse(text, mode="eval").body), text
    assert not _sentence_read(ast.parse('e.part == "abstains"', mode="eval").body)
    assert SQL.search("SELECT text FROM responses")
    assert _puts_into_place(ast.parse("part.replace(path)", mode="eval").body)  # type: ignore[arg-type]
    assert not _puts_into_place(ast.parse('text.replace("a", "b")', mode="eval").body)  # type: ignore[arg-type]
    assert _opens_for_writing(ast.parse('open(path, "wb")', mode="eval").body)  # type: ignore[arg-type]


def every_pure_room() -> None:
    for name in (n for n in modules() if room(n) in ("channels", "inference")):
        test_channels_and_inference_know_nothing_of_files_networks_and_pages(name)


BROKEN = [  # what breaks which law, in which module
    (test_records_and_errors_import_nothing_of_ours, "records", "from harness.errors import HarnessError"),
    (test_data_never_climbs, "endpoints.quirks", "def late():\n    from harness.collect.context import Tally"),
    (every_pure_room, "inference.pool", "from harness.config import Campaign"),
    (every_pure_room, "channels.base", "def late():\n    from harness.store import Store"),
    (test_one_socket, "monitor", "import httpx"),
    (test_one_socket, "collect.worker", "from urllib.request import urlopen"),
    (test_sql_stands_in_the_store, "check", "import sqlite3"),
    (test_sql_stands_in_the_store, "monitor", "ASKED = 'SELECT endpoint FROM responses'"),
    (test_verdict_words_are_made_in_one_module, "inference.kinship", "def judged():\n    return 'KIN-LIKE'"),
    (test_verdict_words_are_made_in_one_module, "campaign", "TONES = {'KIN-LIKE': 1}"),
    (test_no_decision_reads_a_sentence, "inference.kinship", "FOUND = note.startswith('FAILED')"),
    (test_no_decision_reads_a_sentence, "report.figures", "COUNTED = 'abstains' not in e.note"),
    (test_no_decision_reads_a_sentence, "inference.verdicts", "CHAT = '(chat)' in channel"),
    (test_whole_files_are_written_by_one_module, "monitor", "path.write_text('')"),
    (test_whole_files_are_written_by_one_module, "transfer", "part.replace(path)"),
    (test_keys_are_recognised_and_cut_in_one_module, "endpoints.client", "KEY = 'sk-[A-Za-z0-9]{16,}'"),
    (test_keys_are_recognised_and_cut_in_one_module, "endpoints.client", "import base64"),
    (test_time_comes_from_the_clock, "cli.commands", "began = datetime.now(UTC)"),
    (test_no_circle, "records", "def late():\n    from harness.inference import pool"),
    (test_no_circle, "inference.verdicts", "if TYPE_CHECKING:\n    from harness.inference.findings import Finding"),
    (test_no_two_modules_share_a_name, "report.pool", "\n" * 50),
    (test_files_are_one_noun_each, "report.tiny", "pass"),
    (test_files_are_one_noun_each, "report.words", "\n" * 400),
    (test_files_lean_on_few_others, "report.words", "from harness import errors\n" * 90),
    (test_every_module_has_its_storey, "utils", "\n" * 50),
]


@pytest.mark.parametrize(("law", "module", "text"), BROKEN, ids=lambda x: getattr(x, "__name__", None))
def test_a_broken_law_is_found(
    law: Callable[[], None], module: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = tmp_path / "harness"
    shutil.copytree(HOUSE, house, ignore=shutil.ignore_patterns("__pycache__", "*.json", "*.j2"))
    monkeypatch.setattr(sys.modules[__name__], "HOUSE", house)
    path = house.joinpath(*module.split(".")).with_suffix(".py")
    forget()
    try:
        law()
        path.write_text((path.read_text("utf-8") if path.exists() else "") + f"\n{text}\n", "utf-8")
        forget()
        with pytest.raises(AssertionError):
            law()
    finally:
        forget()


def forget() -> None:
    modules.cache_clear()
    tree.cache_clear()
