"""Answers of several files as one table: prompts matched by their text, copies dropped, samples numbered, and told."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from harness.errors import ConfigError
from harness.records import Surface
from harness.sources.calls import listed_calls
from harness.sources.columns import is_answer, layout_of, spread
from harness.sources.documents import expanded
from harness.sources.entries import (
    Account,
    Asked,
    Coverage,
    Drop,
    Entry,
    Found,
    Gathered,
    ModelsFrom,
    Reading,
    Role,
    Row,
    Sheet,
    Skipped,
    Unread,
)
from harness.sources.evaluations import tool_of
from harness.sources.formats import in_one_line, open_source
from harness.sources.tabular import other_rows, read_table

MOST_CHARACTERS = 1 << 30  # of all answers and prompts together
FEWEST_CHOICES = 5  # samples of one prompt from which short answers are choices; below, a share of them says too little
SHORT = 40  # characters: a pick, and no sentence
HARDLY = 1.25  # models a prompt from which prompts count as recurring
_NO_NAME = re.compile(
    r"(?i)(?:samples?|answers?|outputs?|responses?|results?|completions?|predictions?|generations?|data|log|test|eval)"
)
_EXAMPLES = 3
_FILE_WORDS = re.compile(
    r"(?i)(?:^|[\s_\-.]+)(?:model_)?(?:answers?|outputs?|responses?|results?|completions?|predictions?|batch)(?=[\s_\-.]|$)"
)
Text = tuple[Surface, str]


def gather(sources: Sequence[str], named: Mapping[Role, str] | None = None, model: str | None = None) -> Gathered:
    """Read all answers of files, folders and data sets, and account for what was guessed.

    Parameters
    ----------
    sources : paths, or ``hf:NAME[:SPLIT]``.
    named : columns, or dotted paths, by role, where the guess is wrong.
    model : whose all answers are, whatever their rows say.

    `ConfigError` in one line for a file that cannot be read, and if there are no answers at all.
    """
    found: list[Entry] = []
    asked: dict[str, Asked] = {}
    readings: list[Reading] = []
    unread: list[Unread] = []
    characters = 0
    for source in sources:
        is_folder = not source.startswith("hf:") and Path(source).expanduser().is_dir()
        for sheet in open_source(source):
            if isinstance(sheet, Unread):
                unread.append(sheet)
                continue
            try:
                inside = is_folder and Path(sheet.source).parent != Path(source).expanduser()
                told, here = in_one_line(sheet.source, partial(_read, sheet, named or {}, model, inside))
            except ConfigError as e:
                if not is_folder and not sheet.is_sheet:
                    raise
                unread.append(Unread(sheet.source, e.message.removeprefix(f"{sheet.source}: ")))
                continue
            characters += sum(len(e.output) + len(e.prompt or "") for e in here if isinstance(e, Entry))
            if characters > MOST_CHARACTERS:
                raise ConfigError(f"{source}: more than {MOST_CHARACTERS >> 20:,} MB of text", "name fewer files")
            readings.append(told)
            found += [e for e in here if isinstance(e, Entry)]
            for a in (a for a in here if isinstance(a, Asked)):
                if trimmed(asked.setdefault(a.prompt_id, a).prompt) != trimmed(a.prompt):
                    hint = "batches that number different prompts alike: import each with its input by itself"
                    raise ConfigError(f"{sheet.source}: two prompts are called {a.prompt_id[:60]!r}", hint)
    if not found:
        left = [f"{count} x {kind}" for r in readings for kind, (count, _) in r.dropped.items()]
        empty = f"no row of it holds an answer{f' ({left[0]})' if left else ''}"
        why = empty if readings else unread[0].why if unread else "no file that can be read"
        raise ConfigError(f"{', '.join(sources)}: no answers there: {why}", "name the files that hold them")
    settled, copies = _settled(_with_prompts(found, asked))
    return Gathered(settled, _account(settled, copies, readings, unread))


def _read(
    sheet: Sheet, named: Mapping[Role, str], model: str | None, inside: bool = False
) -> tuple[Reading, list[Found]]:
    """What was guessed of one sheet, and all that stands in it; ``inside`` a folder of its own among others."""
    rows = listed_calls(sheet.rows)
    tool = None if named else tool_of(rows)
    if tool is None and len(rows) == 1 and not is_answer(rows[0]) and (table := expanded(rows[0])):
        rows, tool = tuple(table), None if named else tool_of(table)
    reading = Reading(
        sheet.source, sheet.format, len(rows), 0, sheet=sheet.name if sheet.is_sheet else "",
        encoding=sheet.encoding, delimiter=sheet.delimiter,
    )  # fmt: skip
    own = model or model_of_file(sheet.name)
    if inside and not model and _NO_NAME.fullmatch(own):
        own = sheet.folder  # a folder a model, with files that are all called alike
    if tool is not None:
        found = list(tool.read(rows, "", sheet.folder))  # without a name of its own, to see who tells it
        told = any(e.model for e in found if isinstance(e, Entry))
        found = [replace(e, model=model or e.model or own) if isinstance(e, Entry) else e for e in found]
        teller: ModelsFrom = "--model" if model else "the log" if told else "the name of the file"
        reading = replace(reading, shape="pairs" if tool.pairs else "log", kind=tool.name, models_from=teller)
    else:
        rows = rows if named else spread(rows)
        layout = layout_of(sheet.source, rows, named)
        if model is not None and "model" not in named:
            layout = replace(layout, roles={r: c for r, c in layout.roles.items() if r != "model"})
        found = list(read_table(sheet.source, rows, layout, own))
        found += _others(sheet.source, other_rows(rows, layout), own)
        if numbered := _is_numbered(found):
            found = [replace(e, prompt=None) if isinstance(e, Entry) else e for e in found]
        columns = [*layout.roles.items(), *((f"model {m}" if m else "output", c) for m, c in layout.outputs)]
        heads = dict.fromkeys(k for row in rows[:100] for k in row)
        by_name: ModelsFrom = "the name of the sheet" if sheet.is_sheet else "the name of the file"
        own_kind: ModelsFrom = "--model" if model else by_name
        source: ModelsFrom = (
            "columns" if layout.shape == "wide" else "a column" if "model" in layout.roles else own_kind
        )
        reading = replace(reading, shape=layout.shape, columns=tuple(columns), unused=layout.unused(heads),
                          models_from=source, is_numbered=numbered)  # fmt: skip
    dropped = _dropped(found, sheet.torn)
    answers = [e.model for e in found if isinstance(e, Entry)]
    asked = sum(isinstance(e, Asked) for e in found)
    models = tuple(dict.fromkeys(answers))
    return replace(reading, answers=len(answers), models=models, dropped=dropped, asked=asked), found


def _is_numbered(found: Sequence[Found]) -> bool:
    """Whether prompts recur from model to model by number and hardly by text, as where scores stand for the text."""
    by_id: dict[str, set[str]] = {}
    by_text: dict[str, set[str]] = {}
    for e in found:
        if isinstance(e, Entry) and e.prompt_id is not None and e.prompt is not None:
            by_id.setdefault(e.prompt_id, set()).add(e.model)
            by_text.setdefault(e.prompt.strip(), set()).add(e.model)
    if not by_id:
        return False
    shared, alike = (sum(map(len, by.values())) / len(by) for by in (by_id, by_text))
    return alike < HARDLY and shared > 1.5 * alike


def _others(source: str, rows: Sequence[Row], own: str) -> list[Found]:
    """Answers of rows that call their columns otherwise than the first ones do."""
    if not rows:
        return []
    try:
        return list(read_table(source, rows, layout_of(source, rows, {}), own))
    except ConfigError:
        return [Skipped("no answer", ", ".join(map(str, rows[0]))[:60])] * len(rows)


def model_of_file(name: str) -> str:
    """The model that a file is called after.

    Examples
    --------
    >>> model_of_file("gpt-4o_outputs"), model_of_file("answers-claude-3"), model_of_file("answers")
    ('gpt-4o', 'claude-3', 'answers')
    """
    return _FILE_WORDS.sub("", name).strip(" _-.") or name


def _dropped(found: Sequence[Found], torn: int) -> dict[Drop, tuple[int, str]]:
    out: dict[Drop, tuple[int, str]] = {"torn row": (torn, "")} if torn else {}
    for skipped in found:
        if isinstance(skipped, Skipped):
            count, example = out.get(skipped.why, (0, skipped.what))
            out[skipped.why] = (count + 1, example or skipped.what)
    return out


def trimmed(text: str) -> str:
    """A prompt as it is matched: without space round it or at the ends of lines, and letters composed alike."""
    lines = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip()


def _with_prompts(found: Sequence[Entry], asked: Mapping[str, Asked]) -> Iterator[Entry]:
    """Prompts that only a number stands for get their text, if a file has it; then each text one id.

    The id that a file gives is kept, unless it stands for two texts, as numbers of two files do.
    """
    texts: dict[str, set[str]] = {}
    for e in found:
        if e.prompt_id is not None and e.prompt is not None:
            texts.setdefault(e.prompt_id, set()).add(trimmed(e.prompt))
    for a in asked.values():
        texts.setdefault(a.prompt_id, set()).add(trimmed(a.prompt))
    ids: dict[Text, str] = {}
    taken: set[str] = set()
    for e in found:
        prompt, system = e.prompt, e.system
        if prompt is None and e.prompt_id is not None and e.prompt_id in asked:
            prompt, system = asked[e.prompt_id].prompt, asked[e.prompt_id].system
        elif prompt is None and e.prompt_id is not None and len(texts.get(e.prompt_id, ())) == 1:
            prompt = next(iter(texts[e.prompt_id]))
        if prompt is None:
            yield replace(e, prompt_id=e.prompt_id or "?")
            continue
        key = (e.surface, trimmed(prompt))
        if key not in ids:
            own = e.prompt_id
            usable = own is not None and len(texts.get(own, ())) == 1 and own not in taken
            ids[key] = own if usable and own is not None else _hashed(*key)
            taken.add(ids[key])
        yield replace(e, prompt=trimmed(prompt), system=system, prompt_id=ids[key])


def _hashed(surface: Surface, text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"p-{digest}" if surface == "chat" else f"p-{digest}-raw"


def _settled(entries: Iterator[Entry]) -> tuple[tuple[Entry, ...], Counter[str]]:
    """Every answer once, with samples numbered from 0; and by model how many rows said one a second time.

    Rows alike in model, prompt and output are one answer; where the file numbers samples, rows alike in that, too.
    """
    seen: set[tuple[str, str | None, str, int | None]] = set()
    numbers: Counter[tuple[str, str | None]] = Counter()
    copies: Counter[str] = Counter()
    out = []
    for e in entries:
        key = (e.model, e.prompt_id, e.output, e.sample)
        if key in seen:
            copies[e.model] += 1
            continue
        seen.add(key)
        cell = (e.model, e.prompt_id)
        out.append(replace(e, sample=numbers[cell]))
        numbers[cell] += 1
    return tuple(_served(out)), copies


def _served(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Entries with the channels that their prompts serve beside those of text: ratings, choices, logprobs."""
    by_prompt: dict[str | None, list[Entry]] = {}
    for e in entries:
        by_prompt.setdefault(e.prompt_id, []).append(e)
    known = {p: _channels(found) for p, found in by_prompt.items()}
    for e in entries:
        scales, channels = known[e.prompt_id]
        yield replace(e, scales=scales, channels=channels)


