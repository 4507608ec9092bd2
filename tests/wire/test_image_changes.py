"""Changes of commit and import: each instruction, variables, quotes, and what is refused."""

from typing import Any

import pytest

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.image_changes import apply_changes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("cmd echo $HOME", {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        ('ENTRYPOINT ["x"]', {"Entrypoint": ["x"]}),
        ("ENV A=1 B='two words' C=x\\ y", {"Env": ["A=1", "B=two words", "C=x y"]}),
        ("ENV A all the rest", {"Env": ["A=all the rest"]}),
        ('LABEL "a b"=c', {"Labels": {"a b": "c"}}),
        (
            "EXPOSE 80 53/UDP 1-2",
            {"ExposedPorts": {p: {} for p in ("80/tcp", "53/udp", "1/tcp", "2/tcp")}},
        ),
        ('VOLUME ["/a b", "/c"]', {"Volumes": {"/a b": {}, "/c": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("USER 1:2", {"User": "1:2"}),
        ("WORKDIR /a", {"WorkingDir": "/a"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("ONBUILD RUN true", {"OnBuild": ["RUN true"]}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        (
            "HEALTHCHECK --interval=1m --retries=2 CMD test -e /x",
            {
                "Healthcheck": {
                    "Test": ["CMD-SHELL", "test -e /x"],
                    "Interval": 60 * 10**9,
                    "Retries": 2,
                }
            },
        ),
    ],
)
def test_instructions(change: str, expected: dict[str, Any]) -> None:
    assert apply_changes({}, [change]) == expected


def test_variables_are_those_of_the_container_and_of_changes_before() -> None:
    env = ["PATH=/bin", "WORDS=a b"]
    changes = ["ENV PATH=/usr/bin:$PATH", "LABEL p=${PATH} w=$WORDS q='$PATH' n=${NO:-none}"]
    assert apply_changes({}, changes, env) == {
        "Env": ["PATH=/usr/bin:/bin"],
        "Labels": {"p": "/usr/bin:/bin", "w": "a b", "q": "$PATH", "n": "none"},
    }
    assert apply_changes({}, ["USER $U", "WORKDIR $U"], ["U=web"]) == {
        "User": "web",
        "WorkingDir": "/web",
    }
    assert apply_changes({"Env": ["A=own"]}, ["LABEL a=$A"], ["A=theirs"])["Labels"] == {"a": "own"}


def test_the_given_configuration_stays_as_it_is() -> None:
    given = {"Env": ["A=1"], "WorkingDir": "/a"}
    assert apply_changes(given, ["ENV A=2", "WORKDIR b"]) == {"Env": ["A=2"], "WorkingDir": "/a/b"}
    assert given == {"Env": ["A=1"], "WorkingDir": "/a"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("FROM x", "FROM is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find = in"),
        ('LABEL a="open', "is not closed"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("EXPOSE 8080:80", "Invalid containerPort: 8080:80"),
        ("ENV A=${B:?needed}", "needed"),
        ("ONBUILD FROM x", "isn't allowed"),
        ("HEALTHCHECK --nope=1 CMD x", "Unknown flag: nope"),
        ("HEALTHCHECK --interval=x CMD x", "is no duration"),
    ],
)
def test_refusals(change: str, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        apply_changes({}, [change])
    assert words in caught.value.reason
