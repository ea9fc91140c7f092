"""Checking a campaign before a run: `harness check` (endpoints, warnings) and `run --dry-run` (calls, tokens, cost)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from harness.channels.likelihoods import PROMPTS
from harness.channels.reading import edit_of
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
    hub_cache,
    lineage_of,
    open_to_others,
    require_keys,
    told_of,
)
from harness.endpoints import (
    UNKNOWN,
    Quirks,
    Recording,
    batches_of,
    jobs,
    longest_answer,
    model_name,
    path_of,
    planned_keys,
    provider_of,
)
from harness.errors import EndpointError, StoreError
from harness.inference.excess import controls_needed, reaches, smallest_p
from harness.inference.findings import HIDING, MISMATCHES, Caveat
from harness.inference.pool import told
from harness.plan import Plan, looks_of, stages_of
from harness.power import least_adjusted, model_of, smallest_pool
from harness.records import Job, Key, Surface
from harness.report.text import one_line
from harness.store import Store

COLUMNS = (
    *("endpoint", "role", "kind", "state", "model"),
    *("logprobs", "usage", "system", "reasoning", "refused", "beside"),
)
USUAL_STOP = 32  # prompts at which half of the kin were found; of strangers half were given up sooner
ENOUGH = 8  # control lineages for a steady verdict
TIMES = 8.0  # in parameters


def check_endpoints(
    plan: Plan, environ: Mapping[str, str], *, offline: bool, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """One row an endpoint, in the order of the config; ``state`` says whether it answers.

    Called endpoints are asked one small question, and again without whatever they refuse. `EndpointError` for a key
    that is not set. Nothing is contacted or written if ``offline``.
    """
    environ = environment(plan.campaign, plan.base, environ)
    if plan.campaign.analysis.calibration is not None:
        from harness.judging import calibrations  # with all of inference behind it

        calibrations(plan)
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
    edit = edit_of(found.text, found.asked)
    beside = edit.kinds if edit else ()  # what came back and is not the model's answer
    return row | {
        "state": f"up, {found.seconds:.1f} s",
        "model": found.model,
        "logprobs": str(found.logprobs),
        "usage": "yes" if found.usage else "missing",
        "system": found.system,
        "reasoning": found.reasoning or ("in the answer" if "thoughts" in beside else ""),
        "refused": " ".join(found.refused),
        "echoes": "prompt echo" in beside,
        "finish": found.odd_finish,
        "surfaces": list(endpoint.surfaces),
        "beside": ", ".join(beside),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned columns; what a server says is cleaned for the terminal."""
    cells = [list(COLUMNS), *([one_line(str(r[c])) or "-" for c in COLUMNS] for r in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(COLUMNS))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def dry_run_rows(plan: Plan) -> list[dict[str, Any]]:
    """Per called endpoint: calls, how many are stored, tokens and cost, and one request of each surface in full.

    ``prompt_tokens`` are estimated (characters by four); ``most_prompt_tokens``, ``max_tokens`` of answers and
    ``max_cost`` are upper bounds, from the requests as they are sent: no token has less than a byte. Both of the
    latter are None where ``uncapped`` calls set no limit to their answer, the cost also where the config has no price.
    """
    path = plan.store
    called = [e for e in plan.campaign.endpoints if isinstance(e, Called)]
    if not path.is_file():
        return [_dry_run_row(plan, e, UNKNOWN, lambda _: False) for e in called]
    with Store(path, readonly=True) as store:
        return [_dry_run_row(plan, e, recall(store, e), store.answered) for e in called]


def _dry_run_row(plan: Plan, endpoint: Called, quirks: Quirks, answered: Callable[[Key], bool]) -> dict[str, Any]:
    planned = stored = prompt_tokens = most_prompt_tokens = max_tokens = uncapped = 0
    first: dict[Surface, Job] = {}
    for job in jobs(endpoint, plan.prompts, model_name(endpoint), quirks):
        planned += 1
        first.setdefault(job.surface, job)
        if answered(job.key):
            stored += 1
        else:
            longest = longest_answer(msgspec.json.decode(job.body))
            prompt_tokens += tokens_in(job.body)
            most_prompt_tokens += len(job.body)
            max_tokens += longest or 0
            uncapped += longest is None
    price = price_of(endpoint)
    free = isinstance(endpoint, Local)
    return {
        "endpoint": endpoint.name,
        "calls": planned,
        "stored": stored,
        "to_ask": planned - stored,
        "prompt_tokens": prompt_tokens,
        "most_prompt_tokens": most_prompt_tokens,
        "max_tokens": None if uncapped else max_tokens,
        "uncapped": uncapped,
        "max_cost": round(cost_of(price, most_prompt_tokens, max_tokens), 6)
        if free or (price and not uncapped)
        else None,
        "priced": free or bool(price),
        "thinks": told_of(endpoint)[5] or bool(endpoint.reasoning),
        "requests": [{"path": path_of(endpoint, s), "body": j.body.decode()} for s, j in sorted(first.items())],
    }


def readers_line(plan: Plan) -> str:
    """How much the readers of a campaign are given; nothing where it has none."""
    if not plan.campaign.readers:
        return ""
    prompts = min(PROMPTS, sum("wording" in p.channels for p in plan.prompts))
    names = ", ".join(e.name for e in plan.campaign.readers)
    return (
        f"{names}: at most {prompts * len(plan.campaign.endpoints)} answers each, once all is asked; what readers say "
        "decides nothing (docs/readers.md)"
    )


def stages_line(plan: Plan) -> str:
    """Most calls of a campaign of stages, and how many it takes if it stops where most did on recorded answers."""
    stages = stages_of(plan.campaign, plan.prompts)
    if not stages:
        return ""
    usual = next((s for s in stages if s.size >= USUAL_STOP), stages[-1])
    most, likely = (
        sum(1 for _ in planned_keys(plan.campaign, [plan.prompts[i] for i in s.prompts])) for s in (stages[-1], usual)
    )
    return (
        f"{len(stages)} stages, at most {most} calls; about {likely} if it stops where half of the pairs did on "
        "recorded answers (docs/statistics.md, Stopping)"
    )


_COUNTED = ("calls", "stored", "to_ask", "prompt_tokens")


def dry_run_text(rows: Sequence[Mapping[str, Any]], attempts: int = 1) -> str:
    """What a run would ask: calls and tokens per endpoint, and the first request to each, word for word.

    ``attempts`` is how often one call may be sent.
    """
    lines = [
        f"{'endpoint':24} {'calls':>7} {'stored':>7} {'to ask':>7} {'prompt tokens':>14} {'most answer tokens':>19} "
        f"{'most cost':>10}"
    ]
    total = {"endpoint": "total", "max_tokens": _sum(rows, "max_tokens"), "max_cost": _sum(rows, "max_cost")}
    total |= {name: sum(r[name] for r in rows) for name in (*_COUNTED, "uncapped")}
    total["priced"] = all(r["priced"] for r in rows)
    for r in (*rows, total):
        longest = "no limit" if r["max_tokens"] is None else str(r["max_tokens"])
        cost = f"{r['max_cost']:.4f}" if r["max_cost"] is not None else "no bound" if r["priced"] else "no price"
        counts = " ".join(f"{r[name]:{w}}" for name, w in zip(_COUNTED, (7, 7, 7, 14), strict=True))
        lines.append(f"{r['endpoint']:24} {counts} {longest:>19} {cost:>10}")
    lines += _bound_lines(rows, attempts)
    for row in rows:
        lines += [f"\n{row['endpoint']} POST {one_line(r['path'])}\n  {one_line(r['body'])}" for r in row["requests"]]
    return "\n".join(lines)


def _sum(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """The sum of a column, None where one of its rows has none."""
    return None if any(r[name] is None for r in rows) else sum(r[name] for r in rows)


def _bound_lines(rows: Sequence[Mapping[str, Any]], attempts: int) -> Iterator[str]:
    """What the cost is a bound of, what is not in it, and which endpoints have none."""
    yield "prompt tokens are estimated: characters by four"
    if any(r["max_cost"] is not None for r in rows):
        yield "most cost is a bound for one answer a call, all samples in it: a token for every byte sent, and"
        yield "  the longest answer allowed. Not in it: what a host puts before a prompt, and answers that are paid"
        yield f"  and do not arrive, of which a call has {attempts - 1} at most"
    if uncapped := [f"{r['endpoint']} ({r['uncapped']} calls)" for r in rows if r["uncapped"]]:
        yield f"no limit to the answer, none to the cost: {', '.join(uncapped)}; `max_tokens:` of a prompt set is one"
        if any(r["priced"] for r in rows):
            yield "  `collect: {max_cost: N}` ends the run there, whatever the answers take"
    if thinkers := [str(r["endpoint"]) for r in rows if r["thinks"] and r["max_tokens"]]:
        yield f"{', '.join(thinkers)}: may think first, and a host that does not count thoughts among its max_tokens"
        yield "  charges for them beside what stands here"


def warnings(plan: Plan, rows: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """What will limit the verdict, said before money is spent; ``rows`` are what `check_endpoints` found."""
    a = plan.campaign.analysis
    notes = [w] if (w := open_to_others(plan.campaign, plan.base)) else []
    for candidate in (e for e in plan.campaign.endpoints if e.role == "candidate"):
        counted = len(smallest_pool(plan.campaign, candidate).controls)
        looks, floor = looks_of(plan.campaign), smallest_p(counted)
        if "kinship" in a.questions and not reaches(least_adjusted(plan.campaign, counted), a.alpha):
            among = f", shared by {looks} verdicts" if looks > 1 else ""
            notes.append(
                f"{counted} control lineages for {candidate.name}: p cannot be below {floor:.2g}; "
                f"{controls_needed(a.alpha / looks)} are needed for {a.alpha:g}{among}"
            )
        elif "kinship" in a.questions and counted < ENOUGH:
            notes.append(f"{counted} control lineages for {candidate.name}: {ENOUGH} or more are steadier")
        notes += uncounted(plan.campaign, candidate)
        notes += unlike_controls(plan.campaign, candidate, rows)
    notes += unpinned(plan.campaign)
    one_by_one = [e.name for e in plan.called if batches_of(e) is None]
    if plan.campaign.collect.mode == "batch" and one_by_one:
        notes.append(f"no batch API is known of provider and kind; asked call by call: {', '.join(one_by_one)}")
    if examples := [e.name for e in plan.campaign.endpoints if isinstance(e, Remote) and "example.com" in e.base_url]:
        notes.append(f"not filled in yet: `base_url` of {', '.join(examples)} is the example's")
    notes += unlike_temperatures(plan)
    kept = {r.endpoint.path: r.table.kept for r in plan.recorded if isinstance(r, Recording)}
    notes += [f"{path}: {n / 1e6:,.1f} MB stay in {hub_cache(os.environ)}" for path, n in kept.items() if n]
    if any(isinstance(e, Recorded) for e in plan.campaign.endpoints) and "identity" in a.questions:
        samples = {p.samples for p in plan.prompts}
        if samples == {1}:
            notes.append("one sample a prompt: identity cannot be tested")
    if echoing := [str(r["endpoint"]) for r in rows if r.get("echoes")]:
        notes.append(
            f"the prompt comes back in front of the answer: {', '.join(echoing)}; switch that off at the server"
        )
    notes += [
        f"an answer of {r['endpoint']} ended with “{one_line(str(r['finish']))[:40]}”, of which nobody knows what it "
        "means: such answers are compared as whole ones, and counted in the limits"
        for r in rows
        if r.get("finish")
    ]
    return notes


def unpinned(campaign: Campaign) -> list[str]:
    """A warning for each router whose models may come from several hosts: a mixture is not one model."""
    notes: dict[str, list[str]] = {}
    for e in campaign.endpoints:
        if isinstance(e, Remote) and not (known := provider_of(e)).pinned(e.model, e.upstream):
            how = "`model: NAME:HOST` pins one" if known.pins_in_model else "`upstream:` pins one"
            notes.setdefault(f"{e.provider} may answer from several providers; {how}", []).append(e.name)
    return [f"{what}. Not pinned: {', '.join(names)}" for what, names in notes.items()]


def unlike_temperatures(plan: Plan) -> list[str]:
    """Warnings where logprobs are asked for at another temperature than 1: servers report them before or after it."""
    notes = []
    if families := sorted({p.family for p in plan.prompts if p.top_logprobs and p.temperature not in (None, 1)}):
        notes.append(
            f"logprobs at another temperature than 1 ({', '.join(families)}): servers may report them after it; they "
            "count only where the answers show that this one does not; `temperature: 1` avoids it"
        )
    heated = [e.name for e in plan.called if e.params.get("temperature", 1) != 1]
    if heated and any(p.top_logprobs for p in plan.prompts):
        notes.append(
            f"`params` ask {', '.join(heated)} for another temperature than the prompts do; its logprobs may not count"
        )
    return notes


def uncounted(campaign: Campaign, candidate: Endpoint) -> list[str]:
    """Which controls do not count for their makers, and of which model maker or lineage is not known."""
    if not {"kinship", "teaching"} & set(campaign.analysis.questions):
        return []
    from harness.report.caveats import caveat

    pool = smallest_pool(campaign, candidate)
    notes = [f"for {candidate.name}: {caveat(c)}" for c in pool.left_out]
    counted = {candidate.name, *(m.name for m in pool.controls)}
    if unknown := [e.name for e in campaign.endpoints if e.name in counted and lineage_of(e) is None]:
        notes.append(
            f"lineage unknown: {', '.join(unknown)}; each counts as one of its own. Write `lineage:`, and take "
            f"out what may be kin of {candidate.name}"
        )
    return notes


def unlike_controls(campaign: Campaign, candidate: Endpoint, rows: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Warnings of conditions that differ between a candidate, its suspects and its controls.

    From the config, from well-known names, and from the ``rows`` of `check_endpoints`; what nobody tells is not judged.
    Those that take away a verdict come first and say so.
    """
    thinking = {str(r["endpoint"]) for r in rows if r.get("reasoning")}
    models = [model_of(e, e.name in thinking) for e in campaign.endpoints]
    own = next(m for m in models if m.name == candidate.name)
    suspects = [m for m in models if m.role == "suspect"]
    rule = campaign.analysis.controls
    found = list(dict.fromkeys(c for s in suspects for c in told(s, own, models, rule)))
    found.sort(key=lambda c: (c.kind not in MISMATCHES, c.kind not in HIDING))
    counted = {m.name for m in smallest_pool(campaign, candidate).controls}
    controls = [e for e in campaign.endpoints if e.name in counted]
    notes = []
    if found:
        from harness.report.caveats import caveat  # with all of inference behind it: only who must tell something waits

        notes += [f"{caveat(c)}{_consequence(c)}" for c in found]
    for suspect in (e for e in campaign.endpoints if e.role == "suspect"):
        notes += _settings_apart(suspect, candidate, controls)
    judged = [(e.name, u) for e in controls if (u := _far_in_size(e, candidate)) is not None]
    far = [name for name, u in judged if u]
    if judged and len(far) * 2 > len(judged):
        what = f"more than {TIMES:g} times smaller or larger"
        notes.append(f"controls of {candidate.name} that are {what}: {', '.join(far)}; prefer some that resemble it")
    return notes


def _consequence(c: Caveat) -> str:
    if c.kind in MISMATCHES:
        return "; no verdict of kinship will be given. Add controls under the same condition"
    if c.kind in HIDING:
        return "; that they are unrelated will not be said. Ask both under one condition"
    if c.kind == "pair on one host":
        return ". Add a control that is served there"
    return "; prefer controls that resemble it"


def _settings_apart(suspect: Endpoint, candidate: Endpoint, controls: Sequence[Endpoint]) -> list[str]:
    """What suspect and candidate are both asked with and most controls are not, or the reverse."""
    notes = []
    pair = f"{suspect.name} and {candidate.name}"
    with_system = [e.name for e in controls if e.system_prompt]
    if suspect.system_prompt and candidate.system_prompt and len(with_system) * 2 < len(controls):
        notes.append(f"{pair} have a system_prompt, most controls have none: what it demands looks like kinship")
    if not (suspect.system_prompt or candidate.system_prompt) and len(with_system) * 2 > len(controls):
        notes.append(f"most controls have a system_prompt, {pair} have none: what it demands sets the controls apart")
    for key in sorted(suspect.params.keys() | candidate.params.keys() | {k for e in controls for k in e.params}):
        shared = suspect.params.get(key)
        apart = [e.name for e in controls if e.params.get(key) != shared]
        if shared == candidate.params.get(key) and len(apart) * 2 > len(controls):
            notes.append(f"`params: {key}` is {shared!r} for {pair} and another for {', '.join(apart)}: set it alike")
    return notes


def _far_in_size(e: Endpoint, candidate: Endpoint) -> bool | None:
    if not e.parameters_b or not candidate.parameters_b:
        return None
    return max(e.parameters_b / candidate.parameters_b, candidate.parameters_b / e.parameters_b) > TIMES


@dataclass(frozen=True)
class Way:
    """A prompt set that sees past a wrapper: ``reads`` is what of the reply counts, ``closed`` what would shut it."""

    family: str
    reads: str
    open: Callable[[Mapping[str, Any]], bool]
    closed: str


def _may_complete(row: Mapping[str, Any]) -> bool:
    return "completion" in row["surfaces"]


WAYS = (
    # A wrapper rewrites prose. It leaves a single number or word as it is, and sees neither raw text nor token counts.
    Way("ratings", "numbers", lambda r: "chat" in r["surfaces"], "no chat"),
    Way("choices", "single words", lambda r: "chat" in r["surfaces"], "no chat"),
    Way("randomness", "strings of chance", lambda r: "chat" in r["surfaces"], "no chat"),
    Way("stubs", "raw completions", _may_complete, "no raw completion (try `surfaces: [chat, completion]`)"),
    Way("tokenizer", "token counts", lambda r: r["usage"] == "yes", "no token counts"),
)


def advice(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each suspect that answers, one line: prompt sets that a wrapper around it leaves open; which are missing.

    A system prompt, a persona, a rewriting proxy and a footer change prose. `WAYS` are asked for what they change
    least; ``rows`` of `check_endpoints` say which of these the endpoint allows.
    """
    asked = {p.family for p in plan.prompts}
    lines = []
    for row in (r for r in rows if r["role"] == "suspect" and r.get("surfaces")):
        usable = [w for w in WAYS if w.open(row)]
        closed = list(dict.fromkeys(w.closed for w in WAYS if not w.open(row)))
        closed += [] if str(row["logprobs"]).isdecimal() else ["no logprobs"]
        missing = [w.family for w in usable if w.family not in asked]
        said = ", ".join(f"{w.family} ({w.reads})" for w in usable)
        add = f"; not asked yet: {', '.join(missing)}" if missing else ""
        but = f"; {', '.join(closed)}" if closed else ""
        lines.append(f"{row['endpoint']}: a wrapper rewrites prose and leaves open {said}{add}{but}")
    return lines
