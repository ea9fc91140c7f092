"""``harness check``: is every endpoint there, and what can it do? What it refuses is noted for the run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from harness.campaign import STORE, Plan
from harness.collect.capabilities import Capability, capabilities
from harness.collect.endpoints.local import alias
from harness.collect.preflight import remember
from harness.collect.store import Store
from harness.collect.world import World
from harness.config import Local, Remote
from harness.errors import EndpointError, StoreError
from harness.keys import environment, require_keys

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
        world = World(environ=environ, base=plan.base)
        answers = asyncio.run(capabilities(remote, plan.prompts, plan.campaign.collect, world))
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
                remember(store, e, found[e.name].limits)


def _row(endpoint: Any, found: Capability | None) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"endpoint": endpoint.name, "role": endpoint.role, "lineage": endpoint.lineage, "kind": endpoint.kind}
    if found is None:
        is_local = isinstance(endpoint, Local)
        state = f"local, {alias(endpoint)}" if is_local else "not contacted" if isinstance(endpoint, Remote) else ""
        return row | {"state": state or "recorded"}
    if not found.answers:
        return row | {"state": "does not answer", "error": found.error, "hint": found.hint}
    return row | {
        "state": f"up, {found.seconds:.1f} s",
        "model": found.model,
        "logprobs": found.logprobs,
        "usage": "yes" if found.usage else "missing",
        "system": found.system,
        "reasoning": found.reasoning,
        "refused": " ".join(found.refused),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned columns; what a server says is cleaned for the terminal."""
    from harness.report.terminal import plain

    cells = [list(COLUMNS), *([plain(str(r[c])) or "-" for c in COLUMNS] for r in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)
