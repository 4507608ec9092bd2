"""References: what distribution's own test tables say, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.reference import parse_name, parse_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.35", "docker.io/library/busybox:1.35", "busybox:1.35"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("library/library/x", "docker.io/library/library/x:latest", "library/library/x:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("Uppercase/app", "Uppercase/app:latest", "Uppercase/app:latest"),
        (f"busybox@{DIGEST}", f"docker.io/library/busybox@{DIGEST}", f"busybox@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox:1@{DIGEST}", f"busybox:1@{DIGEST}"),
        ("a--b/c__d.e", "docker.io/a--b/c__d.e:latest", "a--b/c__d.e:latest"),
    ],
)
def test_normalizes(text: str, full: str, familiar: str) -> None:
    ref = parse_reference(text)
    assert str(ref) == full
    assert ref.familiar == familiar


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Busybox",
        "a b",
        "a/",
        "/a",
        "a//b",
        "a___b",
        "a:",
        "a:tag with space",
        "a:" + "t" * 129,
        "a@sha256:12",
        "a@md5:" + "0" * 32,
        "ab" * 32,
        "host:port/app",
        "-host.example/app",
        "a.example/" + "b" * 250,
        "../etc",
        "x.y/../../etc",
        "a:b:c",
        "busybox@",
        "a\n",
    ],
)
def test_refuses(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_reference(text)


def test_a_digest_makes_the_tag_meaningless() -> None:
    assert str(parse_reference(f"busybox:1@{DIGEST}").pinned()) == (
        f"docker.io/library/busybox@{DIGEST}"
    )


component = st.from_regex(r"\A[a-z0-9]+(?:[._-][a-z0-9]+)*\Z", fullmatch=True).filter(
    lambda text: len(text) < 20
)
domain = st.sampled_from(["docker.io", "localhost", "localhost:5000", "10.0.0.1:80", "reg.example"])
tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(domain, st.lists(component, min_size=1, max_size=4), tag)
def test_full_and_familiar_forms_name_the_same(host: str, parts: list[str], tag_text: str) -> None:
    ref = parse_reference(f"{host}/{'/'.join(parts)}:{tag_text}")
    assert parse_reference(str(ref)) == ref
    if not (host == "docker.io" and (parts[0] == "localhost" or "." in parts[0])):
        assert parse_reference(ref.familiar) == ref


@given(st.text(max_size=80))
def test_garbage_raises_only_the_documented_fault(text: str) -> None:
    try:
        ref = parse_name(text)
    except InvalidArgument:
        return
    assert parse_name(str(ref)) == ref
