"""What was guessed of files of answers, in lines: format, columns, models, rows left out, prompts matched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.report.text import excerpt
from harness.sources import Account, Reading

_SHOWN = 12  # models, columns, files
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SHAPES = {
    "long": "one row an answer",
    "wide": "one column a model",
    "pairs": "two answers a row",
    "log": "a log",
}
_DROPPED = {  # by `harness.sources.entries.Drop`
    "no answer": "have no answer",
    "no model": "name no model",
    "no prompt": "have no prompt",
    "call failed": "are calls that failed",
    "scores, not text": "hold scores of given answers, and no text of the model",
    "torn row": "have more cells than headings: is a quote missing?",
    "too long": "are too long for an answer",
}


def account_lines(account: Account) -> Iterator[str]:
    """All that was guessed, a line each; what strangers wrote is cleaned and cut to length."""
    for reading in account.readings[:_SHOWN]:
        yield from _of_reading(reading)
    if len(account.readings) > _SHOWN:
        yield f"and {len(account.readings) - _SHOWN} more files, read the same way"
    for unread in account.unread[:_SHOWN]:
        yield f"{excerpt(unread.source, 120)}: not read: {excerpt(unread.why, 160)}"
    yield from _of_models(account)
    yield from _of_prompts(account)


def _of_reading(r: Reading) -> Iterator[str]:
    sheet = f", sheet {excerpt(r.sheet, 40)!r}" if r.sheet else ""
    form = f"{r.format}, {r.encoding}" if r.encoding else r.format
    if r.delimiter:
        form += f", {_DELIMITERS.get(r.delimiter, repr(r.delimiter))} between cells"
    kind = f"{r.kind}, " if r.kind and r.kind != "pairs" else ""
    shape = _SHAPES[r.shape] if not (r.kind and r.shape == "log") else "as that tool writes it"
    found = f"{_count(r.rows, 'row')}, {_count(r.answers, 'answer')}"
    yield f"{excerpt(r.source, 120)}{sheet}: {form}; {kind}{shape}; {found}"
    if r.columns:
        yield f"  columns: {_columns(r.columns)}"
    if r.answers and r.models_from not in ("a column", "columns", "the log"):
        yield f"  the model is told by {r.models_from}"
    if r.is_numbered:
        yield "  no two models were put a prompt of the same text, so prompts go by their number here"
    if r.unused:
        yield f"  not used: {_some([excerpt(c, 40) for c in r.unused])}"
    if r.asked:
        yield f"  {_count(r.asked, 'prompt')} without answers, for the files that only number them"
    for why, (count, example) in r.dropped.items():
        at = f" (such as {excerpt(example, 60)!r})" if example else ""
        yield f"  left out: {_count(count, 'row')} {_DROPPED[why] if count > 1 else _one(_DROPPED[why])}{at}"


def _one(said: str) -> str:
    """What is said of many rows, said of one."""
    first, _, rest = said.partition(" ")
    verb = {"have": "has", "are": "is", "name": "names", "hold": "holds"}[first]
    return f"{verb} {rest.replace('calls that', 'a call that')}"


def _columns(columns: Sequence[tuple[str, str]]) -> str:
    return _some([f"{role} = {excerpt(column, 40)!r}" for role, column in columns])


def _of_models(account: Account) -> Iterator[str]:
    yield f"{_count(len(account.models), 'model')}:"
    width = max((len(excerpt(c.model, 48)) for c in account.models), default=0)
    for c in account.models[: 2 * _SHOWN]:
        samples = f", up to {c.samples} samples of one" if c.samples > 1 else ""
        empty = f", {c.empty} empty" if c.empty else ""
        told = f"{_count(c.answers, 'answer')} to {_count(c.prompts, 'prompt')}{samples}{empty}"
        yield f"  {excerpt(c.model, 48):{width}}  {told}"
    if (more := len(account.models) - 2 * _SHOWN) > 0:
        yield f"  and {more} more"


def _of_prompts(account: Account) -> Iterator[str]:
    by = "by their text"
    if account.by_number:
        few = f"{by}, {account.by_number} of them " if account.by_number < account.prompts else ""
        by = f"{few}by their number, for no file has their text"
    yield f"{_count(account.prompts, 'prompt')}, {account.shared} answered by every model, matched {by}"
    if account.copies:
        most = ", ".join(f"{excerpt(m, 40)} {n}" for m, n in list(account.copies.items())[:_SHOWN])
        yield (
            f"left out: {_count(sum(account.copies.values()), 'row')} that say an answer a second time ({most}); if "
            "they are draws of their own, number them in a column `sample`"
        )
    for model, prompt in account.alone:
        yield f"only {excerpt(model, 40)} answered: {excerpt(prompt, 80)!r}"
    if account.systems > 1:
        yield f"{account.systems} different system prompts: models asked with different ones are not asked alike"
    if account.channels:
        yield f"beside text these prompts serve: {_listed(account.channels)}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({_count(n, 'prompt')})" for name, n in counts.items())


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
