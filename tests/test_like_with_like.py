"""Like with like: what a host, a gateway or a file adds changes no verdict between two models, or is named.

Whole campaigns over a real socket: suspect and candidate behind the same odd host, six controls behind plain ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from harness import run_campaign
from harness.check import check_endpoints
from harness.inference.findings import Finding
from harness.plan import prepare
from tests.support.odd_server import OddServer, says

CONTROLS = 6
EVERYDAY = {"set": "everyday", "limit": 24, "max_tokens": 30}
TEXT = (EVERYDAY,)
RAW = (EVERYDAY, {"set": "stubs", "limit": 24, "samples": 2})
LOGPROBS = (EVERYDAY, {"set": "choices", "limit": 12, "samples": 3})
COOL = ({"set": "choices", "limit": 12, "samples": 4, "temperature": 0.5},)
SAME = "alpha@candidate"
KIN, STRANGER = "alpha@suspect", "gamma@suspect"


def campaign(url: str, suspect: str, prompts: Sequence[Any], questions: Sequence[str]) -> dict[str, Any]:
    models = {"suspect": suspect, "candidate": "odd|alpha@candidate"}
    models |= {f"control-{i}": f"plain|root{i}@control" for i in range(CONTROLS)}
    endpoints = [
        {"name": name, "role": name.split("-")[0], "lineage": model.split("|")[1].split("@")[0], "model": model}
        for name, model in models.items()
    ]
    common = {"kind": "openai-chat", "base_url": url, "surfaces": ["chat", "completion"], "params": {"seed": 1}}
    return {
        "campaign": f"like-{urlsplit(url).port}",  # each host is another address, and no answer of one is another's
        "prompts": list(prompts),
        "endpoints": [{**e, **common} for e in endpoints],
        "analysis": {"questions": list(questions), "permutations": 300, "bootstrap": 100},
    }


def found(folder: Path, suspect: str, quirks: Sequence[str], prompts: Sequence[Any], *questions: str) -> list[Finding]:
    """Findings of a campaign whose suspect and candidate stand behind a host with these quirks.

    Of one and the same model the suspect alone does.
    """
    host = "odder" if suspect == SAME else "odd"
    hosts = {"odd|alpha@candidate": quirks if host == "odd" else (), f"{host}|{suspect}": quirks}
    hosts |= {f"plain|root{i}@control": () for i in range(CONTROLS)}
    with OddServer(hosts) as server:
        config = campaign(server.url, f"{host}|{suspect}", prompts, questions or ("kinship",))
        (path := folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return list(run_campaign(path).findings)


FAR = ("no closer", "base not excluded", "not unusual enough")


def said(finding: Finding) -> str:
    """The verdict; of strangers, whom text seldom clears of a shared base, that nothing makes them kin."""
    return "far" if finding.judgement.ground in FAR else finding.verdict


@cache
def _plain(folder: Path, suspect: str, prompts: str, *questions: str) -> tuple[str, ...]:
    return tuple(map(said, found(folder, suspect, (), json.loads(prompts), *questions)))


@pytest.fixture
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Verdicts of the same pair behind a plain host."""
    folder = tmp_path_factory.getbasetemp()
    return lambda suspect, prompts, *questions: _plain(folder, suspect, json.dumps(prompts), *questions)


NAMING = ("taken out", "low coverage", "no samples")


def named(finding: Finding) -> bool:
    """Cannot tell, and says that it is for what the host did: what was taken out, or that nothing was left."""
    return finding.verdict == "INCONCLUSIVE" and any(c.kind in NAMING for c in finding.caveats)


def test_the_pairs_are_what_they_are_called(plain: Any) -> None:
    assert plain(SAME, COOL, "identity")[0] in ("SAME-LIKE", "INCONCLUSIVE")  # logprobs at .5 are of unknown scale
    for prompts in (TEXT, RAW, LOGPROBS):
        assert plain(STRANGER, prompts) == ("far",)
        assert plain(KIN, prompts)[0] in ("KIN-LIKE", "KIN-OR-TAUGHT")


