"""AuthConfig on the way in: the forms in which a kubelet hands over a pull secret."""

import binascii
from base64 import b64decode
from typing import Final

from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import InvalidArgument
from sharedrt.pb.runtime.v1 import AuthConfig
from sharedrt.wire.reference import parse_reference

_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def credentials_of(auth: AuthConfig, image: str) -> Credentials | None:
    """``None`` without any, and for credentials that are another registry's: those are never sent.

    Raises:
        InvalidArgument: ``auth`` is not base64 of ``user:password`` (told without its content), or the image is
            no reference.
    """
    if auth.server_address and not _same_host(auth.server_address, parse_reference(image).domain):
        return None
    username, password = auth.username, auth.password
    if not username and auth.auth:
        username, password = _decode(auth.auth)
    if not (username or password or auth.identity_token or auth.registry_token):
        return None
    return Credentials(
        username=username,
        password=password,
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
        server_address=auth.server_address,
    )


def _decode(text: str) -> tuple[str, str]:
    try:
        # Line ends are passed over, as Go's decoder does: files of secrets have them.
        decoded = b64decode(text.replace("\r", "").replace("\n", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        # Without `from`: the cause would carry the secret into a log's traceback.
        raise InvalidArgument("auth.auth", "...", "is not base64 of user:password") from None
    username, colon, password = decoded.partition(":")
    if not colon:
        raise InvalidArgument("auth.auth", "...", "is not base64 of user:password")
    # Docker's own configuration files end it with NUL bytes at times.
    return username, password.rstrip("\0")


def _same_host(address: str, domain: str) -> bool:
    """``address`` may be a URL (``https://index.docker.io/v1/``) or a host."""
    host = address.partition("://")[2] or address
    host = host.partition("/")[0]
    return host == domain or (host in _DOCKER_HUB and domain in _DOCKER_HUB)
