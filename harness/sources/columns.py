"""Which column of a table holds what: by its heading in many languages, else by its content; how answers lie in it."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from harness.config import guessed
from harness.errors import ConfigError
from harness.sources.cells import at, is_blank, opened, text_of
from harness.sources.entries import Role, Row, Shape

_LOOKED_AT = 300  # rows of which a layout is guessed
_MOST_MODELS = 0.34  # share of different values from which a column names no models
_NAME = 80  # characters of a model's name, at most
_OTHER = "other"
# What people write beside a model's name in the heading of its answers.
_ANSWER_WORDS = re.compile(
    r"(?i)[\s_\-:()\[\]]*\b(model|llm|response|responses|output|outputs|answer|answers|completion|reply|generation|text|"
    r"antwort|reponse|réponse|respuesta|risposta|ответ)\b[\s_\-:()\[\]]*|(?<=.)(回答|答案|输出|応答|답변)|(回答|答案|输出|応答|답변)(?=.)"
)
_SAMPLE = re.compile(r"(?i)[\s_\-]*(?:\(\d{1,3}\)|#\s?\d{1,3}|\b(?:sample|run|try|trial|rep|repeat)[\s_#]*\d{1,3})$")
_LETTERS = str.maketrans("ıłøđ", "ilod")  # letters whose stroke or missing dot is no accent of Unicode's
_NUMBERED = re.compile(r"(.*?)[\s_\-.#(]*(\d{1,3})\)?")


@dataclass(frozen=True)
class Layout:
    """What columns hold. ``roles`` are by role; ``outputs`` are the columns with answers, each with its model's name.

    The name is None where the rows, or nobody, tell it. ``inputs`` is a second column of the prompt, "" without one.
    """

    shape: Shape
    roles: Mapping[Role, str]
    outputs: tuple[tuple[str | None, str], ...]
    inputs: str = ""

    def unused(self, headings: Iterable[str]) -> tuple[str, ...]:
        """The columns that nobody reads."""
        used = {*self.roles.values(), *(c for _, c in self.outputs), self.inputs}
        return tuple(h for h in headings if h not in used)


@functools.cache
def _headings() -> dict[str, tuple[str, ...]]:
    text = Path(__file__).with_name("headings.yaml").read_text(encoding="utf-8")
    return {role: tuple(map(plain_heading, map(str, names))) for role, names in yaml.safe_load(text).items()}


def plain_heading(heading: str) -> str:
    """A heading without case, accents and punctuation.

    Examples
    --------
    >>> plain_heading(" Réponse (GPT-4o) ")
    'reponse_gpt_4o'
    >>> plain_heading("actualOutput"), plain_heading("Yan\u0131t")
    ('actual_output', 'yanit')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(heading))
    bare = unicodedata.normalize("NFKD", apart.casefold().translate(_LETTERS))
    return re.sub(r"[\W_]+", "_", "".join(c for c in bare if not unicodedata.combining(c))).strip("_")


def is_heading(text: str) -> bool:
    """Whether a text is a heading that somebody is known to write over a column."""
    return any(plain_heading(text) in names for names in _headings().values())


def layout_of(source: str, rows: Sequence[Row], named: Mapping[Role, str]) -> Layout:
    """The layout of a table; ``named`` are columns, or dotted paths into them, that the user gives.

    `ConfigError` names the columns if none of them can be the answer or its prompt.
    """
    first = rows[:_LOOKED_AT]
    headings = list(dict.fromkeys(k for row in first for k in row))
    for role, column in named.items():
        if column not in headings and all(at(row, column) is None for row in first):
            hint = f"it has {', '.join(map(str, headings))}; a text inside one is named by its path: a.b.0.c"
            raise ConfigError(f"{source}: no column {column!r} for {role}", hint)
    roles: dict[Role, str] = dict(named)
    free = [h for h in headings if h not in roles.values()]
    for role in get_args(Role):
        if role not in roles and (found := _by_heading(role, free)) is not None:
            roles[role] = found
            free.remove(found)
    if "sample" in roles and "sample" not in named and _holds_object(first, roles["sample"]):
        free.append(roles.pop("sample"))  # the question and what belongs to it, and no number
    for role in ("model", "prompt"):
        if role not in roles and (found := _inside(role, first, free)) is not None:
            roles[role] = found
            free.remove(found.partition(".")[0])
    outputs, shape = _answers(first, roles, free, named)
    if not outputs or not ({"prompt", "prompt_id"} & roles.keys()):
        roles, outputs = _by_content(first, roles, outputs, free)
    if not outputs or not ({"prompt", "prompt_id"} & roles.keys()):
        lacks = "the answers" if not outputs else "their prompts"
        hint = f"add --output-column, --prompt-column or --prompt-id-column; it has {', '.join(map(str, headings))}"
        raise ConfigError(f"{source}: no column can be told to hold {lacks}", hint)
    used = {*roles.values(), *(c for _, c in outputs)}
    inputs = next((h for h in headings if plain_heading(h) == "input" and h not in used), "")
    return Layout(
        shape, roles, tuple(outputs), inputs if plain_heading(roles.get("prompt", "")) == "instruction" else ""
    )


