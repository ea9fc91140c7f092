"""Checking a campaign before a run: `harness check` (endpoints, warnings) and `run --dry-run` (calls, tokens, cost)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.collect.context import cost_of, price_of, tokens_in
from harness.collect.preflight import Capability, capabilities, recall, remember
from harness.config import (
    Called,
    Campaign,
    Endpoint,
    Local,
    Recorded,
    Remote,
    environment,
    open_to_others,
    require_keys,
)
from harness.endpoints import UNKNOWN, Quirks, jobs, model_name, path_of, provider_of
from harness.errors import EndpointError, StoreError
from harness.inference.excess import controls_needed, smallest_p
from harness.plan import Plan
from harness.records import Job, Key, Surface
from harness.report.text import plain
from harness.store import Store

COLUMNS = ("endpoint", "role", "kind", "state", "model", "logprobs", "usage", "system", "reasoning", "refused")
ENOUGH = 8  # control lineages for a steady verdict
MONTHS = 18  # between releases
TIMES = 8.0  # in parameters


def check_endpoints(
    plan: Plan, environ: Mapping[str, str], *, offline: bool, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """One row an endpoint, in the order of the config; ``state`` says whether it answers.

    Called endpoints are asked one small question, and again without whatever they refuse. `EndpointError` for a key
    that is not set. Nothing is contacted or written if ``offline``.
    """
    environ = environment(plan.campaign, plan.base, environ)
    remote = [e for e in plan.campaign.endpoints if isinstance(e, Remote)]
    if offline:
        found: dict[str, Capability] = {}
    else:
        if remote:
            say(f"asking {len(remote)} endpoints; each has {plan.campaign.collect.call_timeout:g} s to answer")
        require_keys(remote, environ)
        answers = asyncio.run(capabilities(remote, plan.prompts, plan.campaign.collect, environ))
        found = {e.name: c for e, c in zip(remote, answers, strict=True)}
        _note(plan, remote, found)
    return [_row(e, found.get(e.name)) for e in plan.campaign.endpoints]


def raise_unusable(rows: Sequence[Mapping[str, Any]]) -> None:
    """`EndpointError` that names every endpoint which does not answer."""
    broken = [r for r in rows if r.get("error")]
    if broken:
        said = "; ".join(f"{r['endpoint']}: {r['error']}" for r in broken)
        raise EndpointError(said, broken[0]["hint"] or "is the server up, and `base_url` and `model` right?")


def _note(plan: Plan, remote: Sequence[Remote], found: Mapping[str, Capability]) -> None:
    with contextlib.suppress(StoreError), Store(plan.store) as store:  # a run going on learns for itself
        answered = store.answered_endpoints()
        for e in remote:
            # Other limits are other requests: what is answered already would be asked and paid again.
            if found[e.name].answers and e.name not in answered:
                remember(store, e, found[e.name].quirks)


def _row(endpoint: Any, found: Capability | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"endpoint": endpoint.name, "role": endpoint.role, "lineage": endpoint.lineage, "kind": endpoint.kind}
    if found is None:
        is_local = isinstance(endpoint, Local)
        state = (
            f"local, {model_name(endpoint)}" if is_local else "not contacted" if isinstance(endpoint, Remote) else ""
        )
        return row | {"state": state or "recorded"}
    if not found.answers:
        return row | {"state": "does not answer", "error": found.error, "hint": found.hint}
    return row | {
        "state": f"up, {found.seconds:.1f} s",
        "model": found.model,
        "logprobs": str(found.logprobs),
        "usage": "yes" if found.usage else "missing",
        "system": found.system,
        "reasoning": found.reasoning,
        "refused": " ".join(found.refused),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned columns; what a server says is cleaned for the terminal."""
    cells = [list(COLUMNS), *([plain(str(r[c])) or "-" for c in COLUMNS] for r in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def dry_run_rows(plan: Plan) -> list[dict[str, Any]]:
    """Per called endpoint: calls, how many are stored, tokens and cost, and one request of each surface in full.

    Tokens of prompts are estimated (characters by four), those of answers are the most that is allowed; so is the
    cost, None where the config has no price.
    """
    path = plan.store
    called = [e for e in plan.campaign.endpoints if isinstance(e, Called)]
    if not path.is_file():
        return [_dry_run_row(plan, e, UNKNOWN, lambda _: False) for e in called]
    with Store(path, readonly=True) as store:
        return [_dry_run_row(plan, e, recall(store, e), store.answered) for e in called]


def _dry_run_row(plan: Plan, endpoint: Called, quirks: Quirks, answered: Callable[[Key], bool]) -> dict[str, Any]:
    most = {p.id: p.max_tokens or 0 for p in plan.prompts}
    planned = stored = prompt_tokens = max_tokens = 0
    first: dict[Surface, Job] = {}
    for job in jobs(endpoint, plan.prompts, model_name(endpoint), quirks):
        planned += 1
        first.setdefault(job.surface, job)
        if answered(job.key):
            stored += 1
        else:
            prompt_tokens += tokens_in(job.body)
            max_tokens += most[job.prompt]
    price = price_of(endpoint)
    return {
        "endpoint": endpoint.name,
        "calls": planned,
        "stored": stored,
        "to_ask": planned - stored,
        "prompt_tokens": prompt_tokens,
        "max_tokens": max_tokens,
        "max_cost": round(cost_of(price, prompt_tokens, max_tokens), 6) if price else None,
        "requests": [{"path": path_of(endpoint, s), "body": j.body.decode()} for s, j in sorted(first.items())],
    }


def dry_run_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """What a run would ask: calls and tokens per endpoint, and the first request to each, word for word."""
    lines = [
        f"{'endpoint':24} {'calls':>7} {'stored':>7} {'to ask':>7} {'prompt tokens':>14} {'most answer tokens':>19} "
        f"{'most cost':>10}"
    ]
    for r in rows:
        cost = "no price" if r["max_cost"] is None else f"{r['max_cost']:.4f}"
        lines.append(
            f"{r['endpoint']:24} {r['calls']:7} {r['stored']:7} {r['to_ask']:7} {r['prompt_tokens']:14} "
            f"{r['max_tokens']:19} {cost:>10}"
        )
    lines.append("prompt tokens are estimated: characters by four")
    for row in rows:
        lines += [f"\n{row['endpoint']} POST {r['path']}\n  {plain(r['body'])}" for r in row["requests"]]
    return "\n".join(lines)


def warnings(plan: Plan) -> list[str]:
    """What will limit the verdict, said before money is spent."""
    a = plan.campaign.analysis
    notes = [w] if (w := open_to_others(plan.campaign, plan.base)) else []
    for candidate in (e for e in plan.campaign.endpoints if e.role == "candidate"):
        lineages = {e.lineage for e in plan.campaign.endpoints if e.role == "control"} - {candidate.lineage}
        if "kinship" in a.questions and (floor := smallest_p(len(lineages))) > a.alpha:
            notes.append(
                f"{len(lineages)} control lineages for {candidate.name}: p cannot be below {floor:.2g}; "
                f"{controls_needed(a.alpha)} are needed for {a.alpha:g}"
            )
        elif "kinship" in a.questions and len(lineages) < ENOUGH:
            notes.append(f"{len(lineages)} control lineages for {candidate.name}: {ENOUGH} or more are steadier")
        notes += unlike_controls(plan.campaign, candidate)
    loose = [e for e in plan.campaign.endpoints if isinstance(e, Remote) and provider_of(e).pins_upstream]
    if loose := [e for e in loose if not e.upstream]:
        routers, names = ", ".join(sorted({str(e.provider) for e in loose})), ", ".join(e.name for e in loose)
        notes.append(f"{routers} may answer from several providers; `upstream:` pins one. Not pinned: {names}")
    if examples := [e.name for e in plan.campaign.endpoints if isinstance(e, Remote) and "example.com" in e.base_url]:
        notes.append(f"not filled in yet: `base_url` of {', '.join(examples)} is the example's")
    notes += unlike_temperatures(plan)
    if any(isinstance(e, Recorded) for e in plan.campaign.endpoints) and "identity" in a.questions:
        samples = {p.samples for p in plan.prompts}
        if samples == {1}:
            notes.append("one sample a prompt: identity cannot be tested")
    return notes


def unlike_temperatures(plan: Plan) -> list[str]:
    """Warnings where logprobs are asked for at another temperature than 1: servers report them before or after it."""
    notes = []
    if families := sorted({p.family for p in plan.prompts if p.top_logprobs and p.temperature not in (None, 1)}):
        notes.append(
            f"logprobs at another temperature than 1 ({', '.join(families)}): some servers report them after it; they "
            "count only where the answers show that this one does not; `temperature: 1` avoids it"
        )
    heated = [e.name for e in plan.called if e.params.get("temperature", 1) != 1]
    if heated and any(p.top_logprobs for p in plan.prompts):
        notes.append(
            f"`params` ask {', '.join(heated)} for another temperature than the prompts do; its logprobs may not count"
        )
    return notes


def unlike_controls(campaign: Campaign, candidate: Endpoint) -> list[str]:
    """Warnings from what the config says of candidate and controls; what it leaves out is not judged."""
    controls = [e for e in campaign.endpoints if e.role == "control" and e.lineage != candidate.lineage]
    traits: list[tuple[str, Callable[[Endpoint], bool | None]]] = [
        (f"released more than {MONTHS} months from it", lambda e: _far_in_time(e, candidate)),
        (f"more than {TIMES:g} times smaller or larger", lambda e: _far_in_size(e, candidate)),
        ("unlike it in reasoning before they answer", lambda e: _differ(e.reasoning, candidate.reasoning)),
    ]
    notes = []
    for what, unlike in traits:
        judged = [(e.name, u) for e in controls if (u := unlike(e)) is not None]
        far = [name for name, u in judged if u]
        if judged and len(far) * 2 > len(judged):
            notes.append(
                f"controls of {candidate.name} that are {what}: {', '.join(far)}; prefer some that resemble it"
            )
    vendors = [e.vendor.casefold() for e in controls if e.vendor]
    if len(vendors) > 2 and max(map(vendors.count, vendors)) * 2 > len(vendors):
        most = max(vendors, key=vendors.count)
        notes.append(f"most controls of {candidate.name} are of one maker ({most}): kin of one another hide its kin")
    return notes


def _far_in_time(e: Endpoint, candidate: Endpoint) -> bool | None:
    if not e.released or not candidate.released:
        return None
    a, b = ([int(x) for x in day.split("-")] for day in (e.released, candidate.released))
    return abs((a[0] - b[0]) * 12 + a[1] - b[1]) > MONTHS


def _far_in_size(e: Endpoint, candidate: Endpoint) -> bool | None:
    if not e.parameters_b or not candidate.parameters_b:
        return None
    return max(e.parameters_b / candidate.parameters_b, candidate.parameters_b / e.parameters_b) > TIMES


def _differ(a: bool | None, b: bool | None) -> bool | None:
    return None if a is None or b is None else a != b
