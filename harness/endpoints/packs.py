"""Packs of references: answers of models that somebody else asked, read from one zip file and believed in nothing.

A pack is data of a stranger. It holds no code; its members are these and no others; every one is what ``pack.json``
says, every request is what its hash says, and every value has its type and a bound. Who signed it is for
`harness.references` to find out.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from harness.errors import ConfigError
from harness.records import Outcome, Prompt, Surface, request_hash

LIST, SIGNATURE, CARD = "pack.json", "pack.json.sig", "references.json"
PROMPTS, REQUESTS, ANSWERS = "prompts.jsonl", "requests.jsonl", "answers.jsonl"
MEMBERS = (CARD, PROMPTS, REQUESTS, ANSWERS)
KIND, FORMAT = "references", 1
MOST_PACKED, MOST_UNPACKED = 300_000_000, 1_500_000_000  # bytes of a pack, and of all that is in it
FREE, MOST_TIMES = 20_000_000, 100  # bytes that it may become whatever its size, and how many times its size
MOST_ROWS = 5_000_000
_FORGED = "it is damaged or forged; take it again from where it came from"

_Line = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069]*$")]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
_Month = Annotated[str, Meta(pattern=r"^\d{4}(-(0[1-9]|1[0-2]))?\Z")]
_Time = Annotated[str, Meta(max_length=40, pattern=r"^[0-9T:.+Z-]*\Z")]
_Whole = Annotated[int, Meta(ge=0, le=2**53)]
_Sha = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Referee(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model of a pack: who it is, how it was asked and when. ``params`` went into every request."""

    name: _Name
    lineage: _Line
    maker: _Line | None = None
    released: _Month | None = None
    reasoning: bool | None = None
    parameters_b: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    licence: _Line = ""
    asked_as: _Line = ""
    told: dict[str, Any] = {}  # address or weights, as the store that was packed notes them
    system_prompt: Annotated[str, Meta(max_length=100_000)] | None = None
    params: dict[str, Any] = {}
    first: _Time = ""
    last: _Time = ""
    answers: _Whole = 0


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a pack says of itself. ``texts``: its answers can be read, else they are hashed words."""

    name: _Name
    models: list[Referee]
    format: _Whole = FORMAT
    licence: _Line = ""
    made: _Time = ""
    versions: dict[str, _Line] = {}
    texts: bool = True


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer of a pack. ``prompt`` is a line of its prompts, ``request`` the hash of what was sent, if it was."""

    model: _Name
    prompt: _Whole
    sample: _Whole
    text: str
    outcome: Outcome = "ok"
    request: _Sha | Literal[""] = ""
    reasoning: str = ""
    refusal: str = ""
    finish_reason: str = ""
    model_answered: str = ""
    prompt_tokens: _Whole | None = None
    completion_tokens: _Whole | None = None
    reasoning_tokens: _Whole | None = None
    logprobs: str | None = None
    received_at: _Time = ""


class Sent(msgspec.Struct, frozen=True):
    """One request, word for word as it was sent."""

    hash: _Sha
    surface: Surface
    body: str


class _Listed(msgspec.Struct):
    kind: Literal["references"]
    format: Literal[1]
    files_sha256: dict[str, _Sha]


@dataclass(frozen=True)
class Pack:
    """A pack that was read and found whole. ``sha256`` is of its list of files, and stands for all of it."""

    path: Path
    sha256: str
    listed: bytes
    signature: bytes
    card: Card
    prompts: tuple[Prompt, ...]
    requests: Mapping[str, Sent]
    answers: Mapping[str, tuple[Given, ...]]


def open_pack(path: Path) -> Pack:
    """Read a pack. `ConfigError`, in one line, if anything in it is not what a pack holds."""
    try:
        members = _members(path)
        return _checked(path, members)
    except ConfigError:
        raise
    except OSError as e:
        raise ConfigError(
            f"{path}: {e.strerror or e}", "`harness references list` shows the packs that are here"
        ) from e
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, TypeError) as e:
        said = next(iter(str(e).splitlines()), "")[:120]
        raise ConfigError(f"{path}: no pack of references ({type(e).__name__}: {said})", _FORGED) from e


