"""Verifying a results folder against its manifest, and packing it for others: `harness verify`, `pack`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from harness.collect.agreement import disagreements
from harness.config import Campaign, load_config, read_text
from harness.errors import ConfigError, HarnessError, StoreError
from harness.files import open_regular, real_path, replacing
from harness.plan import STORE
from harness.report.manifest import CALIBRATION, config_hash, costs, of_store
from harness.store import Store, check, copy_store, forged_requests, packages

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MANIFEST, PACK = "manifest.json", "pack.json"
SIGNATURE, STAMP = f"{PACK}.sig", f"{PACK}.tsr"  # Ed25519 over the bytes of pack.json; a time stamp by RFC 3161
_TOP = ("SHA256SUMS", "prompts.jsonl")  # what has both beside its results is a pack
_ADDED = ("notes_sha256", "chain")  # not in manifests of earlier versions
_LABELS = {
    "config_sha256": "config",
    "responses_sha256": "responses",
    "stored_prompts_sha256": "prompts",
    "prompts_sha256": "prompt sets",
    "notes_sha256": "notes",
}


@dataclass(frozen=True)
class Verified:
    """What was checked, what differs, and what is worth knowing though it proves nothing wrong."""

    checked: tuple[str, ...]
    differs: tuple[str, ...]
    notes: tuple[str, ...]
    anchor: str = ""  # SHA-256 of pack.json, or of the manifest where there is none: what is kept elsewhere


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a results folder, with the fields that checks need; `StoreError` if it is not a manifest."""
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{path}: not there", "name the folder of a campaign that was scored: results/NAME")
    try:
        manifest = json.loads(read_text(path))
        files = dict(manifest["files_sha256"])
        expected = (manifest["config"], manifest["config_sha256"], manifest["responses_sha256"])
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise StoreError(f"{path}: not a manifest ({type(e).__name__}: {str(e)[:80]})", "run `harness score`") from e
    for name in files:
        if name in ("", ".", "..") or Path(name).name != name or "\\" in name or ":" in name:
            raise StoreError(f"{path}: {name[:80]!r} is no name of a file in this folder", "this manifest is forged")
    if not isinstance(expected[0], dict):
        raise StoreError(f"{path}: its config is no mapping", "run `harness score`")
    return dict(manifest)


def verify(path: Path, expect: str = "", signer: Path | None = None, stamped_by: Path | None = None) -> Verified:
    """Verify a results folder, or a pack: named by its top folder, or by the results in it.

    Of a pack each file is compared with ``pack.json``, and config, calibration and prompts at its top with what the
    manifest says. ``expect`` is the hash that somebody kept, ``signer`` a file with the public key of who signed it,
    ``stamped_by`` one with the root certificate of the service that stamped the time; nobody is contacted.
    """
    top = _top_of(path)
    found = verify_folder(path if top is None else _results_in(top, path))
    anchored = found.anchor if top is None or not (top / PACK).is_file() else str(_file_hash(top / PACK))
    differs = list(found.differs)
    if top is not None:
        differs += _pack_differs(top, _results_in(top, path))
    if expect and not (len(expect) >= _SHORTEST and anchored.startswith(expect.lower())):
        differs.append(f"the hash is {anchored}, expected was {expect[:64]}")
    if signer is not None:
        differs += [] if top is not None and _is_signed(top, signer) else [f"{PACK} is not signed by {signer}"]
    notes = list(found.notes)
    if stamped_by is not None:
        stamped = "" if top is None else _stamped_at(top, stamped_by)
        differs += [] if stamped else [f"{PACK} has no time stamp by {stamped_by}"]
        notes += [f"{PACK} was stamped at {stamped}"] if stamped else []
    checked = (*found.checked, *([PACK] if top else []), *(["signature"] if signer else []),
               *(["time stamp"] if stamped_by else []))  # fmt: skip
    return Verified(checked, tuple(differs), tuple(notes), anchored)


_SHORTEST = 16  # characters of a hash that are enough to tell it


def _top_of(path: Path) -> Path | None:
    """The top folder of the pack that a path is in or is; None if it is in no pack."""
    for top in (path, real_path(path).parent.parent):
        if (top / PACK).is_file() or all((top / name).is_file() for name in _TOP):
            return top
    return None


def _results_in(top: Path, path: Path) -> Path:
    """The folder with the manifest: the path itself, or the only one in a pack."""
    if (path / MANIFEST).is_file():
        return path
    found = sorted(p.parent for p in (top / "results").glob(f"*/{MANIFEST}"))
    if len(found) != 1:
        raise StoreError(f"{top}: {len(found)} campaigns in this pack", "name one: results/NAME")
    return found[0]


