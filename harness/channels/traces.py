"""Channel `traces`: do two models think aloud in the same habits: openers, self-checks, notation?

Sources: CoTSRF (chain-of-thought fingerprints), SpeechMap's remark on traces. The habits of `style`, read from
reasoning text, returned apart or inline, and from nothing else. Marks training on another model's traces as much as
shared weights, and has no recorded pairs of known lineage to be calibrated on, hence reported only. Summaries that a
provider puts in place of thoughts look like the summariser.
"""

from __future__ import annotations

import re

from harness.channels.base import similarity, thoughts
from harness.channels.style import habits
from harness.channels.stylometry import edges, layout, marks, templates
from harness.records import Responses, Similarity

READS = ("text", "reasoning")  # see `harness.channels.parallel`
_CHECKS = re.compile(
    r"\b(?:wait|hmm+|actually|alternatively|let me (?:re)?(?:check|verify|think|see|consider)|double[- ]check|hold on"
    r"|okay|alright|so|first|but|maybe|perhaps|therefore|the user)\b|等等|让我|再想|检查|所以|不对|用户",
)
_NOTATION = re.compile(r"\\\w+|\$+|\*\*|#+|=|→|⇒|✓|×|\d+[.)]|^- ", re.MULTILINE)


def traces(responses: Responses) -> Similarity | None:
    """As `style`, of reasoning text, (p, m, m); models that show none have coverage 0."""
    prompts = responses.where("traces")
    cells = [[first_thoughts(responses, p, m) for m in range(len(responses.models))] for p in prompts]
    if sum(any(row[m] for row in cells) for m in range(len(responses.models))) < 2:
        return None
    values, usable = habits(cells, TRACE_KINDS)
    return similarity(
        responses, prompts, values, usable, channel="traces", unit="habit cosine, scaled", sees="reported"
    )


def first_thoughts(responses: Responses, prompt: int, model: int) -> str | None:
    """Reasoning of the first answer that has any."""
    return next((found for r in responses.rows(prompt, model) if (found := thoughts(responses, r))), None)


TRACE_KINDS = (templates, edges, layout, marks(_CHECKS), marks(_NOTATION))
