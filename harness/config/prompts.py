"""Prompt sets: read from YAML, JSONL or the Hub, checked, filled where they are templates, hashed and drawn."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.config.schema import PromptUse
from harness.config.yaml import Document, read_text, read_yaml
from harness.errors import ConfigError, meant
from harness.records import Prompt

_CARD: dict[str, Any] = {
    "family": str,
    "version": int,
    "purpose": str,
    "discriminates": str,
    "source": str,
    "queries": int,
    "languages": list,
    "surface": str,
    "max_tokens": int,
    "samples": int,
    "temperature": (int, float, type(None)),
    "top_logprobs": (int, type(None)),
    "channels": list,
}
FIELDS = {"answer": list, "scales": list, "rung": int, "twin": str, "claim": str}
_TYPES: dict[str, type] = {"id": str, "text": str, "language": str, "group": str, **FIELDS}
_MAX_CHARS = 100_000
_PUBLIC = "shipped"  # seed of the half that everybody can look up
_FEWEST_TEXTS = 1_000  # that a template must be able to make: fewer can be listed beforehand
_SLOT = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(\d{1,6})-(\d{1,6})")
_NAMED = re.compile(r"([a-z_]+)(?:\.([1-9]))?")
Slots = Mapping[str, Sequence[str]]


def check_card(path: Path, document: Document) -> dict[str, Any]:
    """The card of a prompt file, or `ConfigError` with file, line and field."""
    values = document.values if isinstance(document.values, dict) else {}
    card = values.get("card")
    if not isinstance(card, dict):
        raise ConfigError(f"{document.path}:1: the card is missing", "add `card:`; see prompts/README.md")

    def wrong(key: str, what: str, hint: str) -> ConfigError:
        return ConfigError(f"{document.path}:{document.line(('card', key))}: {what}", hint)

    for key in card:
        if key not in _CARD:
            raise wrong(str(key), f"unknown field card.{key}", f"known: {', '.join(_CARD)}")
    for key, kind in _CARD.items():
        if key not in card:
            raise wrong(key, f"card.{key} is missing", "see prompts/README.md")
        if not isinstance(card[key], kind) or isinstance(card[key], bool):
            raise wrong(key, f"card.{key} has the wrong type", f"is {card[key]!r}"[:200])
    for key in ("languages", "channels"):
        if not all(isinstance(x, str) for x in card[key]) or not card["languages"]:
            raise wrong(key, f"card.{key} is a list of names", f"is {card[key]!r}"[:200])
    for name in card["channels"]:
        if name not in channel_names():
            raise wrong("channels", f"card.channels: there is no channel {name!r}", meant(name, channel_names()))
    for key in ("max_tokens", "samples"):
        if card[key] < 1:
            raise wrong(key, f"card.{key} is at least 1", f"is {card[key]}")
    if card["surface"] not in ("chat", "completion"):
        raise wrong("surface", "card.surface is chat or completion", f"is {card['surface']!r}")
    if card["family"] != path.stem:
        raise wrong("family", f"card.family must be {path.stem!r}, as the file is called", "rename one of them")
    return card


def channel_names() -> list[str]:
    """Names of the channels that are installed, without loading them."""
    return sorted(e.name for e in entry_points(group="harness.channels"))


def require_channels(names: Iterable[str] | None) -> None:
    """`ConfigError` for a channel that nobody has installed, found before anybody is asked."""
    known = channel_names()
    for name in names or ():
        if name not in known:
            raise ConfigError(f"there is no channel {name!r}", meant(name, known))


def check_rows(path: Path, rows: list[tuple[int, Any]], card: dict[str, Any]) -> list[dict[str, Any]]:
    """The prompts of a file, given with their lines, or `ConfigError` with file, line and field."""
    seen: dict[str, int] = {}
    for line, row in rows:
        where = f"{path}:{line}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: a prompt is a mapping with id and text", "see prompts/README.md")
        for key in row:
            if key not in _TYPES:
                raise ConfigError(f"{where}: unknown field {key!r}", f"known: {', '.join(sorted(_TYPES))}")
        for key in ("id", "text"):
            if not isinstance(row.get(key), str) or not row[key].strip():
                raise ConfigError(f"{where}: {key!r} is missing or empty", "every prompt has id and text")
        for key, value in row.items():
            if not isinstance(value, _TYPES[key]) or not _sendable(value):
                raise ConfigError(f"{where}: {key!r} has the wrong type", f"is {value!r}"[:200])
        for item in row.get("answer", ()):
            if isinstance(item, bool) or not isinstance(item, str | int | float):
                raise ConfigError(f"{where}: 'answer' holds {item!r}, which is no text", "write each in quotes")
        if row["id"] in seen:
            raise ConfigError(f"{where}: id {row['id']!r} is already used on line {seen[row['id']]}", "ids are unique")
        if len(row["text"]) > _MAX_CHARS:
            raise ConfigError(f"{where}: text has {len(row['text']):,} characters", f"at most {_MAX_CHARS:,}")
        seen[row["id"]] = line
    if not rows:
        raise ConfigError(f"{path}: no prompts", "add some under `prompts:`")
    if card["queries"] != len(rows):
        raise ConfigError(
            f"{path}: card.queries is {card['queries']}, the file has {len(rows)} prompts", "mend the card"
        )
    return [r for _, r in rows]


def _sendable(value: Any) -> bool:
    """Whether a value survives JSON in UTF-8: no dates, no half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (TypeError, ValueError):
        return False
    return True


