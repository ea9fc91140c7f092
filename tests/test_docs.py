"""The manual: it builds without a warning, every page is reached, nothing is fetched, its commands and files exist."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
import yaml
from pyarrow import parquet
from pydantic import TypeAdapter
from selenium.webdriver.support.ui import WebDriverWait

from harness.cli import app
from harness.config.endpoint import Endpoint
from harness.config.providers import Provider
from harness.inference.conclusion import conclusions
from harness.inference.findings import Finding
from harness.inference.verdicts import inconclusive, same_weights
from harness.report.words import concluded, sentence
from tests.support import ROOT, Write
from tests.support.fault_server import FaultServer

PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "prompts/README.md", "config.yaml")),
    *PAGES,
    *sorted((ROOT / "examples").rglob("*.yaml")),
]
PERSONS = ("journalist", "auditor", "engineer", "researcher")
REPORTS = {  # what each of the gallery's suspects is called, in this order
    "hit": ["SAME-WEIGHTS-LIKE"],
    "stranger": ["DIFFERENT-LIKE"],
    "swap": ["SAME-LIKE", "DIFFERENT-LIKE"],
    "router": ["DIFFERENT-LIKE"],
    "hub": ["INCONCLUSIVE"],
    "garbage": ["INCONCLUSIVE"],
}
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class _Page(HTMLParser):
    """What a page loads, what it links to, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {k: v or "" for k, v in attrs}
        if tag in LOADED and LOADED[tag] in found:
            self.loads.append(found[LOADED[tag]])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        self.anchors |= {found[k] for k in ("id", "name") if k in found}


def _program(name: str) -> ModuleType:
    """A program of docs/, imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the finished reports, and the page that shows them, both made now."""
    out = tmp_path_factory.mktemp("gallery")
    return out, _program("make_gallery").page(out)


