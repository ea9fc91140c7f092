"""Endpoints of kind ``recorded``: answers that someone already has, as if they had just been given."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import Recorded
from harness.errors import ConfigError
from harness.responses import Prompt, Response

FAMILY = "recorded"
_CHANNELS = ("wording", "verbatim", "style", "traces")
_FORMATS = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}


def read(endpoints: Sequence[Recorded], base: Path, environ: Mapping[str, str]) -> tuple[list[Prompt], list[Response]]:
    """Answers of all recorded endpoints, and the prompts they answered in order of first appearance.

    Raises `ConfigError` for a missing file, column or model.
    """
    prompts: dict[str, Prompt] = {}
    responses: list[Response] = []
    sources = {e.path: _open(e, base, environ) for e in endpoints}
    for endpoint in endpoints:
        digest, rows = sources[endpoint.path]
        found = _answers(endpoint, digest, rows, prompts)
        if not found:
            raise ConfigError(
                f"endpoint {endpoint.name!r}: {endpoint.path} has no model {endpoint.model or endpoint.name!r}",
                f"it has: {_some_models(rows, endpoint)}",
            )
        responses += found
    return list(prompts.values()), responses


def _open(endpoint: Recorded, base: Path, environ: Mapping[str, str]) -> tuple[str, Any]:
    from datasets import load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    where = expand(endpoint.path, environ, endpoint.name)
    try:
        if where.startswith("hf:"):
            repo, _, split = where.removeprefix("hf:").partition(":")
            rows = load_dataset(repo, split=split or "train")
            digest = hashlib.sha256(f"{where}:{rows._fingerprint}".encode()).hexdigest()
        else:
            path = base / Path(where).expanduser()
            if path.suffix not in _FORMATS:
                raise ConfigError(
                    f"endpoint {endpoint.name!r}: {path.name} is not .jsonl, .csv or .parquet", "convert it"
                )
            with path.open("rb") as f:
                digest = hashlib.file_digest(f, "sha256").hexdigest()
            rows = load_dataset(_FORMATS[path.suffix], data_files=str(path), split="train")
    except OSError as e:
        raise ConfigError(f"endpoint {endpoint.name!r}: {where}: {e.strerror or e}", "check `path:`") from e
    except ConfigError:
        raise
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise ConfigError(f"endpoint {endpoint.name!r}: {where}: {said}", "is it readable?") from e
    columns = endpoint.columns
    for key, column in columns.model_dump().items():
        if column is not None and column not in rows.column_names:
            if key in ("prompt", "sample"):
                continue
            raise ConfigError(
                f"endpoint {endpoint.name!r}: {where} has no column {column!r}",
                f"it has {', '.join(rows.column_names)}; name the right one under `columns: {{{key}: ...}}`",
            )
    return digest, rows.to_pandas()


def expand(text: str, environ: Mapping[str, str], name: str) -> str:
    """``${NAME}`` from the environment; `ConfigError` if it is not set."""
    out = text
    for variable in {part.partition("}")[0] for part in text.split("${")[1:]}:
        if variable not in environ:
            raise ConfigError(f"endpoint {name!r}: ${{{variable}}} is not set", f"export {variable}=... and run again")
        out = out.replace(f"${{{variable}}}", environ[variable])
    return os.path.normpath(out) if not out.startswith("hf:") else out


def _answers(endpoint: Recorded, digest: str, table: Any, prompts: dict[str, Prompt]) -> list[Response]:
    columns = endpoint.columns
    rows = table[table[columns.model].astype(str) == (endpoint.model or endpoint.name)]
    seen: dict[str, int] = {}
    out = []
    for row in rows.to_dict("records"):
        prompt_id = str(row[columns.prompt_id])
        if prompt_id not in prompts:
            text = row.get(columns.prompt) if columns.prompt else None
            text = text if isinstance(text, str) else ""
            prompts[prompt_id] = Prompt(id=prompt_id, family=FAMILY, text=text, channels=_CHANNELS)
        sample = seen.get(prompt_id, 0)
        seen[prompt_id] = sample + 1
        output = row[columns.output]
        text = output if isinstance(output, str) else ""
        key = f"recorded\n{digest}\n{prompt_id}\n{sample}".encode("utf-8", "surrogatepass")
        out.append(
            Response(
                endpoint=endpoint.name,
                prompt=prompt_id,
                sample=sample,
                request_hash=hashlib.sha256(key).hexdigest(),
                outcome="ok" if text.strip() else "empty",
                text=text,
                model_asked=endpoint.model or endpoint.name,
                provider="recorded",
                attempts=0,
            )
        )
    return out


def _some_models(table: Any, endpoint: Recorded) -> str:
    names = sorted(set(table[endpoint.columns.model].astype(str)))
    import difflib

    near = difflib.get_close_matches(endpoint.model or endpoint.name, names, n=5, cutoff=0.4)
    return ", ".join(near or names[:5]) + (", ..." if len(names) > 5 else "")
