"""Looks before leaping: what a run would ask, whether endpoints are there, and whether the controls are any good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.campaign import STORE, Plan
from harness.collect.endpoints.local import alias
from harness.collect.plan import PATHS, jobs
from harness.collect.runner import key_of, model_name
from harness.collect.store import Store
from harness.config import Called, Local, OpenAIChat, OpenAICompletions, Recorded
from harness.errors import EndpointError
from harness.inference.pair_rank import controls_needed, smallest_p


def dry_run_rows(plan: Plan) -> list[dict[str, Any]]:
    """Per called endpoint: calls, how many are stored, tokens at most, and one request of each surface in full."""
    path = plan.folder / STORE
    have = set()
    if path.is_file():
        with Store(path, readonly=True) as store:
            have = store.keys()
    tokens = {p.id: p.max_tokens or 0 for p in plan.prompts}
    rows = []
    for endpoint in plan.campaign.endpoints:
        if not isinstance(endpoint, Called):
            continue
        calls = list(jobs(endpoint, plan.prompts, model_name(endpoint)))
        todo = [j for j in calls if (j.endpoint, j.prompt, j.sample, j.request_hash) not in have]
        first = {j.surface: j for j in reversed(calls)}
        requests = [{"path": PATHS[s], "body": j.body.decode()} for s, j in sorted(first.items())]
        rows.append(
            {
                "endpoint": endpoint.name,
                "calls": len(calls),
                "stored": len(calls) - len(todo),
                "to_ask": len(todo),
                "max_tokens": sum(tokens[j.prompt] for j in todo),
                "requests": requests,
            }
        )
    return rows


def check_endpoints(plan: Plan, environ: Mapping[str, str], *, offline: bool) -> list[dict[str, Any]]:
    """One row an endpoint. Raises `EndpointError` for a key that is not set or a server that is not there."""
    rows = []
    problems = []
    for e in plan.campaign.endpoints:
        state = "recorded"
        try:
            if isinstance(e, Local):
                state = f"local, {alias(e)}"
            elif isinstance(e, OpenAIChat | OpenAICompletions):
                state = "not contacted" if offline else _ask_models(e, key_of(e, environ))
        except EndpointError as error:
            state = str(error)
            problems.append(error)
        rows.append({"endpoint": e.name, "role": e.role, "lineage": e.lineage, "kind": e.kind, "state": state})
    if problems:
        raise problems[0]
    return rows


def _ask_models(endpoint: OpenAIChat | OpenAICompletions, key: str | None) -> str:
    """Whether a server answers and lists the model. A server without a model list is not wrong."""
    import httpx

    url = endpoint.base_url.rstrip("/") + "/models"
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        reply = httpx.get(url, headers=headers, timeout=15.0, follow_redirects=False)
    except httpx.HTTPError as e:
        raise EndpointError(
            f"endpoint {endpoint.name!r}: {url}: {e}", "is the server up, and `base_url` right?"
        ) from None
    if reply.status_code in (401, 403):
        raise EndpointError(
            f"endpoint {endpoint.name!r}: the server refuses the key (HTTP {reply.status_code})",
            f"check the variable {endpoint.api_key_env}"
            if endpoint.api_key_env
            else "name its variable: `api_key_env:`",
        )
    try:
        models = [str(m["id"]) for m in reply.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return f"answers (HTTP {reply.status_code}), lists no models"
    if endpoint.model in models:
        return f"up, serves {endpoint.model}"
    some = ", ".join(models[:5])
    raise EndpointError(f"endpoint {endpoint.name!r}: no model {endpoint.model!r} there", f"it serves: {some}")


def warnings(plan: Plan) -> list[str]:
    """What will limit the verdict, said before money is spent."""
    a = plan.campaign.analysis
    notes = []
    for candidate in (e for e in plan.campaign.endpoints if e.role == "candidate"):
        lineages = {e.lineage for e in plan.campaign.endpoints if e.role == "control"} - {candidate.lineage}
        if "kinship" in a.questions and (floor := smallest_p(len(lineages))) > a.alpha:
            notes.append(
                f"{len(lineages)} control lineages for {candidate.name}: p cannot be below {floor:.2g}; "
                f"{controls_needed(a.alpha)} are needed for {a.alpha:g}"
            )
        elif "kinship" in a.questions and len(lineages) < 8:
            notes.append(f"{len(lineages)} control lineages for {candidate.name}: 8 or more make steadier verdicts")
    if any(isinstance(e, Recorded) for e in plan.campaign.endpoints) and "identity" in a.questions:
        samples = {p.samples for p in plan.prompts}
        if samples == {1}:
            notes.append("one sample a prompt: identity cannot be tested")
    return notes
