"""Versions of what an answer or a number can depend on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    *("behavioral-probing-harness", "openai", "httpx", "httpx2", "aiohttp", "datasets", "scikit-learn", "tenacity"),
    *("pyyaml", "numpy", "scipy", "lir", "msgspec", "pyarrow", "joblib", "xllamacpp"),
)


def packages() -> dict[str, str]:
    """Version by package, of those that are installed."""
    return {p: v for p in _PACKAGES if (v := _version(p))}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