def _members(path: Path) -> dict[str, bytes]:
    """The members of the zip file, none larger than it says and all together not larger than is allowed."""
    size = path.stat().st_size
    if size > MOST_PACKED:
        raise ConfigError(f"{path}: {size:,} bytes", f"a pack has {MOST_PACKED:,} at most: split it")
    with zipfile.ZipFile(path) as archive:
        found = archive.infolist()
        names = [i.filename for i in found]
        strange = sorted(set(names) - {LIST, SIGNATURE, *MEMBERS})
        if strange or len(set(names)) < len(names) or not {LIST, *MEMBERS} <= set(names):
            what = f"it has {strange[0][:60]!r}" if strange else "members are missing or there twice"
            raise ConfigError(f"{path}: no pack of references: {what}", "`harness pack --references` writes one")
        unpacked = sum(i.file_size for i in found)
        if unpacked > min(MOST_UNPACKED, max(FREE, MOST_TIMES * size)):
            raise ConfigError(f"{path}: {size:,} bytes become {unpacked:,} when they are unpacked", _FORGED)
        out = {}
        for info in found:
            with archive.open(info) as member:
                out[info.filename] = member.read(info.file_size + 1)
            if len(out[info.filename]) > info.file_size:
                raise ConfigError(f"{path}: {info.filename} is larger than it says", _FORGED)
    return out


def _checked(path: Path, members: Mapping[str, bytes]) -> Pack:
    listed = msgspec.json.decode(members[LIST], type=_Listed)
    for name in MEMBERS:
        if hashlib.sha256(members[name]).hexdigest() != listed.files_sha256.get(name):
            raise ConfigError(f"{path}: {name} is not what {LIST} says", _FORGED)
    card = msgspec.json.decode(members[CARD], type=Card)
    if card.format != FORMAT:
        raise ConfigError(f"{path}: written in format {card.format}, this is {FORMAT}", "use the version that wrote it")
    names = [m.name for m in card.models]
    if len({n.casefold() for n in names}) < len(names):
        raise ConfigError(f"{path}: a model is in it twice", _FORGED)
    prompts = tuple(map(_prompt, _lines(members[PROMPTS])))
    requests = {}
    for line in _lines(members[REQUESTS]):
        sent = msgspec.json.decode(line, type=Sent)
        if request_hash(sent.surface, sent.body.encode("utf-8", "surrogatepass")) != sent.hash:
            raise ConfigError(f"{path}: a request is not what its hash says: {sent.hash[:12]}", _FORGED)
        requests[sent.hash] = sent
    answers: dict[str, list[Given]] = {name: [] for name in names}
    for line in _lines(members[ANSWERS]):
        given = msgspec.json.decode(line, type=Given)
        if given.model not in answers or given.prompt >= len(prompts) or (
            given.request and given.request not in requests
        ):  # fmt: skip
            raise ConfigError(f"{path}: an answer to a prompt, of a model or to a request that is not in it", _FORGED)
        answers[given.model].append(given)
    anchor = hashlib.sha256(members[LIST]).hexdigest()
    given_to = {name: tuple(some) for name, some in answers.items()}
    return Pack(path, anchor, members[LIST], members.get(SIGNATURE, b""), card, prompts, requests, given_to)


def _lines(content: bytes) -> Iterator[bytes]:
    lines = [line for line in content.split(b"\n") if line]
    if len(lines) > MOST_ROWS:
        raise ConfigError(f"{len(lines):,} rows", f"a pack has {MOST_ROWS:,} at most")
    return iter(lines)


def _prompt(line: bytes) -> Prompt:
    found = msgspec.json.decode(line, type=Prompt)
    told = json.loads(line)
    if told.keys() - Prompt.__dataclass_fields__.keys():
        raise ValueError("a prompt has other fields than a prompt")
    return found


def pack_members(
    card: Card, prompts: Iterable[Prompt], requests: Iterable[Sent], answers: Iterable[Given]
) -> dict[str, bytes]:
    """The members of a pack, with the list of them: the same bytes for the same answers."""
    encode = msgspec.json.Encoder(order="sorted").encode
    members = {
        CARD: msgspec.json.format(encode(card), indent=1) + b"\n",
        PROMPTS: b"".join(json.dumps(asdict(p), ensure_ascii=True, sort_keys=True).encode() + b"\n" for p in prompts),
        REQUESTS: b"".join(encode(r) + b"\n" for r in sorted(requests, key=lambda r: r.hash)),
        ANSWERS: b"".join(encode(a) + b"\n" for a in sorted(answers, key=lambda a: (a.model, a.prompt, a.sample))),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    listed = {"kind": KIND, "format": FORMAT, "files_sha256": hashes}
    return {LIST: (json.dumps(listed, indent=2, sort_keys=True) + "\n").encode(), **members}
