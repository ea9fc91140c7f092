"""A quick look before a campaign: `harness which ENDPOINT` asks the cheap things first, and says what to ask next.

What the answers say of themselves, token counts, one list of 300 integers and 25 short prompts, against the other
endpoints of the config. Each has its own "none of these" and is worth what `python -m benchmarks.quick` measured of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.channels.parallel import compare, load_channels
from harness.config import Recorded, ReferenceUse, load_config
from harness.config.schema import PromptUse
from harness.errors import ConfigError
from harness.inference.quick_look import Look, advised, sight
from harness.judging import comparable, models_of, read_responses, self_statements
from harness.plan import Plan, plan_of

CHANNELS = ("tokenizer", "integers", "wording")
ANY_ERA = 1200  # months: a known model may be of any year, for it is named and stands for nobody else
SHORT, WORDS_LONG = 25, 80  # short prompts, and tokens of an answer
ASKED = (
    PromptUse(set="tokenizer"),
    PromptUse(set="identity", limit=6),
    PromptUse(set="integers"),
    PromptUse(set="everyday", limit=SHORT, max_tokens=WORDS_LONG),
)


def quick_plan(config: Path, name: str, environ: Mapping[str, str], packs: Sequence[str] = ()) -> Plan:
    """The plan of a quick look at one endpoint of a config. Nobody is asked.

    All looks of a campaign share a store, so known models are asked once, and those of packs of references never:
    ``packs`` come on top of the config's own. `ConfigError` for a name that is not there, or without known models.
    """
    campaign, base = load_config(config), config.resolve().parent
    references = (*campaign.references, *(ReferenceUse(pack=p) for p in packs))
    others = [e for e in campaign.endpoints if e.name != name and e.role != "suspect"]
    asked = next((e for e in campaign.endpoints if e.name == name), None)
    if asked is None:
        raise ConfigError(f"{config}: no endpoint {name!r}", f"known: {', '.join(e.name for e in campaign.endpoints)}")
    if not others and not references:
        hint = "add endpoints of role control, or a pack: --references small-models"
        raise ConfigError(f"{config}: no known models to compare {name} with", hint)
    recorded = [e for e in (asked, *others) if isinstance(e, Recorded)]
    prompts = (PromptUse(set="recorded", limit=SHORT),) if recorded else ()
    update = {
        "campaign": "which",
        "results": campaign.results / campaign.campaign,
        "prompts": prompts if len(recorded) == len(others) + 1 else (*prompts, *ASKED),
        "endpoints": (
            asked.model_copy(update={"role": "suspect"}),
            *(e.model_copy(update={"role": "control"}) for e in others),
        ),
        "analysis": campaign.analysis.model_copy(update={"questions": ("attribution",), "channels": CHANNELS}),
        "hold_back": 0.0,
        "references": tuple(u.model_copy(update={"months": ANY_ERA}) for u in references),
    }
    return plan_of(campaign.model_copy(update=update), base, environ, path=str(config))


def look(plan: Plan) -> Look:
    """What the stored answers of a quick look show; nobody is asked."""
    table = comparable(plan.campaign, read_responses(plan))
    models = models_of(plan.campaign)
    found = {s.channel: s for s in compare(load_channels(CHANNELS), table)}
    sights = [sight(s, models, plan.campaign.analysis.alpha) for s in (found.get(c) for c in CHANNELS) if s is not None]
    seen = tuple(s for s in sights if s is not None)
    lineages = len({m.root for m in models[1:]})
    observed = tuple(o for o in self_statements(plan, table) if o.model == models[0].name)
    return Look(models[0].name, lineages, observed, seen, advised(seen, lineages))
