"""Google's protobuf library on the same .proto files: the oracle that generated code answers to.

Descriptors live in a pool of their own, so nothing here meets other protobuf code in the process.
"""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

import betterproto
import betterproto.casing
import hypothesis.strategies as st
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from sharedrt.pb import codec

PROTO = Path(__file__).parents[2] / "proto"
TIMESTAMP = "google.protobuf.Timestamp"

INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


@cache
def files() -> list[descriptor_pb2.FileDescriptorProto]:
    """Descriptors of all our files and their imports, imports first."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(
            [
                *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"),
                *("--include_imports", f"--descriptor_set_out={out.name}"),
                *sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto")),
            ],
            check=True,
        )
        return list(descriptor_pb2.FileDescriptorSet.FromString(out.read()).file)


@cache
def pool() -> descriptor_pool.DescriptorPool:
    made = descriptor_pool.DescriptorPool()
    for file in files():
        made.Add(file)
    return made


def messages() -> Iterator[Descriptor]:
    """Every message of our own packages, nested ones too, map entries left out."""

    def walk(found: Descriptor) -> Iterator[Descriptor]:
        yield found
        for nested in found.nested_types:
            if not nested.GetOptions().map_entry:
                yield from walk(nested)

    for file in files():
        if file.package != "google.protobuf":
            for top in pool().FindFileByName(file.name).message_types_by_name.values():
                yield from walk(top)


def new(kind: Descriptor) -> Any:
    return message_factory.GetMessageClass(kind)()


def parse(kind: Descriptor, data: bytes) -> Any:
    return message_factory.GetMessageClass(kind).FromString(data)


def generated(kind: Descriptor) -> type[betterproto.Message]:
    """The generated class of a message."""
    package = kind.file.package
    inside = package.removeprefix("google.")
    home = "betterproto.lib" if inside == "protobuf" else "sharedrt.pb"
    path = kind.full_name.removeprefix(f"{package}.").split(".")
    name = "".join(betterproto.casing.pascal_case(part) for part in path)
    found: type[betterproto.Message] = getattr(importlib.import_module(f"{home}.{package}"), name)
    return found


def is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a scalar field, enum numbers of the future included."""
    if field.type in INTEGERS:
        low, high = INTEGERS[field.type]
        return st.sampled_from([low, high, 0]) | st.integers(low, high)
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from([*known, 4711, -1, -(2**31)])
    return {
        FieldDescriptor.TYPE_STRING: st.text(max_size=5),
        FieldDescriptor.TYPE_BYTES: st.binary(max_size=5),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        # -0.0 is the one double that the Rust codec does not keep
        FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False).map(lambda x: x or 0.0),
    }[field.type]


def fill(draw: st.DrawFn, message: Any, depth: int = 0) -> None:
    """Set random fields: any value on the wire that a datetime or a message can stand for."""
    if message.DESCRIPTOR.full_name == TIMESTAMP:
        micros = draw(st.integers(-62135596800 * 10**6, 253402300800 * 10**6 - 1))
        message.seconds, rest = divmod(micros or 1, 10**6)  # the epoch is the same as absent
        message.nanos = rest * 1000
        return
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        target = getattr(message, field.name)
        if is_map(field):
            value = field.message_type.fields_by_name["value"]
            for key in draw(st.lists(st.text(max_size=3), max_size=2)):
                if value.message_type:
                    fill(draw, target[key], depth + 1)
                else:
                    target[key] = draw(scalars(value))
        elif field.is_repeated:
            for _ in range(draw(st.integers(0, 2))):
                if field.message_type:
                    fill(draw, target.add(), depth + 1)
                else:
                    target.append(draw(scalars(field)))
        elif field.message_type:
            if depth < 3 or field.message_type.full_name == TIMESTAMP:
                target.SetInParent()
                fill(draw, target, depth + 1)
        else:
            setattr(message, field.name, draw(scalars(field)))


@st.composite
def filled(draw: st.DrawFn, kind: Descriptor) -> Any:
    message = new(kind)
    fill(draw, message)
    return message


def of_google(message: Any) -> dict[int, Any]:
    """Field number -> value, with nested messages as dicts and absent ones as None."""

    def plain(field: FieldDescriptor, value: Any) -> Any:
        if not field.message_type:
            return value
        if field.message_type.full_name == TIMESTAMP:
            return value.seconds * 10**9 + value.nanos
        return of_google(value)

    tree: dict[int, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if is_map(field):
            inner = field.message_type.fields_by_name["value"]
            tree[field.number] = {key: plain(inner, item) for key, item in value.items()}
        elif field.is_repeated:
            tree[field.number] = [plain(field, item) for item in value]
        elif field.message_type and not message.HasField(field.name):
            tree[field.number] = 0 if field.message_type.full_name == TIMESTAMP else None
        else:
            tree[field.number] = plain(field, value)
    return tree


def of_generated(message: betterproto.Message) -> dict[int, Any]:
    """The same tree, from a generated message."""

    def plain(value: Any) -> Any:
        match value:
            case betterproto.Message():
                return of_generated(value) if codec.is_present(value) else None
            case datetime():
                return codec.to_unix_ns(value)
            case list():  # an item is there, however empty
                return [of_generated(x) if isinstance(x, betterproto.Message) else x for x in value]
            case dict():
                return {
                    key: of_generated(x) if isinstance(x, betterproto.Message) else x
                    for key, x in value.items()
                }
            case _:
                return value

    return {number: plain(getattr(message, name)) for number, name in fields(type(message)).items()}


def fields(made: type[betterproto.Message]) -> dict[int, str]:
    """Field number -> attribute of a generated class."""
    return {
        betterproto.FieldMetadata.get(field).number: field.name
        for field in dataclasses.fields(cast(Any, made))
    }