def _pack_differs(top: Path, folder: Path) -> Iterator[str]:
    """What in a pack is not as ``pack.json`` says, and what at its top is not as the manifest says."""
    try:
        listed = dict(json.loads(read_text(top / PACK))["files_sha256"])
    except (OSError, HarnessError, ValueError, KeyError, TypeError, RecursionError) as e:
        yield f"{PACK} is missing or no list of files ({type(e).__name__})"
        listed = {}
    there = {p.relative_to(top).as_posix() for p in top.rglob("*") if p.is_file() or p.is_symlink()}
    for name in sorted(there - set(listed) - {PACK, SIGNATURE, STAMP}) if listed else ():
        yield f"{name} is not of this pack"
    for name, sha in sorted(listed.items()):
        if name not in there or (found := _file_hash(top / name)) != sha:
            yield f"{name} is {_short(found if name in there else None)}, {PACK} says {_short(sha)}"
    yield from _top_differs(top, folder)


def _top_differs(top: Path, folder: Path) -> Iterator[str]:
    """What `score` would read at the top of a pack, beside what the manifest says: lists can be written anew."""
    manifest = read_manifest(folder)
    with contextlib.suppress(ValidationError):  # of the manifest's config: that was said already
        campaign = _moved(Campaign.model_validate(manifest["config"]))
        try:
            same = _moved(load_config(top / "config.yaml")).model_dump() == campaign.model_dump()
        except HarnessError:
            same = False
        if not same:
            yield "config.yaml is another config than the manifest's"
    sha = manifest["files_sha256"].get(CALIBRATION)
    if (found := _file_hash(top / CALIBRATION)) != sha:
        yield f"{CALIBRATION} at the top is {_short(found)}, {MANIFEST} says {_short(sha)}"
    made = {"prompts.jsonl": _prompts(folder / STORE), "SHA256SUMS": _sums(manifest, folder.name)}
    for name, text in made.items():
        if _file_hash(top / name) != hashlib.sha256(text.encode()).hexdigest():
            yield f"{name} is not what store and {MANIFEST} make it"


def verify_folder(folder: Path) -> Verified:
    """Work out again what a manifest says of config, store and files, and compare. `StoreError` if it is not a store.

    What cannot be worked out is not compared: when it was written, on which platform, and with which packages.
    """
    manifest, path = read_manifest(folder), folder / STORE
    config, differs = manifest["config"], []
    with Store(path, readonly=True) as store:
        check(store)
        hashes = store.prompt_hashes()
        differs += [f"requests: {said}" for said in _requests(store, config)]
        differs += [f"config: {said}" for said in _unlike(store, config)]
    now: dict[str, Any] = {**of_store(path), "config_sha256": config_hash(config), "prompts_sha256": hashes}
    now["campaign"] = config.get("campaign")
    try:
        now["costs"] = costs(Campaign.model_validate(config), path)
    except ValidationError as e:
        differs.append(f"config: {e.error_count()} mistakes in it, so that costs cannot be worked out")
    unknown = [name for name in _ADDED if name not in manifest]
    expected = {_LABELS.get(k, k): (manifest.get(k), _as_json(v)) for k, v in now.items() if k not in unknown}
    expected |= {name: (sha, _file_hash(folder / name)) for name, sha in sorted(manifest["files_sha256"].items())}
    differs += [f"{name} is {_short(found)}, manifest.json says {_short(said)}"
                for name, (said, found) in expected.items() if said != found]  # fmt: skip
    notes = [f"this manifest is of an earlier version: it has no {name}" for name in unknown]
    known = {STORE, MANIFEST, *manifest["files_sha256"]}
    notes += [f"{p.name} is not of this campaign's results" for p in sorted(folder.iterdir())
              if p.is_file() and p.name not in known and not p.name.startswith((f"{STORE}-", f".{STORE}"))]  # fmt: skip
    anchor = str(_file_hash(folder / MANIFEST))
    return Verified((*expected, "requests"), tuple(differs), (*notes, *_versions(manifest)), anchor)


