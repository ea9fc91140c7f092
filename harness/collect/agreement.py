"""Agreement of a config with stored answers: were they given by whom it names, to the requests that it makes?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import msgspec

from harness.collect.preflight import recall
from harness.config import Called, Campaign, Local, Recorded, Reference
from harness.endpoints import UNKNOWN, Quirks, endpoint_fingerprint, jobs, model_name
from harness.errors import StoreError
from harness.plan import STAGES_ASKED, stages_of
from harness.records import Job, Prompt
from harness.store import Store, forget_endpoint, note_endpoint, noted_endpoints

DRAWN = "drawn"  # note in a store: which prompts of which sets its plan has
# What tells who answers. Another model is another request, and so another key; proxies of the environment do not count.
_WHO = ("kind", "base_url", "api_version", "weights", "context")
_NAMED = 6  # differences that a message names


def recognise(called: Sequence[Called], base: Path, store: Store) -> dict[str, str]:
    """Note who each endpoint is, and return the fingerprints by name.

    Parameters
    ----------
    base : folder that relative paths of weights start from.

    Raises `StoreError` if stored answers under one of the names came from another address, API version or other
    weights: neither has a claim to them under the name of the other. What is noted of a name without answers is
    replaced.
    """
    answered, known = store.answered_endpoints(), _known(store)
    found = {e.name: endpoint_fingerprint(e, base) for e in called}
    for name, (_, told) in found.items():
        if name in answered and (others := [k for k in known.get(name, []) if _who(k) != _who(json.loads(told))]):
            raise StoreError(
                f"{store.path}: endpoint {name!r}: its answers came from {_shown(others[0])}, "
                f"this config asks {_shown(json.loads(told))}",
                "to ask there as well, give the endpoint or the campaign another name, and both can be compared; "
                "or put the old one back",
            )
    for name, (fingerprint, told) in found.items():
        if name not in answered:
            forget_endpoint(store, name)
        note_endpoint(store, name, fingerprint, told)
    return {name: fingerprint for name, (fingerprint, _) in found.items()}


def _known(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Who was asked under each name, as the store notes it."""
    known: dict[str, list[dict[str, Any]]] = {}
    for name, _, told in noted_endpoints(store):
        known.setdefault(name, []).append(json.loads(told))
    return known


def _who(told: Mapping[str, Any]) -> dict[str, Any]:
    return {k: told[k] for k in _WHO if k in told}


def _shown(told: Mapping[str, Any]) -> str:
    version = f" (api_version {told['api_version']})" if "api_version" in told else ""
    if "base_url" in told:
        return f"{told['base_url']}{version}"
    weights = told.get("weights", {})
    shown = next((f"{k} {str(v)[:60]}" for k, v in weights.items()), "unknown weights")
    return f"weights {shown} with context {told.get('context')}"


def drawn(campaign: Campaign) -> str:
    """What decides which prompts a plan has and which recorded answers it takes, as a store notes it."""
    uses = [u.model_dump(mode="json", exclude_none=True) for u in campaign.prompts]
    draws = campaign.hold_back or any(u.limit for u in campaign.prompts)
    rest = {"hold_back": campaign.hold_back, "seed": campaign.seed} if draws else {}
    files = {e.name: e.model_dump(mode="json", include={"path", "model", "columns"})
             for e in campaign.endpoints if isinstance(e, Recorded)}  # fmt: skip
    files |= {e.name: {"sha256": e.sha256, "model": e.model} for e in campaign.endpoints if isinstance(e, Reference)}
    return json.dumps({"prompts": uses, "recorded": files, **rest}, sort_keys=True)


def require_agreement(campaign: Campaign, base: Path, store: Store) -> None:
    """`StoreError`, naming what differs, if stored answers are not those to the questions of a config."""
    found = list(disagreements(campaign, base, store))
    if found:
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise StoreError(
            f"{store.path}: its answers are not those that this config asks for: {'; '.join(found[:_NAMED])}{more}",
            "put the config back, or `harness run` it: that asks what is missing",
        )


