"""The default profile, and Docker's form turned into OCI's."""

import json
from typing import Any

import pytest

from sharedrt.drivers.oci import seccomp_default
from sharedrt.drivers.oci.seccomp import Machine, convert_profile, default_profile, render_seccomp
from sharedrt.model.faults import InvalidArgument
from sharedrt.model.spec import Seccomp, SeccompKind

AMD64 = Machine("amd64", (6, 1))


def allowed(profile: Any) -> set[str]:
    return {
        name
        for rule in profile["syscalls"]
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }


def test_default() -> None:
    profile: Any = default_profile(("CAP_CHOWN",), AMD64)
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 1)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    names = allowed(profile)
    assert {"read", "openat2", "clone", "ptrace", "arch_prctl"} - names == {"clone"}
    assert not names & {
        "mount",
        "unshare",
        "bpf",
        "reboot",
        "keyctl",
        "add_key",
        "init_module",
        "userfaultfd",
    }
    clone3 = [rule for rule in profile["syscalls"] if rule["names"] == ["clone3"]]
    assert clone3 == [{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    clone = [rule for rule in profile["syscalls"] if rule["names"] == ["clone"]]
    assert clone[0]["args"] == [{"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ"}]


def test_capabilities_open_more() -> None:
    names = allowed(default_profile(("CAP_SYS_ADMIN", "CAP_SYS_TIME"), AMD64))
    assert {"mount", "clone", "clone3", "setns", "clock_settime"} <= names
    assert "reboot" not in names


def test_machines_and_kernels() -> None:
    assert "ptrace" not in allowed(default_profile((), Machine("amd64", (4, 4))))
    assert "ptrace" in allowed(default_profile(("CAP_SYS_PTRACE",), Machine("amd64", (4, 4))))
    s390: Any = default_profile((), Machine("s390x", (6, 1)))
    clone = next(rule for rule in s390["syscalls"] if rule["names"] == ["clone"])
    assert clone["args"][0]["index"] == 1
    assert "architectures" not in default_profile((), Machine("vax", (6, 1)))  # type: ignore[operator]


def test_no_name_twice() -> None:
    names = seccomp_default.ALWAYS.split()
    assert len(names) == len(set(names))


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "archMap": [
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "x", "args": []},
        {"name": "old", "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
        {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_X", "CAP_Y"]}},
        {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_X"]}},
        {
            "names": ["c"],
            "action": "SCMP_ACT_ALLOW",
            "includes": {"arches": ["amd64"], "minKernel": "5.10"},
        },
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
        {"names": ["e"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "6.0"}},
        {"names": ["f"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["arm64"]}},
    ],
}


def test_dockers_form() -> None:
    profile: Any = convert_profile(json.dumps(PROFILE), ("CAP_X",), AMD64)
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert profile["syscalls"][0] == {"names": ["read"], "action": "SCMP_ACT_ALLOW"}
    assert profile["syscalls"][1] == {"names": ["old"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}
    assert allowed(profile) == {"read", "c", "f"}


def test_an_oci_profile_stays_as_it_is() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {
                "names": ["x"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}],
            }
        ],
    }
    assert convert_profile(json.dumps(profile), (), AMD64) == profile


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"defaultAction": 1}',
        '{"defaultAction": "A", "syscalls": 3}',
        '{"defaultAction": "A", "syscalls": [{"names": ["x"]}]}',
        '{"defaultAction": "A", "syscalls": [{"name": "y", "names": ["x"], "action": "B"}]}',
        '{"defaultAction": "A", "syscalls": [{"names": [1], "action": "B"}]}',
        '{"defaultAction": "A", "archMap": [{}], "architectures": ["X"]}',
        '{"defaultAction": "A", "syscalls": [{"names": ["x"], "action": "B", "includes": {"minKernel": "x"}}]}',
    ],
)  # fmt: skip
def test_wrong_profiles(text: str) -> None:
    with pytest.raises(InvalidArgument):
        convert_profile(text, (), AMD64)


def test_kinds() -> None:
    assert render_seccomp(Seccomp(SeccompKind.UNCONFINED), (), AMD64) is None
    assert render_seccomp(Seccomp(), (), AMD64) == default_profile((), AMD64)
    profile = '{"defaultAction": "SCMP_ACT_LOG"}'
    assert render_seccomp(Seccomp(SeccompKind.PROFILE, profile), (), AMD64) == {
        "defaultAction": "SCMP_ACT_LOG", "syscalls": [],
    }  # fmt: skip
