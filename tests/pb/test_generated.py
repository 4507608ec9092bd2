"""The committed code is what proto/ says, and agrees with Google's library byte for value."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("grpc_tools", reason="grpcio-tools is missing")

from tests.pb import oracle

ROOT = Path(__file__).parents[2]
PB = ROOT / "src/sharedrt/pb"
PACKAGES = sorted({kind.file.package for kind in oracle.messages()})


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*.py"))
        if path.parent != folder  # hand-written: __init__.py, codec.py
    }


@pytest.mark.timeout(
    300
)  # the plugin formats what it writes, which takes a while on a busy machine
def test_committed_code_is_what_generate_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "proto/generate", tmp_path], check=True)
    made = tree(tmp_path)
    assert len(made) > 40
    assert made == tree(PB), "run proto/generate and commit its output"


def test_generate_drops_code_of_removed_protos_and_keeps_the_rest(tmp_path: Path) -> None:
    """Run on a copy with a single .proto, into a folder that holds more."""
    (tmp_path / "proto/runtimeoptions/v1").mkdir(parents=True)
    for name in ("generate", "runtimeoptions/v1/api.proto"):
        copied = tmp_path / "proto" / name
        copied.write_bytes((ROOT / "proto" / name).read_bytes())
    out = tmp_path / "pb"
    (out / "runtimeoptions/v0").mkdir(parents=True)
    (out / "codec.py").write_text("kept = True\n")
    subprocess.run([sys.executable, tmp_path / "proto/generate", out], check=True)
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    packages = ["runtimeoptions", "runtimeoptions/__init__.py", "runtimeoptions/v1"]
    assert found == ["codec.py", *packages, "runtimeoptions/v1/__init__.py"]


def test_a_broken_proto_fails_by_name_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "proto").mkdir()
    (tmp_path / "proto/generate").write_bytes((ROOT / "proto/generate").read_bytes())
    (tmp_path / "proto/bad.proto").write_text('syntax = "proto3";\nmessage {}\n')
    run = subprocess.run(
        [sys.executable, tmp_path / "proto/generate", tmp_path / "pb"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "bad.proto:2" in run.stderr
    assert not (tmp_path / "pb").exists()


@pytest.mark.parametrize("package", PACKAGES)
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_messages_agree_with_google(package: str, data: st.DataObject) -> None:
    kinds = [kind for kind in oracle.messages() if kind.file.package == package]
    kind = data.draw(st.sampled_from(kinds))
    sent = data.draw(oracle.filled(kind))

    got = oracle.generated(kind).FromString(sent.SerializeToString())
    assert oracle.of_generated(got) == oracle.of_google(sent)

    back = oracle.parse(kind, bytes(got))
    assert oracle.of_google(back) == oracle.of_google(sent)


@pytest.mark.parametrize("kind", list(oracle.messages()), ids=lambda kind: kind.full_name)
def test_every_message_and_field_is_generated(kind: Any) -> None:
    made = oracle.fields(oracle.generated(kind))
    assert sorted(made) == sorted(field.number for field in kind.fields)
    assert bytes(oracle.generated(kind)()) == b""


def services() -> list[Any]:
    return [
        pytest.param(file.package, service, id=f"{file.package}.{service.name}")
        for file in oracle.files()
        for service in file.service
    ]


@pytest.mark.parametrize(("package", "service"), services())
def test_server_bases_answer_on_the_right_paths(package: str, service: Any) -> None:
    module = importlib.import_module(f"sharedrt.pb.{package}")
    handlers = getattr(module, f"{service.name}Base")().__mapping__()
    assert set(handlers) == {f"/{package}.{service.name}/{m.name}" for m in service.method}
    for method in service.method:
        handler = handlers[f"/{package}.{service.name}/{method.name}"]
        assert handler.cardinality.client_streaming == method.client_streaming
        assert handler.cardinality.server_streaming == method.server_streaming
        for ours, theirs in (
            (handler.request_type, method.input_type),
            (handler.reply_type, method.output_type),
        ):
            kind = oracle.pool().FindMessageTypeByName(theirs.removeprefix("."))
            assert ours is oracle.generated(kind)


def test_enums_have_the_members_and_numbers_of_the_protos() -> None:
    from sharedrt.pb.runtime.v1 import ContainerState, Signal

    theirs = oracle.pool().FindEnumTypeByName("runtime.v1.Signal")
    assert {x.name: x.value for x in Signal} == {x.name: x.number for x in theirs.values}
    assert isinstance(ContainerState.CONTAINER_EXITED, ContainerState)


def test_google_types_come_from_betterproto() -> None:
    from sharedrt.pb.containerd.services.version.v1 import VersionBase

    handler = VersionBase().__mapping__()["/containerd.services.version.v1.Version/Version"]
    assert handler.request_type.__module__.startswith("betterproto.lib.")
    assert not (PB / "google/protobuf").exists()
