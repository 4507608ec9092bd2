"""Which stages are needed, ARG's rules, and configuration instructions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.services.builds.arguments import Arguments, platform_arguments
from sharedrt.services.builds.configure import Words, configure
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.builds.git_remotes import parse_git
from sharedrt.services.builds.plan import Plan, make_plan
from sharedrt.wire.dockerfile import DockerfileError, Expander, parse_dockerfile
from sharedrt.wire.platforms import parse_platform

AMD, ARM = parse_platform("linux/amd64"), parse_platform("linux/arm64")


def plan_of(text: str, target: str = "", **variables: str) -> Plan:
    return make_plan(parse_dockerfile(text.encode()), target, variables, Expander().word)


STAGES = """FROM a AS base
FROM base AS one
RUN --mount=type=bind,from=tools,target=/t x
FROM base AS tools
FROM b AS spare
FROM scratch AS last
COPY --from=one /a /a
COPY --from=2 /b /b
COPY --from=image:1 /c /c
"""


@pytest.mark.parametrize(
    ("target", "needed"),
    [
        ("", (0, 1, 2, 4)),
        ("one", (0, 1)),  # ``tools`` comes after it, so that name is an image's
        ("2", (0, 2)),
        ("spare", (3,)),
        ("BASE", (0,)),
    ],
)
def test_only_what_is_needed(target: str, needed: tuple[int, ...]) -> None:
    assert plan_of(STAGES, target).needed == needed


def test_steps_are_counted_over_all_needed_stages() -> None:
    plan = plan_of(STAGES)
    assert plan.total == 1 + 2 + 1 + 4
    assert [plan.first_number(index) for index in plan.needed] == [1, 2, 4, 5]
    base = plan.base_stage(1)
    assert base is not None
    assert base.index == 0
    assert plan.base_stage(4) is None


def test_bases_are_substituted() -> None:
    plan = plan_of("FROM --platform=$P a:${V:-1} AS x\nFROM ${S}\n", V="2", P="linux/arm64", S="x")
    assert plan.bases == {0: "a:2", 1: "x"}
    assert plan.platforms[0] == "linux/arm64"
    assert plan.needed == (0, 1)
    for text, target in (("FROM a\n", "none"), ("FROM $NOTHING\n", ""), ("FROM ${X:?no}\n", "")):
        with pytest.raises(BuildFailed):
            plan_of(text, target)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=10), st.data())
def test_a_needed_stage_brings_all_that_it_needs(
    edges: list[tuple[int, bool]], data: st.DataObject
) -> None:
    lines = []
    wanted: dict[int, set[int]] = {}
    for index, (number, copies) in enumerate(edges):
        other = number % index if index else None
        wanted[index] = set() if other is None else {other}
        if other is not None and not copies:
            lines.append(f"FROM s{other} AS s{index}")
            continue
        lines.append(f"FROM scratch AS s{index}")
        if other is not None:
            lines.append(f"COPY --from=s{other} / /")
    target = data.draw(st.integers(0, len(edges) - 1))
    needed = set(plan_of("\n".join(lines), f"s{target}").needed)
    expected, pending = set[int](), {target}
    while pending:
        index = pending.pop()
        expected.add(index)
        pending |= wanted[index] - expected
    assert needed == expected


# ---------------------------------------------------------------- arguments


def arguments(text: str, **given: str | None) -> Arguments:
    found = Arguments(given, platform_arguments(ARM, AMD, "x"))
    found.declare_global(parse_dockerfile(text.encode()).arguments, Expander().word)
    return found


def test_where_arguments_have_which_values() -> None:
    found = arguments("ARG A=1\nARG B=${A}2\nARG C\nARG D\nFROM x\n", A="9", C="c", E="e", F=None)
    assert {name: found.in_from.get(name) for name in "ABCDE"} == {
        "A": "9",
        "B": "92",
        "C": "c",
        "D": None,
        "E": None,
    }
    assert found.in_from["TARGETARCH"] == "arm64"
    assert found.in_from["BUILDPLATFORM"] == "linux/amd64"
    assert found.unused == ["E"]
    assert found.value("E", None) == "e"
    assert found.unused == []
    assert found.value("B", None) == "92"
    assert found.value("B", "own") == "own"
    assert found.value("A", "own") == "9"
    assert found.value("TARGETOS", None) == "linux"
    assert found.value("F", "default") == "default"
    assert found.value("G", None) is None


def test_proxies_and_the_epoch_need_no_declaration() -> None:
    found = arguments("FROM x\n", http_proxy="p", NO_PROXY="n", SOURCE_DATE_EPOCH="5", X="x")
    assert found.proxies == {"http_proxy": "p", "NO_PROXY": "n"}
    assert found.epoch == "5"
    assert found.unused == ["X"]
    assert arguments("ARG SOURCE_DATE_EPOCH=7\nFROM x\n").epoch == "7"


# ---------------------------------------------------------------- configuration


def configured(config: dict[str, Any], line: str, **variables: str) -> tuple[dict[str, Any], str]:
    step = parse_dockerfile(f"FROM a\n{line}\n".encode()).stages[0].steps[1]
    return configure(config, step.instruction, Words("\\", variables))


@pytest.mark.parametrize(
    ("config", "line", "name", "value", "shown"),
    [
        ({"Env": ["A=1", "B=2"]}, "ENV B=$X C='y z'", "Env", ["A=1", "B=v", "C=y z"], "ENV B=v C=y z"),
        ({}, 'LABEL "a b"=$X', "Labels", {"a b": "v"}, "LABEL a b=v"),
        ({"Labels": {"a": "1"}}, "LABEL b=2", "Labels", {"a": "1", "b": "2"}, "LABEL b=2"),
        ({"WorkingDir": "/a"}, "WORKDIR b/../c", "WorkingDir", "/a/c", "WORKDIR /a/c"),
        ({"WorkingDir": "/a"}, "WORKDIR /$X/", "WorkingDir", "/v", "WORKDIR /v"),
        ({}, "EXPOSE 81-82/UDP 80", "ExposedPorts", {"80/tcp": {}, "81/udp": {}, "82/udp": {}}, "EXPOSE 80 81-82/UDP"),
        ({"Shell": ["s", "-x"]}, "CMD a b", "Cmd", ["s", "-x", "a b"], 'CMD ["s" "-x" "a b"]'),
        ({}, 'ENTRYPOINT ["a"]', "Entrypoint", ["a"], 'ENTRYPOINT ["a"]'),
        ({"OnBuild": ["RUN a"]}, "ONBUILD RUN $b", "OnBuild", ["RUN a", "RUN $b"], "ONBUILD RUN $b"),
        ({}, "STOPSIGNAL ${X:+TERM}", "StopSignal", "TERM", "STOPSIGNAL TERM"),
        ({}, "USER $X:g", "User", "v:g", "USER v:g"),
        ({}, 'VOLUME ["/$X"]', "Volumes", {"/v": {}}, "VOLUME [/v]"),
        ({}, 'SHELL ["/x", "-e"]', "Shell", ["/x", "-e"], "SHELL [/x -e]"),
        (
            {},
            "HEALTHCHECK --interval=90s --retries=10 CMD a",
            "Healthcheck",
            {"Test": ["CMD-SHELL", "a"], "Interval": 90 * 10**9, "Retries": 10},
            """HEALTHCHECK &{["CMD-SHELL" "a"] "1m30s" "0s" "0s" "0s" '\\n'}""",
        ),
    ],
)  # fmt: skip
def test_what_instructions_change(
    config: dict[str, Any], line: str, name: str, value: object, shown: str
) -> None:
    before = dict(config)
    changed, history = configured(config, line, X="v")
    assert changed == {**before, name: value}
    assert config == before, "the old one stays as it is"
    shell = " ".join(changed.get("Shell") or ("/bin/sh", "-c"))
    gap = "" if line.startswith("WORKDIR") else " "
    assert history == f"{shell} #(nop) {gap}{shown}"


def test_variables_do_not_grow_for_ever() -> None:
    """Doubled forty times, one would be a terabyte in the daemon's memory."""
    value = "x" * 1000
    for _ in range(10):
        config, _ = configured({}, "ENV A=$A$A", A=value)
        value = config["Env"][0].removeprefix("A=")
    with pytest.raises(DockerfileError, match="over 1048576 characters"):
        configured({}, "ENV A=$A$A", A=value)
    config = {"Env": [f"B{number}={value}" for number in range(4)]}
    with pytest.raises(BuildFailed, match="over 4194304 characters"):
        configured(config, "ENV C=$A", A=value)


@pytest.mark.parametrize(
    "line", ["EXPOSE 0", "EXPOSE 70000", "EXPOSE a", "STOPSIGNAL NO", "WORKDIR $N"]
)
def test_values_that_make_no_sense(line: str) -> None:
    with pytest.raises(BuildFailed):
        configured({}, line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("git://h/r#main:sub", ("git://h/r", "main", "sub")),
        ("https://h/r.git", ("https://h/r.git", "", "")),
        ("https://h/r.git#v1", ("https://h/r.git", "v1", "")),
        ("git@h:o/r.git", ("git@h:o/r.git", "", "")),
        ("github.com/o/r#:d", ("https://github.com/o/r", "", "d")),
        ("https://h/context.tar.gz", None),
        ("/local/path", None),
        ("file:///repo.git", None),
        ("HTTPS://h/r.git", ("HTTPS://h/r.git", "", "")),
        ("http://[", None),
    ],
)
def test_git_remotes(text: str, expected: tuple[str, str, str] | None) -> None:
    found = parse_git(text)
    assert (None if found is None else (found.url, found.ref, found.folder)) == expected