@dataclass(frozen=True)
class PromptSet:
    """A family of prompts with its card and the SHA-256 of all that reaches the wire."""

    name: str
    card: dict[str, Any]
    prompts: tuple[Prompt, ...]
    sha256: str


def content_hash(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of prompts in order: any change of text or setting is another set."""
    text = json.dumps([asdict(p) for p in prompts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shipped_folder() -> Path:
    """The project's own prompt sets: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).resolve().parent.parent
    inside = here / "_prompts"
    return inside if inside.is_dir() else here.parent / "prompts"


def available(folder: Path) -> list[str]:
    """Names of the prompt sets in a folder."""
    files = [*folder.glob("*.yaml"), *folder.glob("*.jsonl")]
    return sorted(p.stem for p in files if not p.name.endswith(".card.yaml"))


def load_set(name: str, folder: Path, private_seed: str = "") -> PromptSet:
    """Read one prompt set: a name in ``folder`` or among the project's own, a path, or ``hf:NAME``.

    Templates are filled once in public; with a ``private_seed`` each is filled a second time, as a prompt that nobody
    can look up. Sets without slots do not see the seed.

    Raises `ConfigError` with file, line and field for anything that is not in the documented format.
    """
    if name.startswith("hf:"):
        return _from_hub(name)
    path = _find(name, folder)
    slots: Slots = {}
    if path.suffix == ".jsonl":
        card = read_yaml(path.with_suffix(".card.yaml"))
        rows = _jsonl_rows(path)
    else:
        card = read_yaml(path)
        if not isinstance(card.values, dict) or set(card.values) - {"card", "prompts", "slots"}:
            raise ConfigError(
                f"{path}:1: a prompt file has `card:`, `prompts:`, `slots:` for templates, and nothing else",
                "see prompts/README.md",
            )
        slots = check_slots(card)
        written = card.values.get("prompts") or []
        if not isinstance(written, list):
            raise ConfigError(f"{path}:{card.line(('prompts',))}: `prompts:` is a list", "begin each with `- id:`")
        rows = [(card.line(("prompts", i)), r) for i, r in enumerate(written)]
    checked = check_card(path, card)
    prompts = check_rows(path, rows, checked)
    if slots:
        for line, row in rows:
            check_template(f"{path}:{line}", row["text"], slots)
        prompts = [*_filled(prompts, slots, _PUBLIC), *(_filled(prompts, slots, private_seed) if private_seed else ())]
    return _as_set(path.stem, checked, prompts)


def check_slots(document: Document) -> Slots:
    """The lists of values of a file of templates, by slot; empty without `slots:`. `ConfigError` with the line."""
    written = document.values.get("slots", {})
    if not isinstance(written, dict):
        raise ConfigError(f"{document.path}:{document.line(('slots',))}: `slots:` is a mapping", "name: [value, value]")
    for name, values in written.items():
        where = f"{document.path}:{document.line(('slots', str(name)))}"
        if not isinstance(name, str) or not re.fullmatch(r"[a-z_]+", name):
            raise ConfigError(f"{where}: slot {name!r} is no name", "lower case letters and underscores")
        fine = isinstance(values, list) and all(isinstance(v, str) and v.strip() and _sendable(v) for v in values)
        if not fine or len(set(values)) != len(values) or len(values) < 2 or any(set("{}") & set(v) for v in values):
            hint = "two or more different texts without braces; put yes, no and numbers into quotes"
            raise ConfigError(f"{where}: slot {name!r} is no list of texts", hint)
    return written


def check_template(where: str, text: str, slots: Slots) -> None:
    """`ConfigError` for a template with an unknown slot, a stray brace, or so few fillings that they can be listed."""
    if set("{}") & set(_SLOT.sub("", text)):
        raise ConfigError(f"{where}: a brace stands alone", "write {slot}, {slot.2}, {3-12} or {one|another}")
    texts, seen = 1, set()
    for inside in _SLOT.findall(text):
        if "|" in inside:
            texts *= len(set(inside.split("|")))
        elif numbers := _NUMBERS.fullmatch(inside):
            if not int(numbers[1]) < int(numbers[2]):
                raise ConfigError(f"{where}: {{{inside}}} is no range", "the smaller number first: {3-12}")
            texts *= int(numbers[2]) - int(numbers[1]) + 1
        elif (named := _NAMED.fullmatch(inside)) and named[1] in slots and int(named[2] or 1) <= len(slots[named[1]]):
            texts *= 1 if inside in seen else len(slots[named[1]]) - int(named[2] or 1) + 1
            seen.add(inside)
        else:
            raise ConfigError(f"{where}: there is no slot {inside!r}", meant(inside, slots))
    if texts < _FEWEST_TEXTS:
        hint = f"at least {_FEWEST_TEXTS:,}, so that nobody lists them all: more slots, or longer lists"
        raise ConfigError(f"{where}: this template makes {texts:,} texts", hint)


def fill(text: str, slots: Slots, seed: str, prompt: str) -> str:
    """One filling of a template: which one, only ``seed`` and the id of the ``prompt`` decide (HMAC-SHA256).

    ``{slot}`` is one of its values, the same wherever it stands in the text, ``{slot.2}`` another one of them,
    ``{3-12}`` a whole number and ``{one|another}`` one of these wordings.
    """

    def drawn(*what: object) -> int:
        message = "\0".join(map(str, (prompt, *what))).encode()
        return int.from_bytes(hmac.digest(seed.encode(), message, "sha256")[:8], "big")

    def value(match: re.Match[str]) -> str:
        inside = match[1]
        if "|" in inside:
            options = inside.split("|")
            return options[drawn("wording", match.start()) % len(options)]
        if numbers := _NUMBERS.fullmatch(inside):
            low, high = int(numbers[1]), int(numbers[2])
            return str(low + drawn("number", match.start()) % (high - low + 1))
        name, _, which = inside.partition(".")
        return sorted(slots[name], key=lambda v: drawn("slot", name, v))[int(which or 1) - 1]

    return _SLOT.sub(value, text)


def _filled(rows: Sequence[dict[str, Any]], slots: Slots, seed: str) -> list[dict[str, Any]]:
    """Every template filled, as the public half or, with an id of its own and its twin's, as the private one."""
    out = []
    for row in rows:
        known = fill(row["text"], slots, _PUBLIC, row["id"])
        if seed == _PUBLIC:
            out.append({**row, "text": known})
            continue
        tries = (fill(row["text"], slots, seed, f"{row['id']}/{n}") for n in itertools.count())
        text = next(found for found in tries if found != known)
        out.append({**row, "id": f"{row['id']}-fresh", "text": text, "twin": row["id"], "fresh": True})
    return out


def _as_set(name: str, card: dict[str, Any], rows: list[dict[str, Any]]) -> PromptSet:
    prompts = tuple(_prompt(card, json.loads(json.dumps(r))) for r in rows)  # as it comes back out of a store
    return PromptSet(name, card, prompts, content_hash(prompts))


def _prompt(card: dict[str, Any], row: dict[str, Any]) -> Prompt:
    return Prompt(
        id=row["id"],
        family=card["family"],
        text=row["text"],
        language=row.get("language") or card["languages"][0],
        group=row.get("group", ""),
        surface=card["surface"],
        samples=card["samples"],
        max_tokens=card["max_tokens"],
        temperature=card["temperature"],
        top_logprobs=card["top_logprobs"],
        channels=tuple(card["channels"]),
        fields={k: row[k] for k in (*FIELDS, "fresh") if k in row},
    )


def own_file(name: str, folder: Path) -> Path | None:
    """The file in which a prompt set stands, if it is the user's; None for what ships, and the Hub's."""
    if name == "recorded" or name.startswith("hf:"):
        return None
    found = next((p for p in _places(name, folder) if p.is_file()), None)
    return None if found is None or found.resolve().is_relative_to(shipped_folder().resolve()) else found


def _places(name: str, folder: Path) -> list[Path]:
    return [
        folder / name,
        *([Path(name)] if Path(name).suffix in (".yaml", ".jsonl") else []),  # a file where one stands
        *(d / f"{name}{s}" for d in (folder, shipped_folder()) for s in (".yaml", ".jsonl")),
    ]


def _find(name: str, folder: Path) -> Path:
    for path in _places(name, folder):
        if path.is_file():
            return path
    known = sorted({*available(folder), *available(shipped_folder())})
    raise ConfigError(f"there is no prompt set {name!r}", meant(name, known))


_ON_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


def hub_name(where: str) -> tuple[str, str]:
    """Repository and split of ``hf:NAME[:SPLIT]``; `ConfigError` for what the reader would take for a folder here."""
    repo, _, split = where.removeprefix("hf:").partition(":")
    if not _ON_HUB.fullmatch(repo) or re.search(r"[^\w\[\]:%+.-]", split) or Path(repo).exists():
        raise ConfigError(f"{where}: no name of a data set on the Hub", "hf:OWNER/NAME; of a file here write its path")
    return repo, split or "train"


MOST_OF_HUB = 10_000_000_000  # bytes of a data set on the Hub: it is kept twice, as it came and as it is read


def hub_rows(where: str) -> Any:
    """The rows of ``hf:NAME[:SPLIT]``, a `datasets.Dataset`; they stay in that library's cache, see `hub_cache`.

    `ConfigError` for a name that is none, and for one that is too large to be fetched unseen. What the library raises
    comes through.
    """
    from datasets import load_dataset

    repo, split = hub_name(where)
    if (size := _size_on_hub(repo)) > MOST_OF_HUB:
        hint = f"at most {MOST_OF_HUB:,}: download the files that you need, and name them by their path"
        raise ConfigError(f"{where}: {size:,} bytes on the Hub", hint)
    return load_dataset(repo, split=split)


def hub_cache(environ: Mapping[str, str]) -> Path:
    """Where data sets of the Hub stay until somebody deletes them: $HF_HOME, or huggingface in the cache folder."""
    if chosen := environ.get("HF_HOME"):
        return Path(chosen)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"


def _size_on_hub(repo: str) -> int:
    """Bytes of all files of a data set; 0 where the Hub cannot be asked: then nothing is downloaded either."""
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(repo, files_metadata=True, timeout=10.0)
    except Exception:  # its errors are many, and `load_dataset` says the same in better words or has the rows already
        return 0
    return sum(f.size or 0 for f in found.siblings or ())


def _from_hub(name: str) -> PromptSet:
    repo, _ = hub_name(name)
    try:
        dataset = hub_rows(name)
    except ConfigError:
        raise
    except Exception as e:  # the Hub's own errors are many; the reader needs one line
        raise ConfigError(
            f"data set {repo!r}: {next(iter(str(e).splitlines()), '')[:200]}", "is the name right, is there a network?"
        ) from e
    rows = [{"id": str(r.get("id", i)), "text": r.get("text") or r.get("prompt")} for i, r in enumerate(dataset)]
    if not rows or not all(isinstance(r["text"], str) for r in rows):
        raise ConfigError(f"data set {repo!r} has no `text` or `prompt` column", f"it has: {dataset.column_names}")
    card: dict[str, Any] = {
        "family": repo.replace("/", "-"),
        "languages": ["en"],
        "surface": "chat",
        "samples": 1,
    }
    card |= {"max_tokens": 256, "temperature": 0.0, "top_logprobs": None, "channels": ["wording", "style"]}
    return _as_set(name, card, rows)


def _jsonl_rows(path: Path) -> list[tuple[int, Any]]:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"{path}:{number}: not JSON: {e}", "one JSON object a line") from e
    return rows


