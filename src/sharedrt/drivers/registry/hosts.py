"""Which hosts serve a registry's images: containerd's ``certs.d`` (docs/hosts.md there).

For an image of ``reg.example:5000`` the folders ``reg.example_5000_`` and ``reg.example:5000`` are looked for
below each root in turn, then ``_default`` below each. ``hosts.toml`` there names mirrors, tried in the order of
the file, and the ``server`` behind them; without that file Docker's ``*.crt``, ``*.cert`` and ``*.key`` count.
Files are read at each pull, so a change needs no restart.

Where no ``server`` is named, the image's own registry stands behind the mirrors, as in containerd, with one
difference: when a mirror that may ``resolve`` has answered 'unknown', that is final, and the registry which
nobody configured is not asked (see ``implied``). A node without a way out so answers at once, and a name
that the mirror refuses is not quietly fetched around it. Registries on loopback and those listed as insecure
do count as configured.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import normpath
from typing import Any, Final
from urllib.parse import urlsplit

from sharedrt.model.faults import FailedPrecondition

PULL: Final = "pull"
RESOLVE: Final = "resolve"
PUSH: Final = "push"
_CAPABILITIES: Final = frozenset({PULL, RESOLVE, PUSH, "referrers"})
_HOST_KEYS: Final = frozenset(
    {"capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"}
)
DEFAULT_DIAL_TIMEOUT_S: Final = 15.0
DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_HOST: Final = "registry-1.docker.io"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How a host's certificate is checked, and ours is shown. ``client`` pairs are (certificate, key or None)."""

    ca: tuple[Path, ...] = ()
    client: tuple[tuple[Path, Path | None], ...] = ()
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class RegistryHost:
    """One endpoint that serves a registry's images."""

    scheme: str
    authority: str
    """``host[:port]``."""
    path: str = "/v2"
    capabilities: frozenset[str] = _CAPABILITIES
    tls: TlsSettings = TlsSettings()
    header: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dial_timeout_s: float = DEFAULT_DIAL_TIMEOUT_S
    http_fallback: bool = False
    """HTTPS is tried first, and plain HTTP where the host does not speak it."""
    mirror: bool = False
    """It stands in for another registry, and ``ns`` tells it for which."""
    own: bool = False
    """It is the registry itself, or what ``server`` puts in its place: the one to get its credentials."""
    implied: bool = False
    """Nobody configured it, so a mirror's 'unknown' is final."""


class HostsConfig:
    """Looks hosts up; every call reads the files (small, so callers do it on a thread)."""

    def __init__(self, roots: Sequence[Path], insecure: Sequence[str] = ()) -> None:
        self._roots = tuple(roots)
        self._insecure = tuple(insecure)

    def hosts_for(self, domain: str) -> tuple[RegistryHost, ...]:
        """The hosts of a registry in the order of trying; the last one is the registry itself.

        Raises:
            FailedPrecondition: a file that is there is wrong; names it.
        """
        folder = self._folder(domain)
        upstream = self._upstream(domain)
        if folder is None:
            return (upstream,)
        file = folder / "hosts.toml"
        try:
            text = file.read_text()
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise _refused(file, f"cannot be read: {error}") from error
        if not text.strip():
            return (self._with_certificates(upstream, folder),)
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _refused(file, str(error)) from error
        return self._from_document(document, file, upstream)

    def is_insecure(self, authority: str) -> bool:
        """Whether the host may be spoken to without a verified certificate: listed so, or loopback."""
        return is_loopback(authority) or self._is_listed(authority)

    def _from_document(
        self, document: dict[str, Any], file: Path, upstream: RegistryHost
    ) -> tuple[RegistryHost, ...]:
        if unknown := set(document) - _HOST_KEYS - {"server", "host"}:
            raise _refused(file, f"unknown key {sorted(unknown)[0]!r}")
        tables = document.get("host", {})
        if not isinstance(tables, dict):
            raise _refused(file, "host must be a table")
        hosts = []
        for url, table in tables.items():
            if not isinstance(table, dict):
                raise _refused(file, f'[host."{url}"] must be a table')
            if unknown := set(table) - _HOST_KEYS:
                raise _refused(file, f'unknown key {sorted(unknown)[0]!r} in [host."{url}"]')
            hosts.append(self._host(url, table, file, upstream))
        root = {key: value for key, value in document.items() if key in _HOST_KEYS}
        server = document.get("server", "")
        if not isinstance(server, str):
            raise _refused(file, "server must be a string")
        if server:
            last = replace(self._host(server, root, file, upstream), own=True)
        else:
            last = _apply(upstream, root, file)
            last = replace(last, implied=bool(hosts) and upstream.implied)
        return (*hosts, last)

    def _host(
        self, url: str, table: dict[str, Any], file: Path, upstream: RegistryHost
    ) -> RegistryHost:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        if parts.scheme not in ("http", "https"):
            raise _refused(file, f"{url!r} is neither http nor https")
        if not parts.netloc or parts.query or "@" in parts.netloc:
            raise _refused(file, f"{url!r} is no URL of a host")
        override = table.get("override_path", False)
        if not isinstance(override, bool):
            raise _refused(file, "override_path must be true or false")
        path = normpath(parts.path).rstrip("/") if parts.path else ""
        if not override and not path.endswith("/v2"):
            path += "/v2"
        host = RegistryHost(
            scheme=parts.scheme,
            authority=parts.netloc,
            path=path,
            mirror=parts.netloc != upstream.authority,
            own=parts.netloc == upstream.authority,
            http_fallback=parts.scheme == "https" and self._is_listed(parts.netloc),
        )
        if host.http_fallback:
            host = replace(host, tls=TlsSettings(skip_verify=True))
        return _apply(host, table, file)

    def _upstream(self, domain: str) -> RegistryHost:
        if domain == DOCKER_HUB:
            return RegistryHost("https", DOCKER_HUB_HOST, own=True, implied=True)
        if self.is_insecure(domain):
            _, port = split_authority(domain)
            if port == "80":
                return RegistryHost("http", domain, own=True)
            return RegistryHost(
                "https",
                domain,
                tls=TlsSettings(skip_verify=True),
                http_fallback=port != "443",
                own=True,
            )
        return RegistryHost("https", domain, own=True, implied=True)

    def _with_certificates(self, upstream: RegistryHost, folder: Path) -> RegistryHost:
        names = sorted(os.listdir(folder))
        ca = tuple(folder / name for name in names if name.endswith(".crt"))
        client = []
        for name in names:
            if name.endswith(".cert"):
                key = folder / (name.removesuffix(".cert") + ".key")
                client.append((folder / name, key if key.exists() else None))
        if not ca and not client:
            return upstream
        # An own CA means that the certificate is to be checked, so no falling back to less.
        tls = TlsSettings(ca, tuple(client), skip_verify=not ca and upstream.tls.skip_verify)
        return replace(upstream, scheme="https", tls=tls, http_fallback=False)

    def _folder(self, domain: str) -> Path | None:
        names = [domain]
        host, port = split_authority(domain)
        if port:
            names.insert(0, f"{host}_{port}_")
        for choices in (names, ["_default"]):
            for root in self._roots:
                for name in choices:
                    if (root / name).is_dir():
                        return root / name
        return None

    def _is_listed(self, authority: str) -> bool:
        host, _ = split_authority(authority)
        for entry in self._insecure:
            if entry in (authority, host):
                return True
            try:
                if ipaddress.ip_address(host.strip("[]")) in ipaddress.ip_network(entry):
                    return True
            except ValueError:
                continue  # a name, on one side or the other
        return False


