"""Looking images up, as other nouns' handlers need them."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Sequence

import structlog

from sharedrt.edges.docker.call import Call
from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import Refusal, bad_request
from sharedrt.model.drivers import Credentials
from sharedrt.model.faults import InvalidArgument, NotFound
from sharedrt.model.ids import Digest
from sharedrt.model.records import ContainerRecord
from sharedrt.services.contracts import NamespacedRuntime
from sharedrt.services.images import Image
from sharedrt.wire.reference import parse_name, parse_reference

log = structlog.get_logger(__name__)
_ID = re.compile(r"(sha256:)?[0-9a-f]{64}")


def familiar(reference: str) -> str:
    """A reference as Docker shows it (``busybox:latest``); what is none stays as it is."""
    try:
        return parse_name(reference).familiar
    except InvalidArgument:
        return reference


def short_id(digest: str) -> str:
    """Twelve hex digits of a digest."""
    return digest.partition(":")[2][:12] or digest[:12]


def find_image(call: Call, reference: str) -> Image:
    """By name or id.

    Raises:
        NotFound: with the name as dockerd completes it (``busybox:latest``). Refusal: 400 for what can be no name.
    """
    try:
        return call.runtime.images.get(reference)
    except NotFound as fault:
        if not _ID.fullmatch(reference):
            _check_reference(reference)
        raise NotFound("image", complete(reference)) from fault


def _check_reference(reference: str) -> None:
    try:
        parse_reference(reference)
    except InvalidArgument as fault:
        why = f": {fault.reason}" if fault.reason.endswith("must be lowercase") else ""
        raise bad_request(f"invalid reference format{why}") from fault


def select_images(call: Call, reference: str) -> Sequence[Image]:
    """As :func:`find_image`, but a name without a tag stands for all tags of its repository."""
    try:
        return call.runtime.images.select(reference)
    except NotFound as fault:
        raise NotFound("image", complete(reference)) from fault


def complete(reference: str) -> str:
    """A reference as dockerd completes it (``busybox:latest``); what is none stays as it is."""
    try:
        return parse_reference(reference).familiar
    except InvalidArgument:
        return reference


def image_config(image: Image) -> dict[str, object]:
    """The ``config`` object of an image's configuration, as it is."""
    raw = image.config.raw
    config = raw.get("config") if isinstance(raw, dict) else None
    return dict(config) if isinstance(config, dict) else {}


def image_name_for(runtime: NamespacedRuntime, record: ContainerRecord) -> str:
    """What ``ps`` shows: the name that the container was made with, while it still names that image."""
    try:
        if runtime.images.get(record.image_reference).id == record.image_id:
            return record.image_reference
    except NotFound:
        pass  # untagged since
    return record.image_id


def image_size(runtime: NamespacedRuntime, id: Digest) -> int:
    """Bytes on disk of an image's layers; 0 when it is gone."""
    try:
        return runtime.images.get(id).unpacked_size_bytes
    except NotFound:
        return 0


def ancestors(runtime: NamespacedRuntime, references: Iterable[str]) -> set[str]:
    """Ids of the images named, and of those that were built on them."""
    ids: set[str] = set()
    for reference in references:
        try:
            image = runtime.images.get(reference)
        except NotFound:
            continue
        ids.add(image.id)
        if image.layers:
            ids |= {i.id for i in runtime.images.list() if image.layers[0] in i.layers[1:]}
    return ids


def registry_auth(call: Call) -> Credentials | None:
    """``X-Registry-Auth``: base64url of an AuthConfig; ``None`` when it holds nothing.

    One that is malformed counts as none, as dockerd has it for the sake of old clients.
    """
    header = call.request.headers.get("X-Registry-Auth", "").replace("+", "-").replace("/", "_")
    try:
        padded = header + "=" * (-len(header) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        value = json.loads(raw) if raw.strip() else {}
        if isinstance(value, dict):
            return credentials_of(Fields(value, "X-Registry-Auth"))
    except (binascii.Error, ValueError, RecursionError, Refusal) as error:
        log.info("malformed X-Registry-Auth is ignored", reason=str(error))
    return None


def credentials_of(auth: Fields) -> Credentials | None:
    """An AuthConfig; ``auth`` (base64 of ``user:password``) counts when there is no username."""
    username, password = auth.text("username"), auth.text("password")
    if not username and (joined := auth.text("auth")):
        try:
            username, _, password = base64.b64decode(joined).decode().partition(":")
        except (binascii.Error, ValueError) as error:
            raise bad_request(f"invalid auth configuration: {error}") from error
    credentials = Credentials(
        username=username,
        password=password,
        identity_token=auth.text("identitytoken"),
        registry_token=auth.text("registrytoken"),
        server_address=auth.text("serveraddress"),
    )
    if credentials == Credentials(server_address=credentials.server_address):
        return None
    return credentials
