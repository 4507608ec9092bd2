"""A container's OCI specification, as containerd keeps one with each.

Clients read it without asking whether it is there: cAdvisor, in a kubelet, dereferences it. It says what the record
knows; the whole one, with capabilities, mounts and seccomp, is made anew at each start and is the runtime's.
"""

import json
from typing import Any, Final

from betterproto.lib.google.protobuf import Any as AnyMessage

from sharedrt.model.records import ContainerRecord, SandboxRecord

SPEC_TYPE: Final = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_OCI_VERSION: Final = "1.0.2"


def spec_of(record: ContainerRecord) -> AnyMessage:
    """JSON in an Any, under containerd's name for it."""
    return _in_any(_document(record))


def pod_spec_of(record: SandboxRecord) -> AnyMessage:
    """The same of a pod, which has namespaces and hardly ever a process."""
    namespaces = [{"type": kind, "path": path} for kind, path in record.namespace_paths.items()]
    return _in_any(
        {
            "ociVersion": _OCI_VERSION,
            "process": {"cwd": "/"},
            "hostname": record.spec.hostname,
            "annotations": dict(record.annotations),
            "linux": {"namespaces": namespaces, "cgroupsPath": record.spec.cgroup_parent},
        }
    )


def _in_any(document: dict[str, Any]) -> AnyMessage:
    text = json.dumps(document, separators=(",", ":"))
    return AnyMessage(type_url=SPEC_TYPE, value=text.encode())


def _document(record: ContainerRecord) -> dict[str, Any]:
    spec, image = record.spec, record.image_defaults
    if spec.command is not None:
        args = (*spec.command, *(spec.args or ()))
    else:
        args = (*image.entrypoint, *(image.cmd if spec.args is None else spec.args))
    return {
        "ociVersion": _OCI_VERSION,
        "process": {
            "terminal": spec.tty,
            "args": args,
            "env": _environment(record),
            "cwd": spec.cwd or image.cwd or "/",
        },
        "root": {"readonly": spec.security.readonly_rootfs},
        "hostname": spec.hostname,
        "annotations": dict(record.annotations),
        "linux": {},
    }


def _environment(record: ContainerRecord) -> list[str]:
    """The image's variables and the client's over them; a bare name removes one."""
    found: dict[str, str] = {}
    for entry in (*record.image_defaults.env, *record.spec.env):
        name, equals, _ = entry.partition("=")
        if equals:
            found[name] = entry
        else:
            found.pop(name, None)
    return list(found.values())