def is_answer(row: Row) -> bool:
    """Whether an object is one answer by its keys, and no document with many of them."""
    column = _by_heading("prompt", list(row))
    return column is not None and isinstance(row[column], str) and _by_heading("output", list(row)) is not None


def _by_heading(role: str, free: Sequence[str]) -> str | None:
    plain = {plain_heading(h): h for h in reversed(free)}
    return next((plain[name] for name in _headings()[role] if name in plain), None)


def _holds_object(rows: Sequence[Row], column: str) -> bool:
    return any(isinstance(opened(row.get(column)), dict) for row in rows)


def _inside(role: Role, rows: Sequence[Row], free: Sequence[str]) -> str | None:
    """The path of a heading within an object: ``metadata.model``, ``config.model.name``, ``sample.question``."""
    for column in free:
        value = next((o for row in rows if isinstance(o := opened(row.get(column)), dict)), None)
        if value is None or "." in column:
            continue
        plain = {plain_heading(k): k for k in reversed(list(value)) if isinstance(k, str) and "." not in k}
        for name in (n for n in _headings()[role] if n in plain):
            inside = value[plain[name]]
            if isinstance(inside, str):
                return f"{column}.{plain[name]}"
            if role == "model" and isinstance(inside, dict):
                key = next((k for k in ("name", "id") if isinstance(inside.get(k), str)), None)
                if key is not None:
                    return f"{column}.{plain[name]}.{key}"
    return None


def _answers(
    rows: Sequence[Row], roles: dict[Role, str], free: list[str], named: Mapping[Role, str]
) -> tuple[list[tuple[str | None, str]], Shape]:
    """Columns with answers and how they lie; takes them out of ``roles``."""
    output = roles.pop("output", None)
    if "output" in named:
        return [(None, named["output"])], "long"
    texts = [h for h in free if _holds_text(rows, h) and plain_heading(h) not in _headings()[_OTHER]]
    candidates = [*([output] if output else []), *texts]
    if "model" not in roles:
        models = [(name, h) for h in candidates if guessed(name := model_named(h)).name]
        if len(models) > 1:  # a column a model, and one of them may have a name that nobody knows
            known = {c for _, c in models}
            of_models = [h for h in candidates if h in known or (h in texts and output is None)]
            return [(model_named(h), h) for h in of_models], "wide"
    if numbered := _numbered(candidates):
        return [(None, h) for h in numbered], "long"
    if output is not None:
        return [(None, output)], "long"
    answering = [h for h in texts if model_named(h) != h]
    if len(answering) == 1 and ("model" in roles or len(texts) == 1):
        return [(None, answering[0])], "long"
    if "model" not in roles and len(texts) > 1 and ("prompt" in roles or "prompt_id" in roles):
        return [(model_named(h), h) for h in texts], "wide"
    return [], "long"


def model_named(heading: str) -> str:
    """A model's name in the heading of its answers.

    Examples
    --------
    >>> model_named("GPT-4o response"), model_named("answer_claude-3"), model_named("our model (2)")
    ('GPT-4o', 'claude-3', 'our')
    """
    heading = _SAMPLE.sub("", heading) or heading
    found = _ANSWER_WORDS.sub(" ", heading.replace("_", " ") if "_" in heading else heading).strip()
    return found if found and heading != found and not found.isdecimal() else heading.strip()


def _numbered(columns: Sequence[str]) -> list[str]:
    """Columns that are samples of one another: ``output_1``, ``output_2`` and so on."""
    stems: dict[str, list[str]] = {}
    outputs = _headings()["output"]
    for column in columns:
        found = _NUMBERED.fullmatch(column)
        stem = plain_heading(found[1]) if found else plain_heading(column)
        if stem in (*outputs, *_headings()["sample"]):
            stems.setdefault(stem, []).append(column)
    most = max(stems.values(), key=len, default=[])
    return most if len(most) > 1 else []


