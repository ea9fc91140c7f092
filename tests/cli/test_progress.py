"""What a run shows of itself: facts from tallies and a clock, and the same on a real terminal and in a pipe."""

from __future__ import annotations

import math
import os
import re
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from harness import run_campaign, write
from harness.cli.progress import (
    WINDOW,
    History,
    duration,
    errors,
    fact,
    line,
    scoring,
    speed,
    spent,
    step_line,
    table,
)
from harness.clock import Clock
from harness.collect.context import Tally
from tests.support import Write
from tests.support.command_line import command, harness
from tests.support.fault_server import FaultServer
from tests.support.terminals import Terminal


def tally(**values: object) -> Tally:
    return Tally(**{"planned": 100, "state": "running", **values})  # type: ignore[arg-type]


def test_the_rate_is_of_this_run_and_the_time_left_counts_failures() -> None:
    t = tally(stored=60, failed=10)
    found = fact("a", t, [(100.0, 50, 0), (110.0, 60, 10)])  # 50 are of an earlier run
    assert found.rate == pytest.approx(1.0)
    assert found.eta == pytest.approx(30 / 2)
    assert math.isnan(fact("a", t, [(110.0, 60, 10)]).rate)
    assert math.isnan(fact("a", t, []).eta)


def test_the_first_calls_are_no_waiting() -> None:
    states = [fact("a", tally(state="waiting", in_flight=n), []).state for n in (0, 1)]
    assert states == ["waiting", "first calls"]


def test_a_stall_shows() -> None:
    history, t = History(), tally()
    for second in range(200):
        t.stored = min(50, second)
        (found,) = history.look({"a": t}, float(second))
        if second == 45:
            assert found.rate == pytest.approx(1.0)
            assert found.eta == pytest.approx(55.0)
    assert found.rate == 0
    assert math.isnan(found.eta)
    assert len(history.seen["a"]) <= WINDOW + 2
    t.stored, t.failed = 90, 10
    assert history.look({"a": t}, 200.0)[0].eta == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.2, "1 s"), (61, "1 min 1 s"), (3600, "1 h 0 min"), (90000, "1 d 1 h"), (math.nan, "-")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_as_people_read_them() -> None:
    assert [speed(r) for r in (12.34, 0.5, 0.0, math.nan)] == ["12.3/s", "30.0/min", "0.0/s", "-"]
    assert [spent(fact("a", tally(tokens=n), [])) for n in (12, 1234, 5_600_000)] == [
        "12 tokens", "1.2k tokens", "5.6M tokens",
    ]  # fmt: skip
    assert [spent(fact("a", tally(tokens=9, cost=c), [])) for c in (0.0, 0.01234, 12.3)] == [
        "cost 0.0000", "cost 0.0123", "cost 12.30",
    ]  # fmt: skip
    assert errors(fact("a", tally(failed=2, retries=3), [])) == "failed 2, retries 3"


def test_a_line_holds_all_and_nothing_moves_the_cursor() -> None:
    t = tally(stored=60, failed=1, retries=2, tokens=5, cost=0.5, last_error="HTTP 500: \x1b[2Jgone")
    said = line(fact("a", t, [(0.0, 0, 0), (10.0, 60, 1)]))
    for part in ("60/100", "running", "6.0/s", "ETA 7 s", "cost 0.5000", "failed 1, retries 2", "HTTP 500"):
        assert part in said
    assert "\x1b" not in said


def test_a_wait_says_how_long_and_who_asked_for_it() -> None:
    seen = [(0.0, 0, 0), (10.0, 60, 1)]
    t = tally(stored=60, held_until=40.0, told_wait=7.0, last_error="HTTP 429: slow down")
    assert "next call in 30 s (the server asked for 7 s)" in line(fact("a", t, seen))
    for width in (79, 80):
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            console = Console(file=nowhere, width=width, height=20, record=True)
            console.print(table([fact("a", t, seen)], width, 20))
        assert "a: next call in 30 s (the server asked for 7 s); HTTP 429" in console.export_text()
    t.told_wait = 0.0
    assert "next call in 30 s  " in line(fact("a", t, seen))
    t.held_until = 10.5
    assert "next call" not in line(fact("a", t, seen))
    t.held_until, t.state = 40.0, "parked"
    assert "next call" not in line(fact("a", t, seen))


@pytest.mark.parametrize("width", [40, 60, 79, 80, 200])
def test_the_table_fits_any_terminal(width: int) -> None:
    facts = [
        fact(f"a-model-with-a-rather-long-name-{i}", tally(stored=i, failed=3, last_error="HTTP 500: x" * 9, cost=1.0),
             [(0.0, 0, 0), (10.0, i, 3)])
        for i in range(30)
    ]  # fmt: skip
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        console = Console(file=nowhere, width=width, height=20, record=True)
        console.print(table(facts, width, 20))
    lines = console.export_text().splitlines()
    assert len(lines) <= 20
    assert max(map(len, lines)) <= width
    assert "0/100" in lines[0]
    assert "more endpoints" in "".join(lines)


