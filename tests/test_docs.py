"""The manual: it builds without a warning, every page is reached, nothing is fetched, its commands and files exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import TypeAdapter

from harness.cli import app
from harness.config.endpoint import Endpoint
from harness.config.providers import Provider
from harness.inference.conclusion import conclusions
from harness.inference.findings import ChannelEvidence, Finding
from harness.inference.verdicts import different, inconclusive, same_weights
from harness.records import Surface
from harness.report.words import concluded, sentence
from tests.support import ROOT, Write
from tests.support.fault_server import FaultServer

PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "prompts/README.md", "config.yaml")),
    *PAGES,
    *sorted((ROOT / "examples").rglob("*.yaml")),
]
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built manual."""
    if importlib.util.find_spec("properdocs") is None:
        pytest.skip("properdocs is not installed: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "-f", "mkdocs.yml", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
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
    assert {p.with_suffix(".html").name for p in PAGES} == {p.name for p in seen}


def test_no_link_is_dead(site: Path) -> None:
    pages = {p: _Page(p) for p in site.glob("*.html") if p.name != "404.html"}
    dead = []
    for path, page in pages.items():
        for target, anchor in [*_local(page), *((load, "") for load in page.loads)]:
            file = (path.parent / target).resolve() if target else path
            known = pages[file].anchors if file in pages else set()
            if not file.is_file() or (anchor and anchor not in known):
                dead.append(f"{path.name}: {target}#{anchor}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = [load for p in site.glob("*.html") for load in _Page(p).loads]
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


@pytest.mark.parametrize(
    ("page", "tells", "silent", "p"),
    [
        ("README.md", ["logprobs"], ["logprobs"], 0.0015),
        ("docs/first-campaign.md", ["logprobs"], ["logprobs"], 0.0015),
    ],
)
def test_a_quoted_verdict_on_identity_is_what_the_program_says(
    page: str, tells: list[str], silent: list[str], p: float
) -> None:
    judged = same_weights([f"{c} (chat)" for c in tells], [f"{c} (completion)" for c in silent])
    raw = ChannelEvidence("logprobs", "samples", "MMD squared", 40, 1.0, raw=0, control_low=0.255, surface="completion")
    said = sentence(
        Finding("identity", "nova", "smollm2", ("a", "b"), 0.05, judged, p_value=p, p_weights=0.7**40, evidence=(raw,))
    )
    assert said in " ".join((ROOT / page).read_text("utf-8").split())


SERVED = same_weights(["logprobs (chat)"], ["logprobs (completion)"])
HIT = Finding("identity", "nova", "smollm2", ("a", "b"), 0.05, SERVED, p_value=0.0015, p_adjusted=0.0045)


def _views(*views: tuple[str, Surface]) -> tuple[ChannelEvidence, ...]:
    return tuple(ChannelEvidence(c, "samples", "MMD squared", 20, 1.0, surface=s) for c, s in views)


def _quoted(page: str) -> str:
    return " ".join((ROOT / page).read_text("utf-8").replace("\n> ", " ").split())


@pytest.mark.parametrize("page", ["README.md", "docs/first-campaign.md"])
def test_quoted_conclusions_are_what_the_program_says(page: str) -> None:
    told = ["text (chat)", "logprobs (chat)", "logprobs (completion)"]
    apart = different(told, [], only_chat=False)
    raw = _views(("text", "chat"), ("logprobs", "chat"), ("logprobs", "completion"))
    stranger = replace(HIT, suspect="orion", judgement=apart, evidence=raw)
    weak = inconclusive("not shown to be the same", ["text (chat)"])
    open_ = replace(HIT, suspect="lyra", judgement=weak, evidence=_views(("text", "chat")), p_adjusted=0.44)
    for c in conclusions([HIT, stranger, open_]):
        assert concluded(c) in _quoted(page)


def test_a_quoted_conclusion_with_kinship_is_what_the_program_says() -> None:
    few = inconclusive("too few controls")
    kinship = replace(HIT, question="kinship", judgement=few, p_value=1 / 3, p_adjusted=1 / 3)
    (found,) = conclusions([kinship, HIT])
    assert concluded(found) in _quoted("docs/verdicts.md")


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
