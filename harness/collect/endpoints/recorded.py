"""Endpoints of kind ``recorded``: answers that someone already has, as if they had just been given."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.collect.parse import outcome_of
from harness.config import Recorded
from harness.errors import ConfigError
from harness.responses import Prompt, Response

FAMILY = "recorded"
_CHANNELS = ("wording", "verbatim", "style", "traces")
ESCAPED = "escaped"  # CSV column: cells of the row that an export gave a leading apostrophe, by column
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
            if path.suffix == ".csv":
                return digest, _named(endpoint, where, _read_csv(path))
            rows = load_dataset(_FORMATS[path.suffix], data_files=str(path), split="train")
    except OSError as e:
        raise ConfigError(f"endpoint {endpoint.name!r}: {where}: {e.strerror or e}", "check `path:`") from e
    except ConfigError:
        raise
    except Exception as e:  # readers raise their own kinds; the reader of this needs one line
        said = (str(e) or type(e).__name__).splitlines()[0][:200]
        raise ConfigError(f"endpoint {endpoint.name!r}: {where}: {said}", "is it readable?") from e
    return digest, _named(endpoint, where, rows.to_pandas())


def _read_csv(path: Path) -> Any:
    """A CSV with every cell as text: `null` is what a model said, and 007 a name. Undoes what an export escaped."""
    import pandas as pd

    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if ESCAPED in table.columns:
        for column in set(table.columns) - {ESCAPED}:
            changed = table[ESCAPED].str.split().map(lambda names, c=column: c in names)
            table.loc[changed, column] = table.loc[changed, column].str.removeprefix("'")
    return table


def _named(endpoint: Recorded, where: str, table: Any) -> Any:
    """The table, if the columns that must be there are."""
    for key in ("model", "prompt_id", "output"):
        column = getattr(endpoint.columns, key)
        if column not in table.columns:
            raise ConfigError(
                f"endpoint {endpoint.name!r}: {where} has no column {column!r}",
                f"it has {', '.join(map(str, table.columns))}; name the right one under `columns: {{{key}: ...}}`",
            )
    return table


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
    given = columns.sample in table.columns
    seen: dict[str, set[int]] = {}
    out = []
    for row in rows.to_dict("records"):
        prompt_id = str(row[columns.prompt_id])
        taken = seen.setdefault(prompt_id, set())
        sample = _sample(endpoint, prompt_id, row[columns.sample]) if given else len(taken)
        if sample in taken:
            raise ConfigError(
                f"endpoint {endpoint.name!r}: prompt {prompt_id!r} has two answers with sample {sample}",
                "number them apart, or write `columns: {sample: null}` to count them as they stand",
            )
        taken.add(sample)
        known = prompts.get(prompt_id) or Prompt(prompt_id, FAMILY, _text(row.get(columns.prompt)), channels=_CHANNELS)
        prompts[prompt_id] = replace(known, samples=max(known.samples, len(taken)))
        out.append(_answer(endpoint, digest, prompt_id, sample, row))
    return out


def _answer(endpoint: Recorded, digest: str, prompt_id: str, sample: int, row: Mapping[str | None, Any]) -> Response:
    columns = endpoint.columns
    key = f"recorded\n{digest}\n{prompt_id}\n{sample}".encode("utf-8", "surrogatepass")
    text, refusal, finish = (_text(row.get(c)) for c in (columns.output, columns.refusal, columns.finish_reason))
    logprobs = _text(row.get(columns.logprobs))
    return Response(
        endpoint=endpoint.name,
        prompt=prompt_id,
        sample=sample,
        request_hash=hashlib.sha256(key).hexdigest(),
        outcome=outcome_of(text, refusal, finish),
        text=text,
        reasoning=_text(row.get(columns.reasoning)),
        refusal=refusal,
        finish_reason=finish,
        model_asked=endpoint.model or endpoint.name,
        provider="recorded",
        prompt_tokens=_count(row.get(columns.prompt_tokens)),
        completion_tokens=_count(row.get(columns.completion_tokens)),
        logprobs=zlib.compress(logprobs.encode("utf-8", "replace"), 1) if logprobs else None,
        attempts=0,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    """A count of tokens as tables hold it: a whole number, a float where others are missing, or text."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() and 0 <= number < 1 << 53 else None


def _sample(endpoint: Recorded, prompt_id: str, value: object) -> int:
    number = _count(value)
    if number is None:
        raise ConfigError(
            f"endpoint {endpoint.name!r}: prompt {prompt_id!r} has sample {str(value)[:40]!r}, not a whole number",
            "write `columns: {sample: null}` to count answers as they stand",
        )
    return number


def _some_models(table: Any, endpoint: Recorded) -> str:
    names = sorted(set(table[endpoint.columns.model].astype(str)))
    import difflib

    near = difflib.get_close_matches(endpoint.model or endpoint.name, names, n=5, cutoff=0.4)
    return ", ".join(near or names[:5]) + (", ..." if len(names) > 5 else "")
