# %% [markdown]
# # DeepSeek-R1-0528 against all
# Whose kin is it? `recorded/r1-0528.yaml` asks of Gemini and R1. Here every lineage with answers to the same questions
# is the candidate once, and all others are its controls; a config cannot say that, since its candidates never serve as
# controls. Teachers are not asked for: one that is named can be tested, a ranking of them is no better than chance.
# As a program: `RECORDED_DATA=FOLDER python examples/against_all.py`. Nobody is called.

# %%
import tempfile
from pathlib import Path

from harness import load_config, run_campaign
from harness.config.schema import Campaign, Recorded
from harness.inference.findings import holm

HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path("examples")
KIN = "deepseek-v3"  # the suspect's own pretrained root: a candidate like the others, never a control

# %% The named campaign's models, and two lineages more that answered the same questions.
claim = load_config(HERE / "recorded" / "r1-0528.yaml")
suspect = next(e for e in claim.endpoints if e.role == "suspect")
known = [e for e in claim.endpoints if isinstance(e, Recorded) and e.role != "suspect"]
for name, lineage, model in (
    ("claude-3.5-sonnet", "claude-3.5", "anthropic_claude-3-5-sonnet-20241022"),
    ("horizon-beta", "gpt-5", "openrouter_horizon-beta"),
):
    known.append(known[0].model_copy(update={"name": name, "lineage": lineage, "model": model}))


# %%
def asked_of(candidate: Recorded) -> Campaign:
    """The campaign in which one model is the candidate and every other lineage is a control."""
    controls = [e.model_copy(update={"role": "control"}) for e in known if e.lineage not in {candidate.lineage, KIN}]
    return claim.model_copy(
        update={
            "campaign": f"r1-0528-{candidate.name}",
            "results": Path("results"),
            "endpoints": (suspect, candidate.model_copy(update={"role": "candidate"}), *controls),
            "analysis": claim.analysis.model_copy(update={"questions": ("kinship",)}),
        }
    )


# %% Holm over all that was looked at, not only over the best: sixteen looks are what "against all" costs.
def main(base: Path, limit: int | None = None) -> list[tuple[str, str, float, float, float]]:
    """Candidate, verdict on its own, p, p after Holm over every look, log10 LR; the closest first."""
    findings = [f for c in known for f in run_campaign(asked_of(c), base=base, limit=limit).findings]
    adjusted = holm([f.p_value for f in findings])
    rows = [(f.candidate, f.verdict, f.p_value, p, f.log10_lr) for f, p in zip(findings, adjusted, strict=True)]
    return sorted(rows, key=lambda row: row[2])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for candidate, verdict, p, p_all, lr in main(Path(folder)):
            print(f"{candidate:28} {verdict:15} p = {p:<7.3g} all looks {p_all:<6.3g} log10 LR {lr:.2g}")
