# %% [markdown]
# # A verdict from Python
# Cells for Jupyter or VS Code; as a program: `RECORDED_DATA=FOLDER python examples/api.py`. The campaign judges
# recorded answers (see docs/cases.md), so nobody is called and nothing is paid.

# %%
from pathlib import Path

from harness import limits, load_config, run_campaign, score, sentence, write

HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path("examples")

# %% A config is a typed, frozen object. Change it with `model_copy`; the YAML stays as it is.
campaign = load_config(HERE / "recorded" / "stranger.yaml")
campaign = campaign.model_copy(update={"campaign": "api-example", "results": Path("results")})
print([e.name for e in campaign.endpoints if e.role == "control"])

# %% Ask whatever is not stored yet, compare, decide. `limit` makes a short form; paths are relative to `base`.
scores = run_campaign(campaign, base=".", limit=60)

# %% A finding holds numbers and a verdict; `sentence` and `limits` say them in words. The limits are part of it.
for finding in scores.findings:
    print(finding.question, finding.suspect, finding.candidate, finding.verdict, f"p = {finding.p_value:.3g}")
    print(sentence(finding))
    for limit in limits(finding):
        print("limit:", limit)

# %% Behind it: one similarity per channel, prompts x models x models.
for similarity in scores.similarities:
    print(similarity.channel, similarity.values.shape)

# %% The same report and tables as `harness run` writes.
for path in write(campaign, scores, base="."):
    print(path)

# %% Answers are kept: decide again tomorrow without asking anybody.
again = score(campaign, base=".")
assert [f.verdict for f in again.findings] == [f.verdict for f in scores.findings]