def _shown(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.parametrize("columns", [60, 120])
def test_on_a_terminal_facts_are_redrawn_and_the_end_says_where_the_files_are(
    columns: int, tmp_path: Path, write_campaign: Write
) -> None:
    priced = {"concurrency": 2, "price": {"input": 3000, "output": 1000}}
    with FaultServer({"good": ["500", "ok"], "fine": ["ok"]}, delay=0.2) as server:
        path = write_campaign(server.url, n=12, endpoint=priced)
        with Terminal(command("run", path), tmp_path, columns=columns) as t:
            assert t.ended() == 0, t.shown
    shown = _shown(t.shown)
    assert re.search(r"good .* [0-9.]+/s +ETA [0-9]+ s", shown)
    assert re.search(r"[0-9]+/48 answers, ETA", shown)
    assert "HTTP 500" in shown
    assert "cost 0." in shown
    drawn = re.findall(r"\d+/48 answers", shown)
    assert len(drawn) < 5 * 15  # at most five a second
    assert re.search(r"identity +good +fine +(INCONCLUSIVE|[A-Z]+-LIKE) ", shown)
    end = shown[shown.index("report:") :]
    assert "report: results/test/report.html" in end
    assert "Traceback" not in shown


def test_in_a_pipe_there_are_plain_lines_and_quiet_says_nothing(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}, delay=0.5) as server:
        path = write_campaign(server.url, n=25, endpoint={"concurrency": 2})
        done = harness("run", path, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        lines = done.stderr.splitlines()
        running = [x for x in lines if "running" in x]
        assert len(running) == 2  # one line an endpoint after ten seconds of the twelve
        assert all(re.search(r" [0-9.]+/s  ETA [0-9]+ s  [0-9.]+k? tokens", x) for x in running)
        assert "\x1b" not in done.stderr + done.stdout
        where = next(i for i, x in enumerate(lines) if x.startswith("report: "))
        assert lines[where] == "report: results/test/report.html"
        assert lines[where + 1].startswith("folder: results/test (")
        assert (tmp_path / "results" / "test" / "report.html").is_file()
        quiet = harness("run", path, "--quiet", "--json", cwd=tmp_path)
        assert (quiet.returncode, quiet.stderr) == (0, "")
        assert quiet.stdout.startswith("[")


def test_between_the_last_answer_and_the_table_it_says_what_is_scored(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=8)
        done = harness("run", path, cwd=tmp_path)
        said = [x for x in done.stderr.splitlines() if x.startswith("scoring: ")]
        assert said == ["scoring: reading the answers of test"]  # and every ten seconds, which this does not take
        again = harness("score", path, "--quiet", cwd=tmp_path)
        assert again.stderr == ""
        with Terminal(command("score", path), tmp_path) as t:
            assert t.ended() == 0, t.shown
    shown = _shown(t.shown)
    for step in ("reading the answers of test", "comparing answers by wording (", "writing report.html"):
        assert f"scoring: {step}" in shown
    assert re.search(r"judging identity of \w+ and \w+ \(0 of 1 done\)", shown)


def test_every_step_is_told_once_to_who_watches(write_campaign: Write) -> None:
    seen: list[tuple[str, str, int, int]] = []
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url, n=8)
        scores = run_campaign(path, watch=lambda *told: seen.append(told))
    write(path, scores, watch=lambda *told: seen.append(told))
    steps = [step for step, *_ in seen]
    assert list(dict.fromkeys(steps)) == ["reading", "comparing", "judging", "observing", "writing"]
    assert all(0 <= done <= of for _, _, done, of in seen)
    assert {step_line(*told) for told in seen}
    assert all("\n" not in step_line(*told) for told in seen)  # type: ignore[arg-type]


def test_lines_for_programs_come_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with scoring(quiet=False, clock=Clock(monotonic=lambda: now[0])) as watch:
        for second in range(25):
            now[0] = float(second)
            watch("judging", f"kinship of s and c{second}\x1b[2J", second, 25)
    lines = capsys.readouterr().err.splitlines()
    assert [re.search(r"\((\d+) of 25 done\)", x)[1] for x in lines] == ["0", "10", "20"]  # type: ignore[index]
    assert "\x1b" not in "".join(lines)


def test_no_color_is_kept_to(tmp_path: Path, write_campaign: Write) -> None:
    with FaultServer({"good": ["ok"], "fine": ["ok"]}) as server:
        path = write_campaign(server.url)
        with Terminal(command("run", path), tmp_path, {"NO_COLOR": "1"}) as t:
            assert t.ended() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", t.shown)
        dumb = subprocess.run(
            command("run", path), cwd=tmp_path, env={**os.environ, "TERM": "dumb"}, capture_output=True, text=True
        )
        assert "\x1b" not in dumb.stdout + dumb.stderr