@pytest.mark.parametrize("suspect", [STRANGER, KIN])
@pytest.mark.parametrize(
    ("quirks", "prompts"),
    [
        (["echo"], RAW),
        (["footer"], TEXT),
        (["details"], TEXT),
        (["thought parts"], TEXT),
        (["thinking parts"], TEXT),
        (["html"], TEXT),
        (["footer", "details"], TEXT),
    ],
)  # fmt: skip
def test_a_host_changes_no_verdict(suspect: str, quirks: list[str], prompts: Any, plain: Any, tmp_path: Path) -> None:
    (finding,) = found(tmp_path, suspect, quirks, prompts)
    assert said(finding) == plain(suspect, prompts)[0] or named(finding)


@pytest.mark.parametrize("suspect", [STRANGER, KIN])
@pytest.mark.parametrize("quirk", ["thought logprobs", "broken characters"])
def test_logprobs_of_a_host_change_no_verdict(suspect: str, quirk: str, plain: Any, tmp_path: Path) -> None:
    findings = found(tmp_path, suspect, [quirk], LOGPROBS, "kinship", "identity")
    expected = plain(suspect, LOGPROBS, "kinship", "identity")
    for finding, verdict in zip(findings, expected, strict=True):
        kin = verdict == "KIN-LIKE" and finding.verdict == "KIN-OR-TAUGHT"  # without logprobs, by text alone
        assert said(finding) == verdict or kin or named(finding)


def test_scaled_logprobs_make_no_other_model(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, SAME, ["scaled logprobs"], COOL, "identity")
    assert finding.verdict == "SAME-LIKE" or named(finding)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_rows_written_twice_make_no_other_model(times: int, tmp_path: Path) -> None:
    models = {"suspect": "alpha@x", "candidate": "alpha@x", **{f"control-{i}": f"root{i}@x" for i in range(CONTROLS)}}
    lines = [
        json.dumps({"model": name, "prompt_id": f"p{p}", "prompt": f"Tell me about {p}", "output": text})
        for k, (name, model) in enumerate(models.items())
        for p in range(24)
        for sample in range(6)
        for text in [says(model, f"q{p}", 10 * k + sample, 50)] * times
    ]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    endpoints = [
        {"name": n, "role": n.split("-")[0], "lineage": m.split("@")[0], "kind": "recorded", "path": "answers.jsonl"}
        for n, m in models.items()
    ]
    analysis = {"questions": ["identity"], "permutations": 300, "bootstrap": 100}
    config = {"campaign": "twice", "prompts": [{"set": "recorded"}], "endpoints": endpoints, "analysis": analysis}
    (path := tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (finding,) = run_campaign(path).findings
    assert finding.verdict == "SAME-LIKE", finding.p_value
    told = [c for c in finding.caveats if c.kind == "taken out" and c.channel == "rows written twice"]
    assert len(told) == (2 if times > 1 else 0)


def test_check_shows_what_a_host_adds(tmp_path: Path) -> None:
    hosts = {"plain|a@1": [], "odd|b@1": ["echo"], "odd|c@1": ["details"], "odd|d@1": ["thought parts"]}
    with OddServer(hosts) as server:
        endpoints = [
            {
                "name": f"e{i}",
                "role": "control" if i > 1 else ("suspect", "candidate")[i],
                "lineage": f"l{i}",
                "kind": "openai-chat",
                "base_url": server.url,
                "model": model,
                "surfaces": ["completion"] if "echo" in hosts[model] else ["chat"],
            }
            for i, model in enumerate(hosts)
        ]
        config = {"campaign": "check", "prompts": list(RAW), "endpoints": endpoints}
        (path := tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        rows = check_endpoints(prepare(path, {}), {}, offline=False)
    assert [(r["beside"], r["reasoning"]) for r in rows] == [
        ("", ""),
        ("prompt echo", ""),
        ("thoughts", "in the answer"),
        ("", "parts"),
    ]