def _requests(store: Store, config: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the requests of the plan's answers. Those that others asked have none."""
    if forged := forged_requests(store):
        yield f"{len(forged)} are not what their hashes say, such as {forged[0][:12]}"
    listed = config.get("endpoints")
    found = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    called = {str(e.get("name")) for e in found if e.get("kind") not in ("recorded", "reference")}
    counts = store.without_request()
    if missing := sum(n for name, n in counts.items() if name in called):
        yield f"{missing} answers have none"


def _unlike(store: Store, config: Mapping[str, Any]) -> Iterator[str]:
    """How the stored plan differs from what the manifest's config asks for; of a config with mistakes nothing."""
    with contextlib.suppress(ValidationError):
        yield from disagreements(Campaign.model_validate(config), None, store)


def _as_json(value: object) -> object:
    """As it is after it was written and read."""
    return json.loads(json.dumps(value))


def _short(value: object) -> str:
    if value is None:
        return "missing"
    text = value if isinstance(value, str) else hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
    return text[:12]


def _file_hash(path: Path) -> str | None:
    try:
        with open_regular(path) as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        return None


def _versions(manifest: dict[str, Any]) -> list[str]:
    here = {"python": platform.python_version(), **packages()}
    then = {"python": manifest.get("python"), **dict(manifest.get("packages") or {})}
    return [f"{p} was {then[p]}, here is {here.get(p, 'none')}" for p in then if then[p] != here.get(p)]


_README = """# {name}: score it again

This pack holds every answer of the campaign "{name}" with the request that got it ({store}), the config without keys,
the prompts, the calibration and the results. Nobody is asked and no key is needed.

    pip install behavioral-probing-harness=={version}
    harness verify .                   # the files are what pack.json, manifest.json and the chain of answers say
    harness score config.yaml          # compares and decides again, from the stored answers
    sha256sum -c SHA256SUMS            # the tables are the same, byte for byte

The last digits of a number can depend on versions of numpy, scipy and scikit-learn: manifest.json names those that made
these tables, and `harness verify` says which differ from yours. Python was {python}.
"""


@dataclass(frozen=True)
class Packed:
    """The members of a pack, and the SHA-256 of its ``pack.json``, which stands for all of them."""

    names: tuple[str, ...]
    anchor: str


def pack_folder(folder: Path, out: Path, sign: Path | None = None) -> Packed:
    """Write the pack of a scored campaign. Refuses what `verify` would not pass.

    ``sign`` is a file with an Ed25519 private key, as OpenSSL or ssh-keygen writes it.
    """
    key = None if sign is None else private_key(sign)
    manifest = read_manifest(folder)
    if differs := verify_folder(folder).differs:
        raise StoreError(f"{folder}: {differs[0]}", "run `harness score` first, so that results and manifest agree")
    try:
        campaign = Campaign.model_validate(manifest["config"])
    except ValidationError as e:
        raise StoreError(f"{folder}: {e.error_count()} mistakes in the manifest's config", "was it edited?") from e
    names = sorted(manifest["files_sha256"])
    inside = f"results/{campaign.campaign}"
    texts = {
        "README.md": _readme(campaign.campaign, inside, manifest),
        "SHA256SUMS": _sums(manifest, campaign.campaign),
        "config.yaml": _config(campaign),
        "prompts.jsonl": _prompts(folder / STORE),
    }
    with replacing(out, "choose another place") as part, tempfile.TemporaryDirectory() as scratch:
        files = {f"{inside}/{n}": folder / n for n in [*names, MANIFEST]}
        files[f"{inside}/{STORE}"] = copy_store(folder / STORE, Path(scratch) / STORE)
        files[CALIBRATION] = folder / CALIBRATION
        hashes = {n: hashlib.sha256(text.encode()).hexdigest() for n, text in texts.items()}
        hashes |= {n: str(_file_hash(p)) for n, p in files.items()}
        members: dict[str, bytes] = {n: text.encode() for n, text in texts.items()}
        members[PACK] = (json.dumps({"format": 1, "files_sha256": hashes}, indent=2, sort_keys=True) + "\n").encode()
        if key is not None:
            members[SIGNATURE] = key.sign(members[PACK])
        write_zip(part, f"{campaign.campaign}/", members, files)
    names = sorted(f"{campaign.campaign}/{n}" for n in [*members, *files])
    return Packed(tuple(names), hashlib.sha256(members[PACK]).hexdigest())


def _sums(manifest: Mapping[str, Any], campaign: str) -> str:
    """The tables of a pack as ``sha256sum -c`` reads them."""
    files = manifest["files_sha256"]
    return "".join(f"{files[n]}  results/{campaign}/{n}\n" for n in sorted(files) if n.endswith(".csv"))


def private_key(path: Path) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM (OpenSSL) or as ssh-keygen writes it, without a password."""
    serialization, kinds = _cryptography()
    load = serialization.load_ssh_private_key if b"OPENSSH" in (raw := _key_file(path)) else (
        serialization.load_pem_private_key)  # fmt: skip
    with _readable_key(path):
        key: Any = load(raw, password=None)
    if not isinstance(key, kinds.Ed25519PrivateKey):
        raise ConfigError(f"{path}: no Ed25519 key", "make one: openssl genpkey -algorithm ed25519 -out key.pem")
    found: Ed25519PrivateKey = key
    return found


def _is_signed(top: Path, signer: Path) -> bool:
    """Whether ``pack.json`` has a signature by this public key."""
    try:
        signature, content = _key_file(top / SIGNATURE), _list_of_files(top)
    except (OSError, ConfigError):
        signature, content = b"", b""
    return is_signed(signature, content, signer)


def is_signed(signature: bytes, content: bytes, signer: Path) -> bool:
    """Whether a signature of some bytes is by this public key: PEM, or a line ``ssh-ed25519 ...``."""
    serialization, kinds = _cryptography()
    from cryptography.exceptions import InvalidSignature

    raw = _key_file(signer)
    load = serialization.load_ssh_public_key if raw.startswith(b"ssh-") else serialization.load_pem_public_key
    with _readable_key(signer):
        key = load(raw)
    if not isinstance(key, kinds.Ed25519PublicKey):
        raise ConfigError(f"{signer}: no Ed25519 key", "name the public key: openssl pkey -in key.pem -pubout")
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _list_of_files(top: Path) -> bytes:
    with open_regular(top / PACK) as f:
        return f.read()


def _stamped_at(top: Path, authority: Path) -> str:
    """When a service under one of these root certificates (PEM) stamped ``pack.json``; "" if none did.

    RFC 3161: the reply's signature, its certificates up to the root, what they are for, and the hash that it stamps.
    Whether a certificate was taken back is not looked up, as nobody is contacted.
    """
    try:
        from cryptography.x509 import load_pem_x509_certificates
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    except ImportError:
        raise ConfigError("time stamps need the package rfc3161-client", "pip install '.[sign]'") from None
    raw, builder = _key_file(authority), VerifierBuilder()
    with _readable_key(authority, "name the root certificate of the service, in PEM"):
        for root in load_pem_x509_certificates(raw):
            builder = builder.add_root_certificate(root)
    try:
        stamp = decode_timestamp_response(_key_file(top / STAMP))
        fits = builder.build().verify_message(stamp, _list_of_files(top))
    except (OSError, ConfigError, ValueError, VerificationError):
        return ""
    return stamp.tst_info.gen_time.isoformat(timespec="seconds") if fits else ""


def _cryptography() -> tuple[Any, Any]:
    """The library that signs; it is an extra."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise ConfigError("signatures need the package cryptography", "pip install '.[sign]'") from None
    return serialization, ed25519


_MOST_KEY = 65_536  # bytes of a file with a key or a signature


def _key_file(path: Path) -> bytes:
    try:
        with open_regular(path) as f:
            return f.read(_MOST_KEY)
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror or e}", "name a file with an Ed25519 key") from e


