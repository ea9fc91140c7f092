"""``harness check``: is every endpoint there, and what can it do? What it refuses is noted for the run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.collect.budget import cost_of, price_of, tokens_in
from harness.collect.preflight import Calls, Capability, capabilities, recall, remember
from harness.config.schema import Called, Local, Recorded, Remote
from harness.config.secrets import environment, open_to_others, require_keys
from harness.endpoints.apis import model_name, path_of, provider_of
from harness.errors import EndpointError, StoreError
from harness.inference.control_match import ENOUGH, described
from harness.inference.excess import controls_needed, smallest_p
from harness.plan import STORE, Plan
from harness.records import Job, Surface
from harness.store.store import Store

COLUMNS = ("endpoint", "role", "kind", "state", "model", "logprobs", "usage", "system", "reasoning", "refused")


def check_endpoints(plan: Plan, environ: Mapping[str, str], *, offline: bool) -> list[dict[str, Any]]:
    """One row an endpoint, in the order of the config; ``state`` says whether it answers.

    Called endpoints are asked one small question, and again without whatever they refuse. `EndpointError` for a key
    that is not set. Nothing is contacted or written if ``offline``.
    """
    environ = environment(plan.campaign, plan.base, environ)
    remote = [e for e in plan.campaign.endpoints if isinstance(e, Remote)]
    if offline:
        found: dict[str, Capability] = {}
    else:
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
    with contextlib.suppress(StoreError), Store(plan.folder / STORE) as store:  # a run going on learns for itself
        answered = {name for (name,) in store.rows("responses", "SELECT DISTINCT endpoint FROM responses")}
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
    from harness.report.text import plain

    cells = [list(COLUMNS), *([plain(str(r[c])) or "-" for c in COLUMNS] for r in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def dry_run_rows(plan: Plan) -> list[dict[str, Any]]:
    """Per called endpoint: calls, how many are stored, tokens and cost, and one request of each surface in full.

    Tokens of prompts are estimated (characters by four), those of answers are the most that is allowed; so is the
    cost, None where the config has no price.
    """
    path = plan.folder / STORE
    called = [e for e in plan.campaign.endpoints if isinstance(e, Called)]
    if not path.is_file():
        return [_dry_run_row(plan, Calls(e, plan.prompts)) for e in called]
    with Store(path, readonly=True) as store:
        return [_dry_run_row(plan, Calls(e, plan.prompts, store.answered, recall(store, e))) for e in called]


def _dry_run_row(plan: Plan, calls: Calls) -> dict[str, Any]:
    most = {p.id: p.max_tokens or 0 for p in plan.prompts}
    planned = stored = prompt_tokens = max_tokens = 0
    first: dict[Surface, Job] = {}
    for job in calls.jobs():
        planned += 1
        first.setdefault(job.surface, job)
        if calls.answered(job.key):
            stored += 1
        else:
            prompt_tokens += tokens_in(job.body)
            max_tokens += most[job.prompt]
    price = price_of(calls.endpoint)
    return {
        "endpoint": calls.endpoint.name,
        "calls": planned,
        "stored": stored,
        "to_ask": planned - stored,
        "prompt_tokens": prompt_tokens,
        "max_tokens": max_tokens,
        "max_cost": round(cost_of(price, prompt_tokens, max_tokens), 6) if price else None,
        "requests": [{"path": path_of(calls.endpoint, s), "body": j.body.decode()} for s, j in sorted(first.items())],
    }


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
        notes += described(plan.campaign, candidate)
    loose = [e for e in plan.campaign.endpoints if isinstance(e, Remote) and provider_of(e).pins_upstream]
    if loose := [e for e in loose if not e.upstream]:
        routers, names = ", ".join(sorted({str(e.provider) for e in loose})), ", ".join(e.name for e in loose)
        notes.append(f"{routers} may answer from several providers; `upstream:` pins one. Not pinned: {names}")
    if examples := [e.name for e in plan.campaign.endpoints if isinstance(e, Remote) and "example.com" in e.base_url]:
        notes.append(f"not filled in yet: `base_url` of {', '.join(examples)} is the example's")
    if any(isinstance(e, Recorded) for e in plan.campaign.endpoints) and "identity" in a.questions:
        samples = {p.samples for p in plan.prompts}
        if samples == {1}:
            notes.append("one sample a prompt: identity cannot be tested")
    return notes