def disagreements(campaign: Campaign, base: Path | None, store: Store) -> Iterator[str]:
    """How the stored plan differs from the one that a config makes: who is asked, what, with which parameters.

    The stored prompts are taken as they are, so that no file of prompts is needed. Without ``base`` weights without a
    checksum are not looked for.
    """
    noted, now = store.note(DRAWN), drawn(campaign)
    if noted is not None and noted != now:
        yield from _changed_draw(json.loads(noted), json.loads(now))
    prompts, known = _asked(campaign, store), _known(store)
    for e in (e for e in campaign.endpoints if isinstance(e, Called)):
        told = _told(e, base)
        others = [k for k in known.get(e.name, []) if told is not None and _who(k) != _who(told)]
        if told is not None and others:
            yield f"endpoint {e.name!r} was {_shown(others[0])}, is {_shown(told)}"
        elif differing := _changed_requests(e, prompts, store):
            yield f"endpoint {e.name!r}: {differing}"


def _asked(campaign: Campaign, store: Store) -> list[Prompt]:
    """The stored prompts; of a campaign of stages those of the stages that were asked."""
    prompts, asked = store.prompts(), int(store.note(STAGES_ASKED) or 0)
    stages = stages_of(campaign, prompts)
    return [prompts[k] for k in stages[min(asked, len(stages)) - 1].prompts] if stages and asked else prompts


def _told(endpoint: Called, base: Path | None) -> dict[str, Any] | None:
    """Who an endpoint is; None where that takes weights that are not there."""
    weights = endpoint.weights if isinstance(endpoint, Local) else None
    if base is None and weights and (weights.folder or (weights.gguf and not weights.sha256)):
        return None
    told: dict[str, Any] = json.loads(endpoint_fingerprint(endpoint, base or Path())[1])
    return None if "gguf" in told.get("weights", {}) else told


def _changed_draw(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in ("seed", "hold_back"):
        if was.get(key) != now.get(key):
            yield f"{key} was {was.get(key)}, is {now.get(key)}"
    for name, told in now["recorded"].items():
        before = was["recorded"].get(name, {})
        for key in (k for k in told if told[k] != before.get(k)):
            yield f"endpoint {name!r}: {key} was {_value(before.get(key))}, is {_value(told[key])}"
    before, after = ({u["set"]: u for u in uses["prompts"]} for uses in (was, now))
    for name in {**before, **after}:
        if name not in before or name not in after:
            yield f"prompts: set {name!r} was {'there, is' if name in before else 'not there, is now'}" + (
                " not" if name in before else ""
            )
            continue
        one, other = before[name], after[name]
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                yield f"prompts: set {name!r}: {key} was {one.get(key, 'not given')}, is {other.get(key, 'not given')}"


def _changed_requests(endpoint: Called, prompts: Sequence[Prompt], store: Store) -> str:
    """What differs between the requests of the stored plan and those of a config, or nothing."""
    learned, fields, missing = recall(store, endpoint), dict[str, str](), 0
    planned = store.first_calls(endpoint.name)
    others = [j for j in _firsts(endpoint, prompts, learned) if (j.prompt, j.request_hash) not in planned]
    asked = {p.id: p for p in prompts} if others else {}
    for job in others:
        body, plain = store.planned_request(*job.key[:3]), next(_firsts(endpoint, [asked[job.prompt]], UNKNOWN), None)
        if body is None or plain is None:
            missing += 1
            continue
        was, now, unlearned = (msgspec.json.decode(b) for b in (body, job.body, plain.body))
        # What the server was found to refuse since is no change of the config.
        fields |= {name: said for name, said in _differing(was, now) if unlearned.get(name) == now.get(name)}
    if fields:
        return "; ".join(fields.values())
    return f"{missing} of its calls are not in the stored plan" if missing else ""


def _firsts(endpoint: Called, prompts: Sequence[Prompt], quirks: Quirks) -> Iterator[Job]:
    """The first call of each prompt; further samples differ from it in nothing that a config says."""
    return takewhile(lambda job: job.sample == 0, jobs(endpoint, prompts, model_name(endpoint), quirks))


def _differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(was.keys() | now.keys()):
        one, other = was.get(name), now.get(name)
        if one == other:
            continue
        if name == "messages":
            yield name, f"{_part(one, other)} is another"
        elif name == "prompt":
            yield name, "the prompt, or `template`, is another"
        else:
            yield name, f"{name} was {_value(one)}, is {_value(other)}"


def _part(one: object, other: object) -> str:
    systems = [[m.get("content") for m in found if m.get("role") == "system"] if isinstance(found, list) else []
               for found in (one, other)]  # fmt: skip
    return "the text of a prompt" if systems[0] == systems[1] else "the system prompt"


def _value(value: object) -> str:
    return "not given" if value is None else str(value)[:60]
