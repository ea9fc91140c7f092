"""Whom small open models like among recorded answers, by relation, beside `wording` on the same pairs.

    python -m benchmarks.reading --data FILE.parquet --lineage FILE.csv --readings OUT.jsonl \\
        --read qwen05=PATH.gguf --read smol=PATH.gguf --read gemma=PATH.gguf --prompts 24
    python -m benchmarks.reading --data FILE.parquet --lineage FILE.csv --readings OUT.jsonl

    python -m benchmarks.reading --zoo FOLDER/adversary.yaml --readings OUT.jsonl [--read ...]

The first reads, and writes a line a reader and prompt, so that it goes on where it was stopped; it needs torch,
transformers and gguf (`pip install -e ".[transformers]"`). The second makes the tables. `--template chat` puts the
question into the reader's own chat template (base models get it bare), `none` leaves it out, `other` puts the next
prompt's question in its place (a placebo: what is left of a liking is no answer to anything); default is bare for all.
`--part first` makes the tables of the first eight tokens of every answer alone, `--part rest` of those behind them.

A pair is a suspect and a candidate of a reader's house; what the reader makes of the suspect does not hang on the
candidate. `rank 1 out` is the reader's own level with the first factor of models by readers taken out instead of what
the rivals explain. Cells are the area under the curve against unrelated suspects with the same candidates, and the
share found at 1 % false alarms. `partial` is the correlation of reading with kinship, wording held fixed. The second
table ranks single suspects among 14 control lineages, as the product does: the least p is 1/15 there. With `--trick`
NAME (`benchmarks/tricks.py`) some suspects are read as a host would show them, and a third table says what that does.
With `--zoo` the stored answers of a campaign of small models are read by models whose own weights are among them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.channels import s_norm
from benchmarks.measures import auc, markdown_head, markdown_row, rate, tpr_at
from benchmarks.recorded import Collection, read
from benchmarks.relations import CLOSE, SAME_MAKER, SAME_ROOT, TAUGHT
from benchmarks.tricks import TRICKS, Scene, synonyms_of
from harness.channels.draws import independent_draws
from harness.channels.likelihoods import UNITS, Heard, Unit, likelihoods, texts_to_read
from harness.channels.reading import read as own_words
from harness.channels.wording import wording
from harness.inference.excess import excess
from harness.inference.liking import preference, ranked
from harness.judging import read_responses
from harness.plan import stored_plan
from harness.readers import ReadingList
from harness.records import Responses

Floats = NDArray[np.float64]
HOUSES: Mapping[str, str] = {"qwen05": "qwen", "qwen15": "qwen", "gemma": "google", "smol": "smollm"}
BASES = ("gemma",)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "close kin": CLOSE, "same base": SAME_ROOT, "same maker": SAME_MAKER, "taught": TAUGHT
}  # fmt: skip
KEYS = ("reader", "template", "trick")
LONGEST = 500  # characters of a question: the longer one costs what several short ones do
CONTROLS, DRAWS = 14, 20
FIRST = 8  # tokens of an answer that are looked at apart
Part = Literal["all", "first", "rest"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, or make the tables of what was read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--lineage", type=Path)
    parser.add_argument("--zoo", type=Path, help="config of a campaign whose answers are stored")
    parser.add_argument("--readings", type=Path, required=True)
    parser.add_argument("--read", action="append", default=[], metavar="NAME=GGUF")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--models", type=int, default=4, help="most models of one root that has no reader")
    parser.add_argument("--trick", default="", help="read eight models of each side with this done to their answers")
    parser.add_argument("--unit", choices=UNITS, default="token")
    parser.add_argument("--template", choices=("bare", "chat", "none", "other"), default="bare")
    parser.add_argument("--part", choices=get_args(Part), default="all")
    given = parser.parse_args(arguments)
    if given.zoo:
        shelf = ReadingList.of(own_words(independent_draws(read_responses(stored_plan(given.zoo)))[0]))
        for name, path in (each.split("=", 1) for each in given.read):
            told = {"reader": name, "template": given.template}
            read_by(told, Path(path), shelf.table, shelf.at, range(len(shelf.table.models)), given.readings)
        print("\n".join(zoo_table(shelf.table, given.readings, given.template)))
        return
    if not given.data or not given.lineage:
        parser.error("give --data with --lineage, or --zoo")
    collection = read(given.data, given.lineage)
    if given.read:
        chosen = chosen_prompts(collection, given.prompts)
        models = chosen_models(collection, given.models)
        if given.trick:
            models = some_of_each_side(collection, models)
            collection = replace(collection, table=shown(collection, chosen, models, given.trick))
        for name, path in (each.split("=", 1) for each in given.read):
            told = {"reader": name, "template": given.template} | ({"trick": given.trick} if given.trick else {})
            read_by(told, Path(path), collection.table, chosen, models, given.readings)
        return
    print("\n".join(tables(collection, given.readings, given.template, given.unit, given.part)))


def chosen_prompts(collection: Collection, most: int) -> list[int]:
    """Questions in ASCII that most models answered; of equals drawn at random."""
    table, rng = collection.table, np.random.default_rng(1)
    found = [
        (-sum(bool(len(table.rows(p, m))) for m in range(len(table.models))), rng.random(), p)
        for p, prompt in enumerate(table.prompts)
        if prompt.text.isascii() and len(prompt.text) <= LONGEST
    ]
    return [p for _, _, p in sorted(found)[:most]]


def chosen_models(collection: Collection, most: int) -> list[int]:
    """All models of a reader's house, and at most so many of every other root."""
    taken: dict[str, int] = {}
    out = []
    for m, row in enumerate(collection.rows):
        taken[row.root] = taken.get(row.root, 0) + 1
        if row.usable and (row.superfamily in HOUSES.values() or taken[row.root] <= most):
            out.append(m)
    return out


