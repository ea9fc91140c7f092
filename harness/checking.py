"""Looks before leaping: what a run would ask and cost, and whether the controls are any good."""

from __future__ import annotations

from typing import Any

from harness.campaign import STORE, Plan
from harness.collect.budget import cost_of, price_of, tokens_in
from harness.collect.kinds import path_of, provider_of
from harness.collect.plan import Job
from harness.collect.preflight import Calls, recall
from harness.collect.store import Store
from harness.config import Called, Recorded, Remote
from harness.inference.pair_rank import controls_needed, smallest_p
from harness.keys import open_to_others
from harness.resembling import ENOUGH, described
from harness.responses import Surface


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
