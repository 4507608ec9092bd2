"""Our events as containerd's: a topic, and a message packed into an Any.

======================  =======================  =====================================================
kind / action           topic                    message
======================  =======================  =====================================================
container create        /containers/create       ContainerCreate
container update,       /containers/update       ContainerUpdate
rename
container destroy       /containers/delete       ContainerDelete
container start         /tasks/start             TaskStart
container die           /tasks/exit              TaskExit
container oom           /tasks/oom               TaskOOM
container pause,        /tasks/paused,           TaskPaused, TaskResumed
unpause                 /tasks/resumed
container exec_create,  /tasks/exec-added,       TaskExecAdded, TaskExecStarted
exec_start              /tasks/exec-started
container exec_die      /tasks/exit              TaskExit, whose ``id`` is the exec's
image pull, load, tag   /images/create           ImageCreate
image untag             /images/delete           ImageDelete
content delete          /content/delete          ContentDelete
======================  =======================  =====================================================

Others (a new blob's, a pod's, a network's, Docker's attach and kill) have no counterpart that every ``ctr`` could
decode: an event of an unknown type makes it complain once for each. Changes of namespaces and of images' labels
are told by their services (published.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Final

import betterproto
from betterproto.lib.google.protobuf import Any as AnyMessage

from sharedrt.model.ids import Namespace
from sharedrt.model.records import EventRecord
from sharedrt.pb.codec import from_unix_ns
from sharedrt.pb.containerd import events
from sharedrt.pb.containerd.services.images import v1 as images
from sharedrt.pb.containerd.types import Envelope
from sharedrt.wire.containerd_filter import Fields, map_field

PidOf = Callable[[Namespace, str], int]
"""The first process of a container, 0 when it has none any more."""

_EVENTS_PACKAGE: Final = "containerd.events"
_IMAGES_PACKAGE: Final = "containerd.services.images.v1"
_GO_NAMES: Final = {"TaskOom": "TaskOOM", "TaskIo": "TaskIO"}

_IMAGE_MADE: Final = frozenset({"pull", "load", "import", "tag"})
_IMAGE_GONE: Final = frozenset({"untag"})

Translation = tuple[str, betterproto.Message]


def to_envelope(namespace: Namespace, record: EventRecord, pid_of: PidOf) -> Envelope | None:
    """``None``: containerd has no such event."""
    match record.kind:
        case "container":
            found = _container(namespace, record, pid_of)
        case "image":
            found = _image(record)
        case "content":
            found = _content(record)
        case _:
            found = None
    if found is None:
        return None
    topic, message = found
    return envelope(namespace, record.time_ns, topic, message)


def envelope(
    namespace: Namespace | str, time_ns: int, topic: str, message: betterproto.Message
) -> Envelope:
    """An envelope around one of containerd's own event messages."""
    package = _IMAGES_PACKAGE if isinstance(message, _IMAGE_MESSAGES) else _EVENTS_PACKAGE
    name = type(message).__name__
    return Envelope(
        timestamp=from_unix_ns(time_ns),
        namespace=namespace,
        topic=topic,
        event=AnyMessage(type_url=f"{package}.{_GO_NAMES.get(name, name)}", value=bytes(message)),
    )


_IMAGE_MESSAGES: Final = (images.ImageCreate, images.ImageUpdate, images.ImageDelete)


def _container(namespace: Namespace, record: EventRecord, pid_of: PidOf) -> Translation | None:
    id, attributes = record.actor, record.attributes
    match record.action.partition(":")[0]:
        case "create":
            image = attributes.get("image", "")
            return "/containers/create", events.ContainerCreate(id=id, image=image)
        case "update" | "rename":
            image = attributes.get("image", "")
            return "/containers/update", events.ContainerUpdate(id=id, image=image, snapshot_key=id)
        case "destroy":
            return "/containers/delete", events.ContainerDelete(id=id)
        case "start":
            return "/tasks/start", events.TaskStart(container_id=id, pid=pid_of(namespace, id))
        case "die":
            return "/tasks/exit", _exit(record, id)
        case "oom":
            return "/tasks/oom", events.TaskOom(container_id=id)
        case "pause":
            return "/tasks/paused", events.TaskPaused(container_id=id)
        case "unpause":
            return "/tasks/resumed", events.TaskResumed(container_id=id)
        case "exec_create":
            exec_id = attributes.get("execID", "")
            return "/tasks/exec-added", events.TaskExecAdded(container_id=id, exec_id=exec_id)
        case "exec_start":
            exec_id = attributes.get("execID", "")
            return "/tasks/exec-started", events.TaskExecStarted(container_id=id, exec_id=exec_id)
        case "exec_die":
            return "/tasks/exit", _exit(record, attributes.get("execID", ""))
        case _:
            return None


def _exit(record: EventRecord, process: str) -> events.TaskExit:
    code = record.attributes.get("exitCode", "")
    return events.TaskExit(
        container_id=record.actor,
        id=process,
        exit_status=int(code) if code.isdecimal() else 255,
        exited_at=from_unix_ns(record.time_ns),
    )


def _image(record: EventRecord) -> Translation | None:
    """The one about the image itself (Docker's ``delete``) follows those of its names, and adds nothing."""
    if not (name := record.attributes.get("reference", "")):
        return None
    if record.action in _IMAGE_MADE:
        return "/images/create", images.ImageCreate(name=name)
    if record.action in _IMAGE_GONE:
        return "/images/delete", images.ImageDelete(name=name)
    return None


def _content(record: EventRecord) -> Translation | None:
    if record.action == "delete":
        return "/content/delete", events.ContentDelete(digest=record.actor)
    return None


_DECODERS: Final[Mapping[str, type[betterproto.Message]]] = {
    f"{package}.{_GO_NAMES.get(message.__name__, message.__name__)}": message
    for package, messages in (
        (
            _EVENTS_PACKAGE,
            [
                m
                for m in vars(events).values()
                if isinstance(m, type) and issubclass(m, betterproto.Message)
            ],
        ),
        (_IMAGES_PACKAGE, _IMAGE_MESSAGES),
    )
    for message in messages
}


def fields_of_envelope(envelope: Envelope) -> Fields:
    """What an event filter can name: ``topic``, ``namespace`` and the text fields of ``event``."""

    def look(path: Sequence[str]) -> str | None:
        match list(path):
            case ["topic"]:
                return envelope.topic or None
            case ["namespace"]:
                return envelope.namespace or None
            case ["event", *rest] if rest:
                return _field_of_event(envelope, rest)
            case _:
                return None

    return look


def _field_of_event(envelope: Envelope, path: Sequence[str]) -> str | None:
    kind = envelope.event.type_url.rpartition("/")[2]
    if (decoder := _DECODERS.get(kind)) is None:
        return None
    try:
        value: object = decoder.FromString(envelope.event.value)
    except (RuntimeError, ValueError):
        return None  # a client has published something else under that name
    for step, name in enumerate(path):
        if isinstance(value, dict):
            return map_field(path[step:], value)
        if not is_dataclass(value) or name not in {field.name for field in fields(value)}:
            return None
        value = getattr(value, name)
    return value if isinstance(value, str) and value else None
