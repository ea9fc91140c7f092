"""Proxies: which one the environment names for an address, and which cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.config import public_address
from harness.errors import EndpointError


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the environment variable that names it."""

    address: str
    variable: str

    @property
    def url(self) -> str:
        """The address with its scheme, which may be left out in the environment."""
        return self.address if "://" in self.address else f"http://{self.address}"

    def __str__(self) -> str:
        return f"proxy {public_address(self.address)} ({self.variable})"


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names for an address; None where NO_PROXY excepts it.

    `EndpointError` for a SOCKS proxy: spoken to as an HTTP one, it would be sent the key in the clear.
    """
    parts = urlsplit(url)
    named = {k.lower(): (k, v) for k, v in sorted(environ.items()) if k.lower().endswith("_proxy") and v}
    except_for = named.get("no_proxy", ("", ""))[1]
    if any(_is_under(parts.hostname or "", parts.port, name.strip()) for name in except_for.split(",") if name.strip()):
        return None
    found = named.get(f"{parts.scheme}_proxy") or named.get("all_proxy")
    if found is None:
        return None
    variable, address = found
    proxy = Proxy(address, variable)
    if urlsplit(proxy.url).scheme not in ("http", "https"):
        raise EndpointError(
            f"{variable} names {public_address(address)}, and only HTTP proxies can be used here",
            f"unset {variable}, name an http:// proxy in it, or except {parts.hostname} by NO_PROXY",
        )
    return proxy


def _is_under(host: str, port: int | None, name: str) -> bool:
    """Whether NO_PROXY's ``name`` (``*``, a host, one with a port, or a domain) excepts a host."""
    name, _, wanted = name.lower().partition(":")
    name = name.lstrip(".")
    return name == "*" or ((not wanted or wanted == str(port)) and (host == name or host.endswith(f".{name}")))