def draw(use: PromptUse, prompts: Sequence[Prompt], seed: int, hold_back: float = 0.0) -> tuple[Prompt, ...]:
    """Apply a campaign's overrides, leave out a share of ``hold_back``, and draw ``limit`` of the rest.

    Only the seed decides which. A prompt and its twin are drawn together, or neither.
    """
    units: dict[str, list[int]] = {}
    for i, p in enumerate(prompts):
        units.setdefault(str(p.fields.get("twin", p.id)), []).append(i)
    most = round(len(prompts) * (1.0 - hold_back))
    most = max(1, min(most, use.limit or most))
    order = list(units.values())
    random.Random(f"{seed}:{use.set}").shuffle(order)  # noqa: S311 - a reproducible draw, not a secret
    keep: set[int] = set()
    for unit in order:
        if len(keep) + len(unit) <= most or not keep:
            keep.update(unit)
    chosen = [p for i, p in enumerate(prompts) if i in keep]
    changes = use.model_dump(include={"samples", "max_tokens", "temperature", "top_p", "surface"}, exclude_none=True)
    if use.top_logprobs is not None:
        changes["top_logprobs"] = use.top_logprobs or None
    return tuple(replace(p, **changes) for p in chosen)


_PREFIX = "preset:"


class _Preset(BaseModel):
    model_config = ConfigDict(extra="forbid")
    prompts: tuple[PromptUse, ...]