@pytest.fixture(scope="module")
def site(gallery: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built manual."""
    if importlib.util.find_spec("properdocs") is None:
        pytest.skip("properdocs is not installed: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "-f", "mkdocs.yml", "-d", str(out)]
    env = {**os.environ, "HARNESS_GALLERY": str(gallery[0])}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return out


def test_every_page_is_reached_from_the_front_page(site: Path) -> None:
    seen, todo = set(), [site / "index.html"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        todo += [(page.parent / target).resolve() for target, _ in _local(_Page(page)) if target.endswith(".html")]
    reports = {f"gallery/{name}/{page}.html" for name in REPORTS for page in ("report", "answers")}
    assert {p.with_suffix(".html").name for p in PAGES} | reports == {str(p.relative_to(site)) for p in seen}


def test_no_link_is_dead(site: Path) -> None:
    pages = {p: _Page(p) for p in site.rglob("*.html") if p.name != "404.html"}
    dead = []
    for path, page in pages.items():
        for target, anchor in [*_local(page), *((load, "") for load in page.loads if not load.startswith("data:"))]:
            file = (path.parent / target).resolve() if target else path
            known = pages[file].anchors if file in pages else set()
            if not file.is_file() or (anchor and anchor not in known):
                dead.append(f"{path.name}: {target}#{anchor}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = [load for p in site.rglob("*.html") for load in _Page(p).loads]
    assert len(loads) > len(PAGES)
    assert [load for load in loads if re.match(r"(?:[a-z]+:)?//", load)] == []
    styles = "".join(p.read_text("utf-8") for p in site.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


def _local(page: _Page) -> Iterator[tuple[str, str]]:
    """File and anchor of the links that stay within the manual."""
    for link in page.links:
        if not re.match(r"[a-z]+:", link):
            target, _, anchor = link.partition("#")
            yield target, anchor


def _commands(text: str) -> Iterator[str]:
    """Every `harness ...` that a reader might type: a line of its own, the end of a comment, or code within text."""
    for line in text.splitlines():
        for part in re.split(r" && | ; ", line.removeprefix("#").strip()):
            if found := re.search(r"(?:^|: )(?:[A-Z_]+=\S+ )?(?:\S*/)?harness ([-a-z][^`]*)$", part):
                yield found[1]
    yield from re.findall(r"`(?:[A-Z_]+=\S+ )?harness ([-a-z][^`]*)`", text.replace("\n", " "))


def _fault(command: str) -> str | None:
    """What is wrong with one command, judged by the command line itself."""
    at: Any = typer.main.get_command(app)
    words = shlex.split(command, comments=True)
    while words and hasattr(at, "commands") and not words[0].startswith("-"):
        if words[0] not in at.commands:
            return f"no command {words[0]!r}"
        at = at.commands[words.pop(0)]
    known = {o for p in at.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [w for w in words if w.startswith("-") and w.split("=")[0] not in known]
    return f"no option {' '.join(unknown)}" if unknown else None


def test_the_judge_of_commands_finds_faults() -> None:
    assert _fault("run config.yaml --dry-run  # what it costs") is None
    assert _fault("prompts check x.yaml") is None
    assert _fault("rum config.yaml") == "no command 'rum'"
    assert _fault("run config.yaml --dryrun") == "no option --dryrun"
    assert list(_commands("RECORDED_DATA=x harness run a.yaml\nsee `harness check --offline`")) == [
        "run a.yaml",
        "check --offline",
    ]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_exist(path: Path) -> None:
    commands = list(_commands(path.read_text("utf-8")))
    assert {c: f for c in commands if (f := _fault(c))} == {}


def test_commands_are_looked_for_where_they_stand() -> None:
    assert len(list(_commands((ROOT / "README.md").read_text("utf-8")))) >= 8
    assert sum(len(list(_commands(p.read_text("utf-8")))) for p in TEXTS) >= 40


SOURCES = [
    p.relative_to(ROOT)
    for f in ("harness", "tests", "benchmarks", "examples", "docs")
    for p in (ROOT / f).rglob("*.py")
]


def _missing(text: str) -> set[str]:
    """Files of code that a text names, by their whole path or its end, and that are not there."""
    known = {"/" + p.as_posix() for p in SOURCES}
    named = re.findall(r"(?:\.\./)?([\w./-]*\w\.py)\b", text)
    return {name for name in named if not any(path.endswith("/" + name) for path in known)}


def test_the_judge_of_files_finds_faults() -> None:
    assert _missing("see `harness/plan.py`, `config/yaml.py`, `plan.py`, and `harness/nowhere.py`") == {
        "harness/nowhere.py"
    }
    assert _missing("`lan.py`") == {"lan.py"}


@pytest.mark.parametrize("path", [*TEXTS, *(ROOT / "benchmarks").glob("*.md")], ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(path: Path) -> None:
    assert _missing(path.read_text("utf-8")) == set()


def _nova(log10_lr: float) -> str:
    """What is said of kinship in the default campaign."""
    judged = inconclusive("too few controls")
    return sentence(
        Finding(
            "kinship",
            "nova",
            "smollm2",
            ("a", "b"),
            0.05,
            judged,
            p_value=1 / 3,
            p_floor=1 / 3,
            log10_lr=log10_lr,
            ratio_channel="wording",
        )
    )


@pytest.mark.parametrize(("page", "log10_lr"), [("docs/verdicts.md", 1.67)])
def test_a_quoted_verdict_on_kinship_is_what_the_program_says(page: str, log10_lr: float) -> None:
    text = " ".join((ROOT / page).read_text("utf-8").replace("\n> ", " ").split())
    assert _nova(log10_lr) in text


SERVED = same_weights(["logprobs (chat)"], ["logprobs (completion)"])
HIT = Finding("identity", "nova", "smollm2", ("a", "b"), 0.05, SERVED, p_value=0.0015, p_adjusted=0.0045)


def _quoted(page: str) -> str:
    return " ".join((ROOT / page).read_text("utf-8").replace("\n> ", " ").split())


def test_a_quoted_conclusion_with_kinship_is_what_the_program_says() -> None:
    few = inconclusive("too few controls")
    kinship = replace(HIT, question="kinship", judgement=few, p_value=1 / 3, p_adjusted=1 / 3)
    (found,) = conclusions([kinship, HIT])
    assert concluded(found) in _quoted("docs/verdicts.md")


def test_the_gallery_is_what_its_reports_say(gallery: tuple[Path, str]) -> None:
    out, made = gallery
    assert (ROOT / "docs" / "gallery.md").read_text("utf-8") == made, "python docs/make_gallery.py"
    for part, (name, verdicts) in zip(made.split("\n## ")[1:], REPORTS.items(), strict=True):
        assert part.lower().startswith(f"{name}\n")
        assert re.findall(r"\* `([A-Z-]+)`", part) == verdicts
        report = (out / name / "report.html").read_text("utf-8")
        assert [v for v in verdicts if v not in report] == []
        assert f"gallery/{name}/report.html" in part


def test_the_hub_of_the_gallery_is_the_most_similar_and_no_kin(gallery: tuple[Path, str]) -> None:
    with (gallery[0] / "hub" / "pairs.csv").open(newline="", encoding="utf-8") as f:
        pairs = [r for r in csv.DictReader(f) if r["channel"] == "wording"]
    hub = {r["b"]: r for r in pairs if r["a"] == "common"} | {r["a"]: r for r in pairs if r["b"] == "common"}
    others = [r for r in pairs if "common" not in (r["a"], r["b"]) and "broken" not in (r["a"], r["b"])]
    assert len(others) > 30
    assert float(hub["north"]["raw"]) > max(float(r["raw"]) for r in others)
    assert float(hub["north"]["residual"]) < max(float(r["residual"]) for r in others)


def test_made_up_answers_are_those_that_their_program_makes() -> None:
    folder = ROOT / "examples" / "gallery"
    made = runpy.run_path(str(folder / "make.py"))
    assert (folder / "made.jsonl").read_text("utf-8") == "".join(json.dumps(r) + "\n" for r in made["rows"]())
    assert parquet.read_table(folder / "router.parquet").to_pylist() == made["routed"]()


def test_the_default_campaign_prints_what_the_manual_shows() -> None:
    printed = _program("make_outputs").printed()
    for page in ("README.md", "docs/first-campaign.md"):
        assert printed in (ROOT / page).read_text("utf-8"), f"{page}: python docs/make_outputs.py"


def test_cases_of_the_readme_are_those_of_the_manual() -> None:
    maker = _program("make_outputs")
    readme, manual = (_table(ROOT / page, "cases") for page in ("README.md", "docs/cases.md"))
    assert len(readme) == maker.FEW + 2
    assert manual[: len(readme)] == readme
    assert [row.split(" | ")[:4] for row in manual[2:]] == [
        [f"| {c.names[0]}", c.names[1], c.known, c.question] for c in maker.CASES
    ]


def _table(page: Path, name: str) -> list[str]:
    (found,) = re.findall(rf"<!-- {name}: [^>]*-->(.*?)<!-- /{name} -->", page.read_text("utf-8"), re.DOTALL)
    return found.strip().splitlines()


def test_a_reader_finds_every_first_page_from_the_readme_in_one_look() -> None:
    wanted = (*PERSONS, "files", "which-model", "swapping", "verdicts", "gallery", "troubleshooting", "faq")
    top = "\n".join((ROOT / "README.md").read_text("utf-8").splitlines()[:40])
    assert [w for w in wanted if f"](docs/{w}.md)" not in top] == []
    front = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert [w for w in wanted if f"]({w}.md)" not in front] == []


@pytest.mark.parametrize("name", [*PERSONS, "which-model", "swapping"])
def test_a_first_page_is_one_screen(name: str) -> None:
    text = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
    assert len(text.splitlines()) <= 40
    assert len(text) <= 3200


Said = tuple[re.Pattern[str], str]


def _said() -> list[Said]:
    """Every text that the program can say: with a wildcard where it puts something in, and as it may come out."""
    out = []
    for path in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else None for p in parts]
            fixed = [re.sub(r"\{[^{}]*\}", "\0", t) if t else "\0" for t in texts]
            if sum(len(re.sub(r"\W", "", t)) for t in fixed) >= FEWEST_LETTERS:
                out.append(_text(*"".join(fixed).split("\0")))
    return out


def _text(*fixed: str) -> Said:
    """A text of the program by its fixed parts; quotes of code are not shown on a page."""
    return re.compile(".*?".join(map(re.escape, fixed)), re.DOTALL), "X".join(fixed).replace("`", "")


FEWEST_LETTERS = 8
MESSAGE = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def _unsaid(message: str, said: list[Said]) -> bool:
    """Whether no text of the program holds all of a message, or is held whole in it."""
    quoted = re.compile(".*?".join(map(re.escape, message.split("..."))), re.DOTALL)
    return not any(quoted.search(shown) or pattern.fullmatch(message) for pattern, shown in said)


def test_the_judge_of_messages_finds_faults() -> None:
    said = [_text("", ": another run is writing here"), _text("no channel has enough"), _text("has no `text` or ", " ")]
    assert not _unsaid("...: another run is writing here", said)
    assert not _unsaid("no channel has enough", said)
    assert not _unsaid("has no text or ...", said)
    assert _unsaid("...: another run was writing here", said)
    assert _unsaid("no channel has ... enough of it", said)


def test_every_message_of_the_troubleshooting_page_can_be_said() -> None:
    messages = MESSAGE.findall((ROOT / "docs" / "troubleshooting.md").read_text("utf-8"))
    said = _said()
    assert len(messages) >= 30
    assert [m for m in messages if _unsaid(m, said)] == []


def test_the_manual_is_searched_from_the_disk(site: Path, page: Any) -> None:
    page.get((site / "journalist.html").as_uri())
    script = (
        "const e = document.getElementById('properdocs-search-query'); e.value = arguments[0];"
        "e.dispatchEvent(new Event('input'))"
    )
    found = "return [...document.querySelectorAll('#properdocs-search-results a')].map(a => a.href)"
    for words, wanted in (("parked", "troubleshooting.html"), ("swapping provider", "swapping.html")):
        page.execute_script(script, words)
        WebDriverWait(page, 20).until(lambda p: p.execute_script(found))
        links = page.execute_script(found)
        assert [link for link in links if not Path(unquote(urlsplit(link).path)).is_file()] == []
        assert any(wanted in link for link in links[:5])
    page.execute_script(script, "zzzyyyxxx")
    assert page.execute_script(found) == []


@pytest.mark.parametrize("preset", ["brief", "kinship", "swap"])
def test_calls_of_a_preset_are_as_many_as_the_questions_page_says(preset: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness"]
    subprocess.run([*command, "init", "--preset", preset, "."], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([*command, "check", "--offline"], cwd=tmp_path, check=True, capture_output=True, text=True)
    (calls,) = re.findall(r"at most (\d+) calls", done.stderr)
    assert f"{int(calls):,}" in (ROOT / "docs" / "faq.md").read_text("utf-8")


def test_blocks_of_python_run_as_they_stand(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "gallery", tmp_path / "examples" / "gallery")
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "researcher.md").read_text("utf-8"), re.DOTALL)
    *code, last = block.strip().splitlines()
    program = "\n".join([*code, f"print({last}[['a', 'b']].to_csv())"])
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("common") == 5


def test_blocks_of_yaml_say_what_is_known() -> None:
    blocks = [
        yaml.safe_load(block)
        for page in PAGES
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]
    presets = [b for b in blocks if isinstance(b, dict) and any("api_key_env" in str(v) for v in b.values())]
    assert len(presets) == 1
    assert TypeAdapter(dict[str, Provider]).validate_python(presets[0])["some-provider"].top_logprobs == 5
    endpoints = [e for b in blocks if isinstance(b, list) for e in b if "role" in e]
    assert len(endpoints) >= 3
    for endpoint in endpoints:
        TypeAdapter[Endpoint](Endpoint).validate_python(endpoint)


def test_the_example_channel_is_found_and_used(tmp_path: Path, write_campaign: Write) -> None:
    """Its package as pip would leave it: the module, and the entry points that its pyproject.toml declares."""
    source, folder = ROOT / "examples" / "channel", tmp_path / "installed"
    project = tomllib.loads((source / "pyproject.toml").read_text("utf-8"))
    told = folder / "harness_lengths-0.1.0.dist-info"
    told.mkdir(parents=True)
    shutil.copy(source / "harness_lengths.py", folder)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: harness-lengths\nVersion: 0.1.0\n", "utf-8")
    points = project["project"]["entry-points"]["harness.channels"]
    lines = "".join(f"{name} = {target}\n" for name, target in points.items())
    (told / "entry_points.txt").write_text(f"[harness.channels]\n{lines}", "utf-8")
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        config = write_campaign(server.url, n=4)
        code = (
            f"import sys; sys.path.insert(0, {str(folder)!r})\n"
            "from harness import run_campaign\n"
            f"scores = run_campaign({str(config)!r})\n"
            "found = {s.channel: s for s in scores.similarities}\n"
            "print(sorted(found), found['lengths'].sees, found['lengths'].values.shape)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'lengths'" in done.stdout
    assert "reported" in done.stdout
