"""answers.html: every prompt and every answer of a campaign, to read side by side, in one file that needs no network.

The answers are packed (gzip, base64) into a block of data that the page's own script unpacks and writes as text, never
as markup. The same strict policy as that of report.html stands behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from harness.channels.first_tokens import opening
from harness.records import Responses
from harness.report.html import Material, asset, packed, policy
from harness.report.text import harmless

MOST = 2_900_000  # characters of the packed answers, so that the file stays under 3 MB
LENGTHS = (
    20_000,
    6_000,
    4_000,
    3_000,
    2_000,
    1_500,
    1_100,
    800,
    550,
    400,
    240,
    120,
    60,
)  # of one answer: the longest with which all fit
SMALL = 3_000_000  # characters of answers, so few that all are tried at once
SLACK = 1.2  # by how much more may fit than a part of the answers says
SAMPLES = 5  # of one model to one prompt
ALTERNATIVES = 8  # of an answer's first token


def answers_html(m: Material) -> str:
    """The browser of answers as one HTML text; empty for a campaign without answers."""
    if not len(m.responses.outcome):
        return ""
    block, length = _block(m)
    style, script = asset("report.css") + asset("answers.css"), asset("answers.js")
    environment = Environment(loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("answers.html.j2").render(
        campaign=harmless(m.campaign, 200),
        style=Markup(style),  # noqa: S704 (our own files)
        script=Markup(script),  # noqa: S704
        policy=policy(style, script),
        packed=block,
        length=length,
        answers=len(m.responses.outcome),
        sha256=m.facts["responses_sha256"],
    )


def _block(m: Material) -> tuple[str, int]:
    """All answers, packed, at the greatest length with which they fit, and that length."""
    sizes = _sizes(m.responses)
    total = {length: int(np.minimum(sizes, length).sum()) for length in LENGTHS}
    most = total[LENGTHS[0]]
    if most > SMALL:  # what a part of them takes tells what surely does not fit
        part = m.responses.only(range(0, len(m.responses.prompts), -(-most // SMALL)))
        share = int(np.minimum(_sizes(part), LENGTHS[0]).sum())
        most = int(share * MOST / len(_packed(m, part, LENGTHS[0])) * SLACK)
    for length in LENGTHS:
        if total[length] > most and length != LENGTHS[-1]:
            continue  # what was tried says that this cannot fit
        block = _packed(m, m.responses, length)
        if len(block) <= MOST:
            break
        most = int(total[length] * MOST / len(block))
    return block, length


def _sizes(table: Responses) -> NDArray[np.int64]:
    """Characters of every answer, and of the thoughts before it, in any order."""
    return np.array([len(t) for column in (table.text, table.reasoning) for _, t in _each(column)])


def _each(column: Sequence[str]) -> Iterable[tuple[int, str]]:
    """Every text of a column with its row; of a store in the order in which it is read soonest."""
    found: Iterable[tuple[int, str]] = column.each() if hasattr(column, "each") else enumerate(column)
    return found


def _cut(column: Sequence[str], length: int) -> list[str]:
    """A column in memory, as far as `harmless` looks at its texts."""
    out = [""] * len(column)
    for row, text in _each(column):
        out[row] = text[: length + 1]
    return out


def _packed(m: Material, table: Responses, length: int) -> str:
    """The answers of a table, each up to so many characters, as a block of data."""
    return packed(json.dumps(_content(m, table, length), ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def _content(m: Material, table: Responses, length: int) -> dict[str, Any]:
    """What the page shows. Numbers of a list are indices into ``models`` and ``prompts``."""
    at = {p.id: i for i, p in enumerate(table.prompts)}
    texts, thoughts = _cut(table.text, length), _cut(table.reasoning, length)
    return {
        "campaign": harmless(m.campaign, 200),
        "sha256": m.facts["responses_sha256"],
        "models": [[harmless(n, 200), *m.roles.get(n, ("", ""))] for n in table.models],
        "prompts": [[p.id, p.family, harmless(p.text, length)] for p in table.prompts],
        "pairs": [
            {
                "suspect": table.models.index(d.suspect),
                "candidate": table.models.index(d.candidate),
                "channels": {
                    c.channel: [[at[p], round(v / c.spread, 5)] for p, v in c.shares.items() if p in at]
                    for c in d.channels
                },
            }
            for d in m.details
        ],
        "answers": [
            [[_answer(table, row, texts[row], thoughts[row], length) for row in table.rows(p, k)[:SAMPLES]]
             for k in range(len(table.models))]
            for p in range(len(table.prompts))
        ],
    }  # fmt: skip


def _answer(table: Responses, row: int, text: str, thoughts: str, length: int) -> list[Any]:
    """[outcome, text, reasoning, first tokens] of one answer; what is empty at the end is left out."""
    cells: list[Any] = [table.outcome[row], harmless(text, length)]
    cells += [harmless(thoughts, length) if thoughts else "", _first_tokens(table, row)]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _first_tokens(table: Responses, row: int) -> list[list[Any]]:
    """The likeliest first tokens of an answer with their probabilities in percent."""
    found = opening(table, row)
    likeliest = sorted(found.top.items(), key=lambda t: -t[1])[:ALTERNATIVES] if found else []
    return [[harmless(token.decode("utf-8", "replace"), 40), round(100.0 * p, 2)] for token, p in likeliest]
