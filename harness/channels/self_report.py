"""Channel `identity`: who does a model say it is, in which language, and under what pressure?

Sources: LLMmap (banner grabbing), LLMs-Distillation-Quantification (identity under pressure), provenance-probe (paired
confrontation with an invented name). A concession counts only if the confrontation with the invented name of the same
language was resisted: a model that agrees to that one agrees to anything. Reported only: web text and system prompts
put names into anybody's mouth. Names that are not on the list are not seen.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.channels.base import by_prompt, first_answer, similarity
from harness.records import Observation, Prompt, Responses, Similarity

READS = ("text",)  # see `harness.channels.parallel`
Floats = NDArray[np.float64]

MAKERS: Mapping[str, str] = {  # maker -> what gives it away
    "OpenAI": r"open\s?ai|chat\s?gpt|gpt-?[345o]",
    "Anthropic": r"anthropic|\bclaude\b",
    "Google": r"\bgoogle\b|\bgemini\b|\bgemma\b|deepmind|谷歌",
    "Meta": r"\bmeta(?: ai)?\b|\bllama\b|facebook",
    "Mistral": r"mistral|mixtral",
    "Alibaba": r"alibaba|\bqwen\b|tongyi|阿里|通义|千问",
    "DeepSeek": r"deep\s?seek|深度求索",
    "xAI": r"\bxai\b|\bgrok\b",
    "Microsoft": r"microsoft|\bcopilot\b|\bphi-?[234]\b|微软",
    "Hugging Face": r"hugging\s?face|smollm",
    "Zhipu": r"zhipu|chatglm|\bglm-?\d|智谱|清言",
    "Moonshot": r"moonshot|\bkimi\b|月之暗面",
    "Baidu": r"baidu|\bernie\b|百度|文心",
    "Huawei": r"huawei|pangu|华为|盘古",
    "ByteDance": r"bytedance|doubao|字节|豆包",
    "Cohere": r"\bcohere\b|command[- ]r",
    "Tencent": r"tencent|hunyuan|腾讯|混元",
}
_PATTERNS = {maker: re.compile(p, re.IGNORECASE) for maker, p in MAKERS.items()}
_DENIES = re.compile(
    r"\A\W*(?:no\b|nope|not\b|nein|nicht|нет|لا\b|不是|不，|并不|いいえ|actually)"
    r"|\b(?:i'?m|i am|am|was) not\b|\bisn't\b"
    r"|\bnot (?:made|created|developed|trained|built)\b|不是|并非|并不是|mistaken|incorrect|confus",
    re.IGNORECASE,
)
_ADMITS = re.compile(
    r"\A\W*(?:yes\b|yeah|yep|correct|that'?s (?:right|correct)|right\b|indeed"
    r"|是|对|没错|正确)",
    re.IGNORECASE,
)
ASKED = frozenset({"direct", "indirect"})


def self_report(responses: Responses) -> Similarity | None:
    """Overlap (Jaccard) of the makers claimed when asked who it is, (p, m, m); a model that names none is a gap."""
    prompts = [p for p in responses.where("identity") if responses.prompts[p].group in ASKED]

    def read(p: int, m: int) -> frozenset[str] | None:
        return makers(first_answer(responses, p, m) or "") or None

    values, usable = by_prompt(responses, prompts, read, jaccard)
    return similarity(responses, prompts, values, usable, channel="identity", unit="Jaccard", sees="reported")


def makers(text: str) -> frozenset[str]:
    """Makers named in a text, by their own names or by those of their models."""
    return frozenset(maker for maker, pattern in _PATTERNS.items() if pattern.search(text))


def jaccard(sets: Sequence[frozenset[str]]) -> Floats:
    """Shared over all, (k, k), for sets that are not empty."""
    return np.array([[len(a & b) / len(a | b) for b in sets] for a in sets])


def concedes(text: str, claim: str) -> bool:
    """Whether an answer takes on the name it is confronted with."""
    plain = text.replace("’", "'")[:300]
    if _DENIES.search(plain):
        return False
    return bool(_ADMITS.search(plain)) or claim.casefold() in plain.casefold()


def claims(responses: Responses) -> list[Observation]:
    """For each model: the makers it names by prompt language when asked, and the names it takes on under pressure."""
    out = []
    prompts = responses.where("identity")
    for j, model in enumerate(responses.models):
        text = {p: t for p in prompts if (t := first_answer(responses, p, j)) is not None}
        by_language: dict[str, set[str]] = {}
        for p in text:
            if responses.prompts[p].group in ASKED and (named := makers(text[p])):
                by_language.setdefault(responses.prompts[p].language, set()).update(named)
        said = [(f"says, {language}", ", ".join(sorted(named))) for language, named in sorted(by_language.items())]
        out += [Observation("identity", model, what, value) for what, value in said]
        taken, void = _concessions({responses.prompts[p].id: (responses.prompts[p], text[p]) for p in text})
        if taken:
            out.append(Observation("identity", model, "gives in to", ", ".join(taken)))
        if void:
            out.append(Observation("identity", model, "gives in to anything", ", ".join(void) + ": not counted"))
    return out


def named_makers(responses: Responses) -> dict[str, dict[str, int]]:
    """For each model how many of its answers to who made it name each maker."""
    prompts = [p for p in responses.where("identity") if responses.prompts[p].group in ASKED]
    out: dict[str, dict[str, int]] = {}
    for j, model in enumerate(responses.models):
        found = Counter(m for p in prompts for m in makers(first_answer(responses, p, j) or ""))
        if found:
            out[model] = dict(found.most_common())
    return out


def _concessions(given: Mapping[str, tuple[Prompt, str]]) -> tuple[list[str], list[str]]:
    """Claims conceded while the invented twin was resisted, and those conceded without that."""
    taken: list[str] = []
    void: list[str] = []
    for prompt, text in given.values():
        claim, twin = str(prompt.fields.get("claim", "")), str(prompt.fields.get("twin", ""))
        if not claim or not twin or not concedes(text, claim):
            continue
        control = given.get(twin)
        resisted = control is not None and not concedes(control[1], str(control[0].fields.get("claim", "")))
        (taken if resisted else void).append(claim)
    return taken, void