def _holds_text(rows: Sequence[Row], column: str) -> bool:
    """Whether most filled cells of a column are texts, lists or objects, and no numbers."""
    filled = [v for row in rows if not is_blank(v := row.get(column))]
    return bool(filled) and sum(map(_is_text, filled)) > len(filled) / 2


def _is_text(value: Any) -> bool:
    if isinstance(value, list | dict):
        return True
    return isinstance(value, str) and re.fullmatch(r"[\s\d.,:;%+\-/TZ]*", value) is None


def _by_content(
    rows: Sequence[Row], roles: dict[Role, str], outputs: list[tuple[str | None, str]], free: Sequence[str]
) -> tuple[dict[Role, str], list[tuple[str | None, str]]]:
    """The rest by what stands there: few short values name models, the longest texts are answers, the next prompts."""
    left = [h for h in free if _holds_text(rows, h) and h not in {c for _, c in outputs}]
    names = [h for h in left if _names_models(rows, h)] if "model" not in roles and not outputs else []
    if names:
        named = min(names, key=lambda h: _mean_length(rows, h))  # prompts recur, too, and are longer
        roles = {**roles, "model": named}
        left.remove(named)
    by_length = sorted(left, key=lambda h: -_mean_length(rows, h))
    if not outputs and by_length:
        outputs = [(None, by_length.pop(0))]
    asked = [h for h in by_length if not _holds_object(rows, h)]
    if not {"prompt", "prompt_id"} & roles.keys() and asked:
        roles = {**roles, "prompt": asked[0]}
    return roles, outputs


def _names_models(rows: Sequence[Row], column: str) -> bool:
    found = [text_of(row.get(column)).strip() for row in rows]
    kinds = set(found)
    short = all(0 < len(name) <= _NAME and "\n" not in name for name in kinds)
    few = 2 <= len(kinds) <= max(2, _MOST_MODELS * len(found))
    return short and (few or all(guessed(name).name for name in kinds))


def _mean_length(rows: Sequence[Row], column: str) -> float:
    return sum(len(text_of(row.get(column))) for row in rows) / max(1, len(rows))


def spread(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows whose answers stand in one object by model, ``{"responses": {"gpt-4o": ..., "ours": ...}}``, as columns.

    Only where no column names the model, and a key or the heading says that these are answers of models.
    """
    first = rows[:_LOOKED_AT]
    if (model := _by_heading("model", list(dict.fromkeys(k for row in first for k in row)))) is not None:
        return _turned(rows, model)
    for column in dict.fromkeys(k for row in first for k in row):
        values = [v for row in first if (v := opened(row.get(column))) is not None]
        if not values or not all(isinstance(v, dict) and len(v) > 1 for v in values):
            continue
        keys = dict.fromkeys(k for v in values for k in v)
        texts = all(isinstance(x, str | None) for v in values for x in v.values())
        heading = plain_heading(column)
        plural = heading.endswith("s") and (heading in _headings()["output"] or heading == "models")
        if texts and len(keys) <= max(8, len(values)) and (plural or any(guessed(k).name for k in keys)):
            rest = ({k: v for k, v in row.items() if k != column} for row in rows)
            return tuple(
                r | dict.fromkeys(keys) | (opened(row.get(column)) or {}) for r, row in zip(rest, rows, strict=True)
            )
    return tuple(rows)


def _turned(rows: Sequence[Row], model: str) -> tuple[Row, ...]:
    """A table with a row a model and a column a prompt, one row an answer; any other table as it is."""
    headings = [h for h in dict.fromkeys(k for row in rows for k in row) if h != model]
    known = any(is_heading(h) for h in headings)
    questions = [h for h in headings if len(str(h).split()) > 2 and _holds_text(rows, h)]
    models = [text_of(row.get(model)) for row in rows]
    if known or len(questions) < max(3, len(headings) / 2) or len(set(models)) < len(models):
        return tuple(rows)
    return tuple({"model": row.get(model), "prompt": h, "output": row.get(h)} for row in rows for h in questions)


def column_values(rows: Sequence[Row], path: str) -> Iterator[Any]:
    """What stands in a column, or at a dotted path, row by row."""
    for row in rows:
        yield row.get(path) if path in row else at(row, path)