def is_loopback(authority: str) -> bool:
    host, _ = split_authority(authority)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_authority(authority: str) -> tuple[str, str]:
    """``host`` and ``port``, which may be empty; an IPv6 address keeps its brackets."""
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdecimal():
        return authority, ""
    return host, port


def _apply(host: RegistryHost, table: dict[str, Any], file: Path) -> RegistryHost:
    """The host with a table's settings."""
    changes: dict[str, Any] = {}
    if names := _strings(table.get("capabilities", []), "capabilities", file):
        capabilities = frozenset(name.lower() for name in names)
        if unknown := capabilities - _CAPABILITIES:
            raise _refused(file, f"unknown capability {sorted(unknown)[0]!r}")
        changes["capabilities"] = capabilities
    ca = tuple(file.parent / name for name in _strings(table.get("ca", []), "ca", file))
    client = _client_pairs(table.get("client", []), file)
    skip = table.get("skip_verify")
    if skip is not None and not isinstance(skip, bool):
        raise _refused(file, "skip_verify must be true or false")
    if ca or client or skip is not None:
        verify_less = host.tls.skip_verify and not ca if skip is None else skip
        changes["tls"] = TlsSettings(ca or host.tls.ca, client or host.tls.client, verify_less)
        # containerd: an http host with TLS settings is tried over HTTPS first.
        if host.scheme == "http" and split_authority(host.authority)[1] != "80":
            changes |= {"scheme": "https", "http_fallback": True}
        elif ca:
            changes["http_fallback"] = False
    if header := table.get("header"):
        if not isinstance(header, dict):
            raise _refused(file, "header must be a table")
        changes["header"] = {
            name: _strings(value, f"header.{name}", file) for name, value in header.items()
        }
    if "dial_timeout" in table:
        changes["dial_timeout_s"] = _duration_s(table["dial_timeout"], file)
    return replace(host, **changes)


def _client_pairs(value: object, file: Path) -> tuple[tuple[Path, Path | None], ...]:
    """containerd's three forms: a path, paths, or pairs of paths."""
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list):
        raise _refused(file, "client must be a path, a list of paths or a list of pairs")
    pairs: list[tuple[Path, Path | None]] = []
    for entry in entries:
        if isinstance(entry, str):
            pairs.append((file.parent / entry, None))
            continue
        names = _strings(entry, "client", file)
        if len(names) != 2:
            raise _refused(file, "client: a pair has two paths")
        pairs.append((file.parent / names[0], file.parent / names[1] if names[1] else None))
    return tuple(pairs)


def _strings(value: object, key: str, file: Path) -> tuple[str, ...]:
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise _refused(file, f"{key} must be a string or a list of strings")
    return tuple(entries)


def _duration_s(value: object, file: Path) -> float:
    """Go's notation: ``1s``, ``1m30s``, ``500ms``."""
    if isinstance(value, str) and value:
        parts = _DURATION.findall(value)
        if "".join(number + unit for number, unit in parts) == value:
            return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
    raise _refused(file, f"dial_timeout {value!r} is no duration such as 1s")


def _refused(file: Path, reason: str) -> FailedPrecondition:
    return FailedPrecondition("registry configuration", str(file), reason)
