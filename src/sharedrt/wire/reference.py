"""Image references as Docker, containerd and Kubernetes write them.

Grammar: distribution's ``reference`` package; normalization as Docker's (a name without a host is
Docker Hub's, one without a path is in ``library``)::

    busybox                      docker.io/library/busybox:latest
    team/app:1.0                 docker.io/team/app:1.0
    localhost/app                localhost/app:latest
    reg.example:5000/a/b@sha256:...
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import Digest, parse_digest

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
_LEGACY_DOMAIN: Final = "index.docker.io"
_OFFICIAL: Final = "library/"
MAX_NAME_LENGTH: Final = 255
MAX_REFERENCE_LENGTH: Final = 1024

_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_BARE_ID = re.compile(r"[a-f0-9]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalized reference. ``str()`` is the full form; without tag and digest it is a bare name."""

    domain: str
    """``docker.io``, ``localhost:5000``, ``[::1]:5000`` ..."""
    path: str
    """The repository at the registry: ``library/busybox``."""
    tag: str = ""
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """``docker.io/library/busybox``."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The name as Docker shows it: ``busybox``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        """The reference as Docker shows it: ``busybox:latest``."""
        return self.familiar_name + self._suffix

    @property
    def selector(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return self.name + self._suffix

    def with_tag(self, tag: str) -> "Reference":
        """The same name with this tag and no digest. Raises InvalidArgument."""
        if not _TAG.fullmatch(tag):
            raise InvalidArgument("tag", tag, "must match [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> "Reference":
        """The same name with this digest and no tag."""
        return replace(self, tag="", digest=digest)

    def pinned(self) -> "Reference":
        """As Docker and CRI pull it: a digest makes a tag beside it meaningless, so it is dropped;
        without either the tag is ``latest``."""
        if self.digest is not None:
            return replace(self, tag="")
        return self if self.tag else replace(self, tag=DEFAULT_TAG)

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest is not None else tag


def parse_reference(text: str) -> Reference:
    """Parse a reference to one image: what :func:`parse_name` gives, with ``latest`` for want of a tag
    or digest.

    Raises:
        InvalidArgument: not a reference.
    """
    parsed = parse_name(text)
    if parsed.tag or parsed.digest is not None:
        return parsed
    return replace(parsed, tag=DEFAULT_TAG)


def parse_name(text: str) -> Reference:
    """Parse and normalize, adding no tag.

    Raises:
        InvalidArgument: not a reference; names what is wrong with it.
    """
    if not text:
        raise InvalidArgument("reference", text, "must not be empty")
    if len(text) > MAX_REFERENCE_LENGTH:
        raise InvalidArgument("reference", f"{text[:64]}...", "too long")
    if _BARE_ID.fullmatch(text):
        raise InvalidArgument("reference", text, "64 hexadecimal digits are an id, not a name")
    rest, digest = _split_digest(text)
    domain, remainder = split_domain(rest)
    path, _, tag = remainder.partition(":")
    if tag == "" and remainder.endswith(":"):
        raise InvalidArgument("reference", text, "empty tag")
    if tag and not _TAG.fullmatch(tag):
        raise InvalidArgument("reference", text, f"invalid tag {tag!r}")
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = _OFFICIAL + path
    if not _DOMAIN.fullmatch(domain):
        raise InvalidArgument("reference", text, f"invalid registry host {domain!r}")
    if not _PATH.fullmatch(path):
        reason = "invalid repository name"
        if path != path.lower() and _PATH.fullmatch(path.lower()):
            reason = f"repository name ({path}) must be lowercase"
        raise InvalidArgument("reference", text, reason)
    if len(domain) + 1 + len(path) > MAX_NAME_LENGTH:
        raise InvalidArgument("reference", text, f"name longer than {MAX_NAME_LENGTH} characters")
    return Reference(domain, path, tag, digest)


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    if not at:
        return text, None
    try:
        return rest, parse_digest(digest)
    except InvalidArgument as error:
        raise InvalidArgument("reference", text, f"invalid digest: {error.reason}") from error


def split_domain(text: str) -> tuple[str, str]:
    """The first part is a host when it looks like one: a dot, a port, ``localhost``, or upper case
    (which no path may have)."""
    first, slash, rest = text.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not looks_like_host:
        return DEFAULT_DOMAIN, text
    return (DEFAULT_DOMAIN if first == _LEGACY_DOMAIN else first), rest