def expand(uses: Iterable[PromptUse], folder: Path) -> list[PromptUse]:
    """Prompt uses with every preset replaced by what it stands for.

    What a use says beside its preset (a limit, say) goes for every set in it. Presets are looked for in
    ``folder``/presets, then among the project's own. `ConfigError` for an unknown one.
    """
    out: list[PromptUse] = []
    for use in uses:
        if not use.set.startswith(_PREFIX):
            out.append(use)
            continue
        changes = use.model_dump(exclude={"set"}, exclude_unset=True)
        out += [u.model_copy(update=changes) for u in _read(use.set.removeprefix(_PREFIX), folder).prompts]
    return out


def available_presets(folder: Path) -> list[str]:
    """Names of the presets in a folder of prompt sets."""
    return sorted(p.stem for p in (folder / "presets").glob("*.yaml"))


def _read(name: str, folder: Path) -> _Preset:
    known = sorted({*available_presets(folder), *available_presets(shipped_folder())})
    if name not in known:
        raise ConfigError(f"there is no preset {name!r}", f"known: {', '.join(known) or 'none'}")
    path = next(d for f in (folder, shipped_folder()) if (d := f / "presets" / f"{name}.yaml").is_file())
    try:
        return _Preset.model_validate(read_yaml(path).values)
    except ValidationError as e:
        raise ConfigError(f"{path}: {e.errors()[0]['msg']}", "a preset is `prompts:` with a list of sets") from None