_ED25519 = "an Ed25519 key without a password is read, in PEM or as ssh-keygen writes it"


@contextlib.contextmanager
def _readable_key(path: Path, hint: str = _ED25519) -> Iterator[None]:
    try:
        yield
    except Exception as e:  # the library raises many kinds: not a key, an encrypted one, one of another kind
        raise ConfigError(f"{path}: {(str(e) or type(e).__name__).splitlines()[0][:120]}", hint) from None


def _readme(name: str, inside: str, manifest: dict[str, object]) -> str:
    versions = manifest.get("packages")
    version = versions.get("behavioral-probing-harness", "") if isinstance(versions, dict) else ""
    return _README.format(
        name=name, results=inside, store=f"{inside}/{STORE}", version=version, python=manifest.get("python")
    )


def _moved(campaign: Campaign) -> Campaign:
    """The config with paths that hold inside the pack."""
    analysis = campaign.analysis.model_copy(update={"calibration": Path(CALIBRATION)})
    return campaign.model_copy(update={"results": Path("results"), "reuse": (), "analysis": analysis})


def _config(campaign: Campaign) -> str:
    told = _moved(campaign).model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=False)


def _prompts(path: Path) -> str:
    with Store(path, readonly=True) as store:
        return "".join(json.dumps(asdict(p), ensure_ascii=True) + "\n" for p in store.prompts())


def write_zip(path: Path, top: str, members: Mapping[str, bytes], files: Mapping[str, Path]) -> None:
    """Write a zip file, the same bytes for the same members; ``top`` stands before every name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted([*members, *files]):
            info = zipfile.ZipInfo(f"{top}{name}", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=name.endswith(STORE)) as member:
                if name in members:
                    member.write(members[name])
                else:
                    with files[name].open("rb") as content:
                        shutil.copyfileobj(content, member)
