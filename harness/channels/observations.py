"""All observations of a campaign: what is shown of each model beside the verdicts and never counted."""

from __future__ import annotations

from harness.channels.refusals import ladder
from harness.channels.self_report import claims
from harness.channels.tokenizer import families
from harness.records import Observation, Responses


def observations(responses: Responses) -> tuple[Observation, ...]:
    """Tokenizer families, identity claims and refusal ladders, as far as prompts for them were asked."""
    return (*families(responses), *claims(responses), *ladder(responses))