def _channels(entries: Sequence[Entry]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scales and channels of one prompt; no channels where it serves those of text, as every recorded prompt does."""
    given = next((e.channels for e in entries if e.channels), ())
    scales = {e.scales for e in entries if e.scales}
    rated = next(iter(scales)) if len({frozenset(s) for s in scales}) == 1 else ()
    logprobs = ("logprobs",) if any(e.logprobs for e in entries) else ()
    if given:
        return rated, given
    if rated:
        return rated, ("ratings", *logprobs)
    counts = Counter(e.model for e in entries)
    few = min(counts.values()) < FEWEST_CHOICES or entries[0].surface == "completion"
    if few or any(len(e.output.strip()) > SHORT for e in entries):
        return (), ()
    return (), ("choices", *logprobs)


def _account(
    entries: Sequence[Entry], copies: Counter[str], readings: Sequence[Reading], unread: Sequence[Unread]
) -> Account:
    answered: dict[str, Counter[str]] = {}
    texts: dict[str, str] = {}
    empty: Counter[str] = Counter()
    serving: dict[str, set[str]] = {}
    for e in entries:
        prompt = str(e.prompt_id)
        answered.setdefault(e.model, Counter())[prompt] += 1
        empty[e.model] += not e.output.strip()
        if prompt not in texts:
            texts[prompt] = e.prompt or ""
        raw, told = e.surface == "completion", e.logprobs is not None
        for channel in (*e.channels, *(["continuations"] if raw else []), *(["logprobs"] if told else [])):
            serving.setdefault(channel, set()).add(prompt)
    times = Counter(p for prompts in answered.values() for p in prompts)
    alone = [(m, texts[p]) for m, prompts in answered.items() for p in prompts if times[p] == 1 and len(answered) > 1]
    return Account(
        readings=tuple(readings),
        unread=tuple(unread),
        models=tuple(
            Coverage(m, sum(n.values()), len(n), max(n.values()), empty[m], sum(times[p] == 1 for p in n))
            for m, n in answered.items()
        ),
        prompts=len(texts),
        shared=sum(n == len(answered) for n in times.values()),
        alone=tuple(alone[:_EXAMPLES]),
        by_number=sum(not t for t in texts.values()),
        copies=dict(copies),
        systems=len({e.system for e in entries if e.system}),
        channels={channel: len(prompts) for channel, prompts in serving.items()},
    )
