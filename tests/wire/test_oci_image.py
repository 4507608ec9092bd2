"""Manifests, indexes and configurations: what is read, what is refused."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import Fault, InvalidArgument, Unimplemented
from sharedrt.model.ids import Digest
from sharedrt.wire import media_types
from sharedrt.wire.oci_image import (
    Index,
    Manifest,
    chain_ids,
    descriptor_json,
    parse_config,
    parse_descriptor,
    parse_target,
)

A, B, C = (Digest("sha256:" + digit * 64) for digit in "abc")


def descriptor(digest: Digest, **more: object) -> dict[str, object]:
    return {"mediaType": media_types.OCI_LAYER_GZIP, "digest": digest, "size": 3, **more}


def manifest(**changes: object) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": descriptor(A),
        "layers": [descriptor(B), descriptor(C)],
        **changes,
    }
    return json.dumps(document).encode()


def test_manifest_and_index() -> None:
    found = parse_target(manifest(), media_types.OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert (found.config.digest, [layer.digest for layer in found.layers]) == (A, [B, C])

    platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
    index = {"schemaVersion": 2, "manifests": [descriptor(A, platform=platform)]}
    listed = parse_target(json.dumps(index).encode(), media_types.DOCKER_INDEX)
    assert isinstance(listed, Index)
    assert listed.manifests[0].platform == "linux/arm/v7"
    assert descriptor_json(listed.manifests[0])["platform"] == platform


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", ""),
        (b"[]", ""),
        (b"[" * 100_000, ""),
        (manifest(manifests=[]), ""),
        (manifest(mediaType=media_types.OCI_INDEX), media_types.OCI_MANIFEST),
        (manifest(layers=[{"digest": "x", "size": 1}]), ""),
        (manifest(layers=[descriptor(B, size=-1)]), ""),
        (manifest(layers=[descriptor(B, size=True)]), ""),
        (manifest(layers=[descriptor(B, size="9")]), ""),
        (manifest(layers=[descriptor(B)] * 513), ""),
        (manifest(config=None), ""),
        (manifest(annotations={"a": 1}), ""),
    ],
)
def test_malformed_manifests(data: bytes, media_type: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_target(data, media_type)


def test_schema_1_is_refused_by_name() -> None:
    with pytest.raises(Unimplemented, match="schema 1"):
        parse_target(b'{"schemaVersion": 1, "fsLayers": []}')
    with pytest.raises(Unimplemented, match="helm"):
        parse_target(b"{}", "application/vnd.cncf.helm.config.v1+json")


def test_config() -> None:
    data = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["A=b"],
            "Cmd": ["sh"],
            "Entrypoint": None,
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {"l": "1"},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5, "Retries": 2},
            "Shell": ["/bin/ash", "-c"],
        },
        "rootfs": {"type": "layers", "diff_ids": [A, B]},
        "history": [{"created_by": "x", "empty_layer": True}],
    }
    config = parse_config(json.dumps(data).encode())
    assert (config.platform, config.env, config.cmd) == ("linux/amd64", ("A=b",), ("sh",))
    assert (config.exposed_ports, config.volumes) == (("80/tcp",), ("/data",))
    assert config.healthcheck is not None
    assert config.healthcheck.interval_ns == 5
    assert config.history[0].empty_layer
    assert config.raw == data


@pytest.mark.parametrize("text", [b'"a\\ud800b"', b'"a\\udcffb"', b'"a\xed\xa0\x80b"', b'"a\xffb"'])
def test_texts_of_a_configuration_can_be_told_to_others(text: bytes) -> None:
    """One image with half a surrogate pair in a label or a user made every list of images fail, the kubelet's too."""
    data = b'{"architecture":"amd64","os":"linux","config":{"User":%b,"Labels":{%b:%b}}}' % (
        (text,) * 3
    )
    config = parse_config(data)
    assert config.user.replace("\ufffd", "") == "ab"
    ((name, value),) = config.labels.items()
    assert f"{config.user}{name}{value}{config.raw}".encode()


def test_figures_have_64_bits() -> None:
    data = json.dumps({"config": {"Healthcheck": {"Interval": 1 << 63}}}).encode()
    with pytest.raises(InvalidArgument, match="64 bits"):
        parse_config(data)


def test_chain_ids_of_the_specification() -> None:
    # The second one's value is what sha256sum says of "<A> <B>".
    second = "sha256:ccd722928bd92476ba1745586fed6e45a102504185ad88cd89e01ff116fd146c"
    assert [str(key) for key in chain_ids([A, B])] == [A, second]
    assert chain_ids([]) == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["config", "layers", "rootfs", "diff_ids", "digest", "size", "mediaType"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_garbage_raises_only_faults(value: object) -> None:
    data = json.dumps(value).encode()
    for parse in (parse_target, parse_config):
        with suppress(Fault):
            parse(data)
    with suppress(Fault):
        parse_descriptor(json.loads(data), "garbage")
