"""Security contexts on the way in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sharedrt.edges.cri.translate_security import (
    apparmor_of,
    check_loaded,
    container_security,
    seccomp_of,
    selinux_labels,
    user_of,
)
from sharedrt.model.faults import FailedPrecondition, InvalidArgument
from sharedrt.model.spec import SeccompKind, User
from sharedrt.pb.codec import present
from sharedrt.pb.runtime import v1 as pb
from tests.edges.cri.builders import HOST, sandbox, secured

Profile = pb.SecurityProfileProfileType


def context(**fields: Any) -> pb.LinuxContainerSecurityContext:
    return secured(**fields).linux.security_context


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, User()),
        ({"run_as_user": pb.Int64Value(value=0)}, User(uid=0)),
        (
            {"run_as_user": pb.Int64Value(value=5), "run_as_group": pb.Int64Value(value=6)},
            User(uid=5, gid=6),
        ),
        (
            {"run_as_username": "www-data", "run_as_group": pb.Int64Value(value=6)},
            User(name="www-data", gid=6),
        ),
        ({"run_as_username": "x", "run_as_user": pb.Int64Value(value=5)}, User(name="x")),
        (
            {
                "supplemental_groups": [7, 8],
                "supplemental_groups_policy": pb.SupplementalGroupsPolicy.Strict,
            },
            User(additional_gids=(7, 8), merge_image_groups=False),
        ),
    ],
)
def test_user(fields: dict[str, Any], expected: User) -> None:
    assert user_of(context(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"run_as_group": pb.Int64Value(value=6)}, "run_as_group"),
        ({"run_as_user": pb.Int64Value(value=-1)}, "run_as_user"),
        ({"supplemental_groups": [1 << 32]}, "supplemental_groups"),
        ({"supplemental_groups_policy": 9}, "supplemental_groups_policy"),
    ],
)
def test_nonsense_user(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument, match=field):
        user_of(context(**fields))


async def test_privileged_needs_a_privileged_pod() -> None:
    asked = context(privileged=True)
    with pytest.raises(InvalidArgument, match="privileged"):
        await container_security(asked, sandbox().spec, HOST)
    allowed = await container_security(asked, sandbox(privileged=True).spec, HOST)
    assert allowed.privileged


async def test_plain_fields() -> None:
    security = await container_security(
        context(
            no_new_privs=True,
            readonly_rootfs=True,
            capabilities=pb.Capability(
                add_capabilities=["NET_ADMIN"],
                drop_capabilities=["ALL"],
                add_ambient_capabilities=["CHOWN"],
            ),
        ),
        sandbox().spec,
        HOST,
    )
    assert security.no_new_privileges
    assert security.readonly_rootfs
    assert security.capabilities.add == ("NET_ADMIN",)
    assert security.capabilities.drop == ("ALL",)
    assert security.capabilities.ambient == ("CHOWN",)


async def test_hidden_paths_default_or_as_given_or_unmasked_in_a_user_namespace() -> None:
    default = await container_security(context(), sandbox().spec, HOST)
    assert (default.masked_paths, default.readonly_paths) == (None, None)
    given = await container_security(context(masked_paths=["/proc/x"]), sandbox().spec, HOST)
    assert (given.masked_paths, given.readonly_paths) == (("/proc/x",), ())
    mapped = sandbox(user_mappings=((0, 100_000, 65536),))
    unmasked = await container_security(context(), mapped.spec, HOST)
    assert (unmasked.masked_paths, unmasked.readonly_paths) == ((), ())


@pytest.mark.parametrize(
    ("profile", "path", "kind"),
    [
        (pb.SecurityProfile(), "", SeccompKind.UNCONFINED),
        (present(pb.SecurityProfile()), "", SeccompKind.DEFAULT),
        (pb.SecurityProfile(profile_type=Profile.Unconfined), "", SeccompKind.UNCONFINED),
        (pb.SecurityProfile(), "unconfined", SeccompKind.UNCONFINED),
        (pb.SecurityProfile(), "runtime/default", SeccompKind.DEFAULT),
    ],
)
async def test_seccomp(profile: pb.SecurityProfile, path: str, kind: SeccompKind) -> None:
    assert (await seccomp_of(profile, path)).kind is kind


async def test_a_privileged_container_has_no_profile() -> None:
    profile = present(pb.SecurityProfile())
    privileged = sandbox(privileged=True).spec
    given = await container_security(context(privileged=True, seccomp=profile), privileged, HOST)
    assert given.seccomp.kind is SeccompKind.UNCONFINED
    given = await container_security(context(seccomp=profile), privileged, HOST)
    assert given.seccomp.kind is SeccompKind.DEFAULT


async def test_seccomp_profile_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    for ref in (str(path), f"localhost/{path}"):
        profile = pb.SecurityProfile(profile_type=Profile.Localhost, localhost_ref=ref)
        seccomp = await seccomp_of(profile, "")
        assert seccomp.kind is SeccompKind.PROFILE
        assert "SCMP_ACT_ALLOW" in seccomp.profile_json


@pytest.mark.parametrize("content", [None, "{", "[]", "\ud800"])
async def test_seccomp_profile_that_is_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogatepass"))
    profile = pb.SecurityProfile(profile_type=Profile.Localhost, localhost_ref=str(path))
    with pytest.raises(InvalidArgument, match="localhost_ref"):
        await seccomp_of(profile, "")


def test_apparmor() -> None:
    with_apparmor = replace(HOST, apparmor=True)
    named = pb.SecurityProfile(profile_type=Profile.Localhost, localhost_ref="localhost/mine")
    assert apparmor_of(named, "", with_apparmor) == "mine"
    assert apparmor_of(pb.SecurityProfile(), "localhost/mine", with_apparmor) == "mine"
    assert apparmor_of(pb.SecurityProfile(), "", HOST) == ""
    unconfined = pb.SecurityProfile(profile_type=Profile.Unconfined)
    assert apparmor_of(unconfined, "", HOST) == "unconfined"
    with pytest.raises(FailedPrecondition, match="mine"):
        apparmor_of(named, "", HOST)


def test_an_apparmor_profile_must_be_loaded(tmp_path: Path) -> None:
    """The list as a kernel of Debian 12 gives it."""
    profiles = tmp_path / "profiles"
    profiles.write_text("lsb_release (enforce)\nmine (complain)\nwith space (x) (enforce)\n")
    for loaded in ("mine", "with space (x)"):
        check_loaded(loaded, profiles)
    for unknown in ("min", "mine (complain)", "lsb_releas"):
        with pytest.raises(FailedPrecondition, match="is not loaded"):
            check_loaded(unknown, profiles)
    check_loaded("mine", tmp_path / "missing")


def test_selinux_only_where_the_host_has_it() -> None:
    options = pb.SeLinuxOption.FromString(bytes(pb.SeLinuxOption(level="s0:c1,c2")))
    assert selinux_labels(options, HOST) == ("", "")
    assert selinux_labels(options, replace(HOST, selinux=True)) == (
        "system_u:system_r:container_t:s0:c1,c2",
        "system_u:object_r:container_file_t:s0:c1,c2",
    )
    with pytest.raises(InvalidArgument):
        selinux_labels(pb.SeLinuxOption(user="u"), replace(HOST, selinux=True))