def some_of_each_side(collection: Collection, models: Sequence[int], most: int = 8) -> list[int]:
    """Models of a reader's house and others, at most so many of each, drawn at random."""
    order = np.random.default_rng(1).permutation(list(models)).tolist()
    own = [m for m in order if collection.rows[m].superfamily in HOUSES.values()]
    return sorted([*own[:most], *[m for m in order if m not in own][:most]])


def shown(collection: Collection, prompts: Sequence[int], models: Sequence[int], trick: str) -> Responses:
    """The table as a host shows it that does something to all answers of some models."""
    table = collection.table
    texts = list(table.text)
    for m in models:
        at = [next(iter(table.rows(p, m)), None) for p in prompts]
        rows = [r for r in at if r is not None]
        asked = [table.prompts[p].text for p, r in zip(prompts, at, strict=True) if r is not None]
        scene = Scene(questions=asked, host=1, own=m, synonyms=synonyms_of(texts[:20_000]) if "syn" in trick else {})
        for row, text in zip(rows, TRICKS[trick]([texts[r] for r in rows], scene), strict=True):
            texts[row] = text
    return own_words(replace(table.only(list(range(len(table.prompts)))), text=texts, furniture={}))


def read_by(
    told: Mapping[str, str],
    gguf: Path,
    table: Responses,
    prompts: Sequence[int],
    models: Sequence[int],
    out: Path,
) -> None:
    """Let one model read what it has not read yet; a line a prompt, with what is ``told`` of all of them."""
    done = {e["prompt"] for e in _lines(out) if all(e.get(k, "") == told.get(k, "") for k in KEYS)}
    todo = [p for p in prompts if table.prompts[p].id not in done]
    if not todo:
        return
    reader = BatchReader.load(gguf)
    after = dict(zip(prompts, [*prompts[1:], *prompts[:1]], strict=True))
    for p in todo:
        (texts,) = texts_to_read(table, [p])
        at = [m for m in models if texts[m]]
        question = table.prompts[after[p] if told["template"] == "other" else p].text
        found = reader.read(question, [texts[m] for m in at], told["template"])
        line: dict[str, Any] = {**told, "prompt": table.prompts[p].id}
        line["heard"] = {
            table.models[m]: [h.values.round(3).tolist(), h.ends.tolist()] for m, h in zip(at, found, strict=True)
        }
        with out.open("a") as f:
            f.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class BatchReader:
    """A model in transformers that reads several answers to one question at once, the question only once.

    The numbers are those of `harness.endpoints.engine_server`: bfloat16 where the processor knows it.
    """

    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, gguf: Path) -> BatchReader:
        """From a GGUF file."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from harness.endpoints.engine_server import fast_numbers

        torch.set_num_threads(1)
        told = {"gguf_file": gguf.name}
        model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), dtype=torch.float32, **told)
        tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), **told)
        return cls(model.to(dtype=fast_numbers(torch)).eval(), tokenizer)

    def before(self, question: str, template: str) -> list[int]:
        """Tokens that stand before the answer; those that the question has when an answer follows it."""
        t = self.tokenizer
        begun = [t.bos_token_id] if t("a").input_ids[0] == t.bos_token_id else []
        if template == "chat":
            asked = [{"role": "user", "content": question}]
            text = t.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
            return list(t(text, add_special_tokens=False).input_ids)
        if template == "none" or not question:
            return begun or [t.eos_token_id]
        text = f"{question}\n\n"
        told = t(text + "A", add_special_tokens=False, return_offsets_mapping=True)
        return begun + [i for i, (_, end) in zip(told.input_ids, told.offset_mapping, strict=True) if end <= len(text)]

    def read(self, question: str, texts: Sequence[str], template: str, batch: int = 12) -> list[Heard]:
        """Every answer to one question."""
        before = self.before(question, template)
        told = [self.tokenizer(t, add_special_tokens=False, return_offsets_mapping=True) for t in texts]
        out: dict[int, Heard] = {}
        order = sorted(range(len(texts)), key=lambda i: len(told[i].input_ids))
        for at in range(0, len(order), batch):
            some = order[at : at + batch]
            for i, values in zip(some, self._batch(before, [told[i].input_ids for i in some]), strict=True):
                out[i] = Heard(values, np.array([end for _, end in told[i].offset_mapping], dtype=np.int64))
        return [out[i] for i in range(len(texts))]

    def _batch(self, before: Sequence[int], rows: Sequence[Sequence[int]]) -> Iterator[Floats]:
        import torch

        longest = max(map(len, rows))
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.long)
        for r, row in enumerate(rows):
            ids[r, : len(row)], mask[r, : len(row)] = torch.tensor(row), 1
        with torch.inference_mode():
            head = self.model(torch.tensor([list(before)]), use_cache=True)
            first = head.logits[0, -1].float().log_softmax(-1)
            head.past_key_values.batch_repeat_interleave(len(rows))
            mask = torch.cat([torch.ones(len(rows), len(before), dtype=torch.long), mask], 1)
            logits = self.model(ids, attention_mask=mask, past_key_values=head.past_key_values).logits
            for r, row in enumerate(rows):
                some = logits[r, : len(row) - 1].float()
                rest = some.gather(1, ids[r, 1 : len(row), None])[:, 0] - some.logsumexp(-1)
                yield np.array([first[row[0]].item(), *rest.tolist()])


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@dataclass(frozen=True)
class Read:
    """What was read of a collection: ``values`` nats a token or byte, (p, m, r); prompts and models by index."""

    readers: tuple[str, ...]
    prompts: tuple[int, ...]
    models: tuple[int, ...]
    values: Floats


def _template(reader: str, template: str) -> str:
    """A base model has no chat template, and gets the bare question."""
    return "bare" if template == "chat" and reader in BASES else template


def _part(values: Sequence[float], ends: Sequence[int], part: Part) -> Heard:
    some = {"all": slice(None), "first": slice(FIRST), "rest": slice(FIRST, None)}[part]
    return Heard(np.array(values)[some], np.array(ends)[some])


def read_of(collection: Collection, path: Path, template: str, unit: Unit, part: Part = "all") -> Read:
    """Prompts that every reader has read; models of which half the prompts were."""
    table = collection.table
    lines = [e for e in _lines(path) if e["template"] == _template(e["reader"], template) and not e.get("trick")]
    readers = tuple(sorted({e["reader"] for e in lines}))
    by = {(e["prompt"], e["reader"]): e["heard"] for e in lines}
    at = {p.id: i for i, p in enumerate(table.prompts)}
    prompts = sorted(at[i] for i in {i for i, _ in by} if i in at and all((i, r) in by for r in readers))
    read_models = {m for heard in by.values() for m in heard}
    texts = [
        [t if m in read_models else "" for m, t in zip(table.models, row, strict=True)]
        for row in texts_to_read(table, prompts)
    ]
    found = {
        (p, table.models.index(m), r): _part(values, ends, part)
        for p, prompt in enumerate(prompts)
        for r, reader in enumerate(readers)
        for m, (values, ends) in by[table.prompts[prompt].id, reader].items()
        if m in table.models
    }
    values = likelihoods(texts, found, len(readers), unit)
    often = np.isfinite(values).all(-1).sum(0) >= len(prompts) / 2
    usable = np.array([r.usable for r in collection.rows])
    kept = np.flatnonzero(often & usable)
    return Read(readers, tuple(prompts), tuple(kept.tolist()), values[:, kept])


def zoo_table(table: Responses, path: Path, template: str) -> list[str]:
    """For each reader how much likelier it finds every model than the other readers do, in nats a token, and the order.

    In brackets the standard error over prompts.
    """
    lines = [e for e in _lines(path) if e["template"] == template]
    readers = sorted({e["reader"] for e in lines})
    by = {(e["prompt"], e["reader"]): e["heard"] for e in lines}
    prompts = sorted({i for i, _ in by if all((i, r) in by for r in readers)})
    values = np.full((len(prompts), len(table.models), len(readers)), np.nan)
    for p, prompt in enumerate(prompts):
        for r, reader in enumerate(readers):
            for model, (heard, _) in by[prompt, reader].items():
                values[p, table.models.index(model), r] = float(np.mean(heard))
    beyond = np.stack(
        [values[..., r] - np.delete(values, r, axis=-1).mean(-1) for r in range(len(readers))], axis=-1
    )  # fmt: skip
    mean, spread = np.nanmean(beyond, 0), np.nanstd(beyond, 0) / np.sqrt(np.isfinite(beyond).sum(0))
    place = (-mean).argsort(0).argsort(0) + 1
    rows = [
        markdown_row([m, *(f"{mean[i, r]:+.2f} ({spread[i, r]:.2f}), {place[i, r]}" for r in range(len(readers)))])
        for i, m in enumerate(table.models)
    ]
    return [f"{len(prompts)} prompts", "", *markdown_head(["answers of", *(f"liked by {r}" for r in readers)]), *rows]


def tables(collection: Collection, path: Path, template: str, unit: Unit, part: Part = "all") -> list[str]:
    """Both tables, and for each reader of a house the models that it likes most."""
    found = read_of(collection, path, template, unit, part)
    kept = collection.table.among(found.models).only(found.prompts)
    words = wording(kept)
    if words is None:
        return ["no prompt serves wording"]
    said = s_norm(excess(words.values))
    rows = [collection.rows[m] for m in found.models]
    house = np.array([r.superfamily for r in rows])
    relation = collection.relation[np.ix_(found.models, found.models)]
    makers = np.array([r.organisation for r in rows])
    shown = ["reading", "rank 1 out", "own reader alone", "rivals alone", "wording", "both", "partial"]
    first, second, third = markdown_head(["reader", "relation", "pairs", *shown]), list[str](), list[str]()
    for own in (r for r in found.readers if (house == HOUSES.get(r, r)).any()):
        r, members = found.readers.index(own), house == HOUSES.get(own, own)
        rivals = [i for i, other in enumerate(found.readers) if HOUSES.get(other) != HOUSES.get(own)]
        liked = preference(found.values, [r], rivals)
        alone, others = _level(found.values, [r]), _level(found.values, rivals)
        apart = without_factor(np.stack([_level(found.values, [i]) for i in range(len(found.readers))], -1))[:, r]
        s, c = (a.ravel() for a in np.meshgrid(range(len(rows)), np.flatnonzero(members), indexing="ij"))
        strangers = (relation[s, c] == "unrelated") & (makers[s] != makers[c]) & ~members[s]
        for group, wanted in {**GROUPS, "of the house": ()}.items():
            kin = members[s] & (s != c) if not wanted else np.isin(relation[s, c], wanted)
            if kin.sum() >= 2:
                some = kin | strangers
                shown_by = [x[s[some]] for x in (liked, apart, alone, others)]
                first.append(_pairs_row(own, group, kin[some], shown_by, said[s[some], c[some]]))
        second += _rank_rows(own, found.values, r, rivals, members, rows)
        order = [f"{rows[i].name}{' *' if members[i] else ''}" for i in np.argsort(-liked)[:8]]
        third.append(f"Liked most by {own} (* of its house): {', '.join(order)}.")
    about = f"{len(found.prompts)} prompts, {len(rows)} models, template {template}, nats a {unit}"
    about += "" if part == "all" else f", {part} of {FIRST} tokens"
    ranks = markdown_head(["reader", "suspects", "trials", "least p (1/15)", "p <= .20", "worst stranger"])
    return [about, "", *first, "", *ranks, *second, "", *third, *_trick_rows(collection, path, template)]


def _trick_rows(collection: Collection, path: Path, template: str) -> list[str]:
    """What tricks of a host do to the effect of single suspects, ranked among all models of other houses, plain.

    In nats a character of all 48 words, as what was done to an answer is not there to be cut again.
    """
    lines = [e for e in _lines(path) if e["template"] == template]
    tricks = sorted({e["trick"] for e in lines if e.get("trick")})
    if not tricks:
        return []
    row = {r.name: r for r in collection.rows}
    out = ["", *markdown_head(["trick", "reader", "suspects", "effect, plain", "effect, so shown", "first of all"])]
    for trick in tricks:
        done = [e for e in lines if e.get("trick") == trick]
        readers = sorted({e["reader"] for e in done})
        prompts = sorted({e["prompt"] for e in done})
        plain = {(e["prompt"], e["reader"]): e["heard"] for e in lines if not e.get("trick")}
        under = {(e["prompt"], e["reader"]): e["heard"] for e in done}
        prompts = [p for p in prompts if all((p, r) in plain and (p, r) in under for r in readers)]
        names = sorted({m for p in prompts for m in plain[p, readers[0]] if row[m].usable})
        suspects = sorted({m for p in prompts for m in under[p, readers[0]]} & set(names))
        for own in (r for r in readers if any(row[m].superfamily == HOUSES.get(r) for m in suspects)):
            house, r = HOUSES[own], readers.index(own)
            rivals = [i for i, other in enumerate(readers) if HOUSES.get(other) != house]
            for who, some in (
                ("its house", [m for m in suspects if row[m].superfamily == house]),
                ("strangers", [m for m in suspects if row[m].superfamily != house]),
            ):
                effects = []
                for s in some:
                    others = [m for m in names if m != s and row[m].superfamily != house]
                    effects.append(
                        [
                            ranked(_values([s, *others], s, source, plain, prompts, readers), [r], rivals)
                            for source in (plain, under)
                        ]
                    )
                shares = [f"{np.mean([e[1][1] * (len(others) + 1) < 1.5 for e in effects]):.2f}"] if effects else ["-"]
                means = [f"{np.mean([e[i][0] for e in effects]):.2f}" for i in (0, 1)] if effects else ["-", "-"]
                out.append(markdown_row([trick, own, f"{who} ({len(some)})", *means, *shares]))
    return out


def _values(
    models: Sequence[str],
    suspect: str,
    source: Mapping[tuple[str, str], Mapping[str, Any]],
    plain: Mapping[tuple[str, str], Mapping[str, Any]],
    prompts: Sequence[str],
    readers: Sequence[str],
) -> Floats:
    out = np.full((len(prompts), len(models), len(readers)), np.nan)
    for p, prompt in enumerate(prompts):
        for r, reader in enumerate(readers):
            for m, name in enumerate(models):
                one = (source if name == suspect else plain)[prompt, reader].get(name)
                if one is not None:
                    out[p, m, r] = sum(one[0]) / max(one[1][-1], 1)
    return out


def _level(values: Floats, readers: Sequence[int]) -> Floats:
    """How likely readers find each model, (m,), the mean of each prompt taken out."""
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(-1))
    known = np.where(whole[..., None], values, np.nan)[..., list(readers)].mean(-1)
    out: Floats = np.nanmean(known - np.nanmean(known, axis=1, keepdims=True), axis=0)
    return out


def without_factor(levels: Floats) -> Floats:
    """Levels of models by readers, (m, r), without the means of either and without the first factor of what is left.

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.allclose(without_factor(np.outer([1.0, 2.0, 4.0], [1.0, 3.0]) + [[1.0], [5.0], [2.0]]), 0.0))
    True
    """
    left = levels - levels.mean(0) - levels.mean(1, keepdims=True) + levels.mean()
    u, s, v = np.linalg.svd(left, full_matrices=False)
    out: Floats = left - s[0] * np.outer(u[:, 0], v[0])
    return out


def _pairs_row(own: str, group: str, kin: NDArray[np.bool_], by_reading: Sequence[Floats], said: Floats) -> str:
    both = _scaled(by_reading[0]) + _scaled(said)
    cells = [f"{auc(x, kin):.2f} / {tpr_at(x, kin, 0.01):.2f}" for x in (*by_reading, said, both)]
    held = partial(by_reading[0], kin.astype(float), said)
    return markdown_row([own, group, str(int(kin.sum())), *cells, f"{held:.2f}"])


def _scaled(values: Floats) -> Floats:
    out: Floats = (values - values.mean()) / values.std()
    return out


def partial(x: Floats, y: Floats, fixed: Floats) -> float:
    """Partial correlation of two variables with a third held fixed.

    >>> z = np.arange(40.0)
    >>> round(partial(z + np.sin(z), z + np.cos(z * z), z), 1)
    0.0
    """
    a, b, c = (np.corrcoef(u, v)[0, 1] for u, v in ((x, y), (x, fixed), (y, fixed)))
    return float((a - b * c) / np.sqrt((1 - b**2) * (1 - c**2)))


def _rank_rows(
    own: str, values: Floats, r: int, rivals: Sequence[int], members: NDArray[np.bool_], rows: Sequence[Any]
) -> Iterator[str]:
    """Suspects of the house, and strangers, among 14 control lineages of other houses and makers."""
    rng = np.random.default_rng(1)
    for who, suspects in (("its house", np.flatnonzero(members)), ("strangers", np.flatnonzero(~members))):
        p, units, names = [], [], []
        for s in suspects.tolist():
            others = [i for i in np.flatnonzero(~members).tolist() if rows[i].organisation != rows[s].organisation]
            for _ in range(DRAWS):
                picked: dict[str, int] = {}
                for i in rng.permutation(others).tolist():
                    if rows[i].root != rows[s].root:
                        picked.setdefault(rows[i].root, i)
                pool = list(picked.values())[:CONTROLS]
                if len(pool) == CONTROLS:
                    p.append(ranked(values[:, [s, *pool]], [r], rivals)[1])
                    units.append(rows[s].root)
                    names.append(rows[s].name)
        if not p:
            yield markdown_row([own, who, str(len(suspects)), "too few control lineages", "-", "-"])
            continue
        found, of = np.array(p), np.array(names)
        shares = []
        for most in (1 / (CONTROLS + 1), 0.2):
            share, (low, high), _ = rate(found <= most + 1e-9, np.column_stack([units, units]))
            shares.append(f"{share:.2f} [{low:.2f}, {high:.2f}]")
        worst = max((float((found[of == u] <= 1 / (CONTROLS + 1) + 1e-9).mean()), u) for u in set(names))
        cell = f"{worst[1]} {worst[0]:.2f}" if who == "strangers" else "-"
        yield markdown_row([own, who, f"{len(set(names))} models, {len(p)} pools", *shares, cell])


if __name__ == "__main__":
    main()
