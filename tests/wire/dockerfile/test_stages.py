"""Whole Dockerfiles: lines, directives, here-documents, instructions, stages."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.wire.dockerfile import Dockerfile, DockerfileError, parse_dockerfile, parse_trigger
from sharedrt.wire.dockerfile import instructions as i


def steps(text: str) -> list[i.AnyInstruction]:
    """Of the last stage, without its FROM."""
    return [step.instruction for step in parse_dockerfile(text.encode()).stages[-1].steps[1:]]


def one(line: str) -> i.AnyInstruction:
    (instruction,) = steps(f"FROM a\n{line}\n")
    return instruction


def test_stages_and_their_names() -> None:
    text = "ARG V=1\nFROM a:$V AS One\nRUN x\nFROM one as two\nfrom scratch\n"
    parsed = parse_dockerfile(text.encode())
    assert [s.instruction for s in parsed.arguments] == [i.Arg((("V", "1"),))]
    assert [(s.index, s.name, s.start.image) for s in parsed.stages] == [
        (0, "one", "a:$V"),
        (1, "two", "one"),
        (2, "", "scratch"),
    ]
    found = [parsed.find(name) for name in ("ONE", "1", "three", "9")]
    assert [stage.index if stage else None for stage in found] == [0, 1, None, None]
    assert parsed.find("two", before=1) is None


def test_lines_are_joined_and_comments_go() -> None:
    text = "FROM a\n  RUN one \\\n# comment\n\n   two \\\n  \\\n three # kept\n#RUN no\nRUN a\\\\\nCMD b"
    shown = steps(text)
    assert shown == [
        i.Run(i.Command("one    two    three # kept")),
        i.Run(i.Command("a\\\\")),
        i.Cmd(i.Command("b")),
    ]


def test_empty_lines_inside_an_instruction_are_warned_of() -> None:
    parsed = parse_dockerfile(
        b"FROM a\nRUN one \\\n# comment\n\n two\nRUN three \\\n# comment\n four\n"
    )
    assert parsed.warnings == (
        "Empty continuation line found in: RUN one  two",
        "Empty continuation lines will become errors in a future release.",
    )
    assert parse_dockerfile(b"FROM a\nRUN x \\\n\n").warnings == ()


def test_another_escape_character() -> None:
    text = "# escape=`\nFROM a\nRUN dir C:\\ `\n && x\n"
    assert steps(text) == [i.Run(i.Command("dir C:\\  && x"))]


def test_blanks_in_a_directive_cost_no_more_than_letters() -> None:
    """The whole daemon stood still meanwhile, for the square of their number."""
    began = time.process_time()
    with pytest.raises(DockerfileError, match="not supported"):
        parse_dockerfile(b"# syntax=a" + b" " * 100_000 + b"b\nFROM x\n")
    assert time.process_time() - began < 5
    assert parse_dockerfile(b"# check = a b \t\nFROM x\n").directives.check == "a b"


def test_a_line_of_many_flags_takes_no_square_of_time() -> None:
    flags = " ".join(["--mount=type=tmpfs,target=/a"] * 60_000)
    began = time.process_time()
    run = one(f"RUN {flags} cat <<E\nx\nE")
    assert time.process_time() - began < 15
    assert isinstance(run, i.Run)
    assert (len(run.mounts), run.command.text) == (60_000, "cat <<E")
    assert [heredoc.content for heredoc in run.heredocs] == ["x\n"]


def test_directives_end_with_the_first_other_line() -> None:
    parsed = parse_dockerfile(b"# syntax=docker/dockerfile:1.7-labs\n#check=skip=all\nFROM a\n")
    assert parsed.directives.syntax == "docker/dockerfile:1.7-labs"
    assert parse_dockerfile(b"# plain\n# escape=x\nFROM a\n").directives.escape == "\\"
    assert parse_dockerfile(b"#!/bin/x\n# escape=`\nFROM a\n").directives.escape == "`"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('CMD ["a", "b c"]', i.Cmd(i.Command('["a", "b c"]', ("a", "b c")))),
        ("ENTRYPOINT [a]", i.Entrypoint(i.Command("[a]"))),
        ("env A=1 B='x y' C=\"z\"", i.Env((("A", "1"), ("B", "'x y'"), ("C", '"z"')))),
        ("ENV A all the rest", i.Env((("A", "all the rest"),))),
        ("ARG A B=c D=", i.Arg((("A", None), ("B", "c"), ("D", "")))),
        ("EXPOSE 80 90/udp", i.Expose(("80", "90/udp"))),
        ('VOLUME ["/a b"]', i.Volume(("/a b",))),
        ("VOLUME /a /b", i.Volume(("/a", "/b"))),
        ("WORKDIR /a b", i.Workdir("/a b")),
        ("USER u:g", i.User("u:g")),
        ('SHELL ["a", "-c"]', i.Shell(("a", "-c"))),
        ("ONBUILD RUN x", i.OnBuild("RUN x")),
        ("MAINTAINER me <a@b>", i.Maintainer("me <a@b>")),
        ("STOPSIGNAL 9", i.StopSignal("9")),
        (
            "COPY --from=x --chown=a:b --link --exclude=1 --exclude=2 a b /c/",
            i.Copy(("a", "b"), "/c/", from_="x", chown="a:b", link=True, exclude=("1", "2")),
        ),
        (
            "ADD --checksum=sha256:1 --link=false --unpack u /c",
            i.Copy(("u",), "/c", add=True, checksum="sha256:1", unpack=True),
        ),
        (
            'RUN --mount=type=cache,target=/a --network=none ["x"]',
            i.Run(i.Command('["x"]', ("x",)), mounts=("type=cache,target=/a",), network="none"),
        ),
        ("RUN -- --x", i.Run(i.Command("--x"))),
    ],
)
def test_instructions(line: str, expected: i.AnyInstruction) -> None:
    assert one(line) == expected


def test_health_checks() -> None:
    line = "HEALTHCHECK --interval=1m30s --timeout=2s --start-period=1s --retries=4 CMD a b"
    found = one(line)
    assert isinstance(found, i.Health)
    check = found.check
    assert check.test == ("CMD-SHELL", "a b")
    assert (check.interval_ns, check.timeout_ns, check.retries) == (90 * 10**9, 2 * 10**9, 4)
    none = one("HEALTHCHECK none")
    assert isinstance(none, i.Health)
    assert none.check.test == ("NONE",)


def test_here_documents() -> None:
    text = 'FROM a\nRUN <<A cat && <<-"B c"\nx $y\nA\n\tt\n\tB c\nCOPY <<f g /d/\nz\nf\nRUN echo "<<X"\n'
    run, copy, plain = steps(text)
    assert isinstance(run, i.Run)
    first, second = run.heredocs
    assert (first.name, first.content, first.expand) == ("A", "x $y\n", True)
    assert (second.name, second.chomped, second.expand) == ("B c", "t\n", False)
    assert isinstance(copy, i.Copy)
    assert (copy.sources, copy.heredocs[0].content) == (("<<f", "g"), "z\n")
    assert isinstance(plain, i.Run)
    assert plain.heredocs == ()


def test_a_trigger_keeps_its_here_document() -> None:
    found = one("ONBUILD RUN <<E\necho $x\nE")
    assert isinstance(found, i.OnBuild)
    run = parse_trigger(found.trigger).instruction
    assert isinstance(run, i.Run)
    assert run.heredocs[0].content == "echo $x\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("FROM a\nFRO b\n", 2, "unknown instruction: FRO \\(did you mean FROM\\?\\)"),
        ("RUN x\n", 1, "no build stage in current context"),
        ("", 0, "file with no instructions"),
        ("ARG a\n", 1, "no build stage"),
        ("FROM a b\n", 1, "either one or three"),
        ("FROM a AS 1x\n", 1, "invalid name for build stage"),
        ("FROM a\n\n\nCOPY x\n", 4, "COPY requires at least two arguments"),
        ("FROM a\nENV a=b c\n", 2, 'can\'t find = in "c"'),
        ("FROM a\nENV a\n", 2, "must have two arguments"),
        ("FROM a\nENV =b\n", 2, "can not be blank"),
        ("FROM a\nARG =b\n", 2, "can not be blank"),
        ("FROM a\nSHELL sh\n", 2, "JSON form"),
        ("FROM a\nCMD [1]\n", 2, "comprised of strings"),
        ("FROM a\nRUN\n", 2, "RUN requires"),
        ("FROM a\nRUN []\n", 2, "RUN requires"),
        ("FROM a\nUSER a b\n", 2, "exactly one argument"),
        ("FROM a\nCOPY --chown a b\n", 2, "missing a value on flag: --chown"),
        ("FROM a\nCOPY --from=a --from=b a b\n", 2, "duplicate flag"),
        ("FROM a\nCOPY --link=7 a b\n", 2, "expecting boolean"),
        ("FROM a\nRUN --nosuch x\n", 2, "unknown flag: --nosuch$"),
        ("FROM a\nCOPY --form=x a b\n", 2, r"unknown flag: --form \(did you mean from\?\)"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x\n", 2, r"cannot be negative \(-1\)"),
        ('FROM a\nVOLUME [""]\n', 2, "can not be an empty string"),
        ("FROM a\nVOLUME []\n", 2, "at least one argument"),
        ("FROM a\nCOPY a <<E\nE\n", 2, "cannot accept a heredoc as a destination"),
        ("FROM a\nHEALTHCHECK RUN x\n", 2, 'Unknown type "RUN"'),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x\n", 2, "less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=x CMD x\n", 2, "must be a number"),
        ("FROM a\nONBUILD ONBUILD RUN x\n", 2, "Chaining ONBUILD"),
        ("FROM a\nONBUILD FROM x\n", 2, "isn't allowed"),
        ("FROM a\nRUN <<E\nx\n", 2, "unterminated heredoc"),
        ("# escape=x\nFROM a\n", 1, "escape token"),
        ("# escape=`\n# escape=`\nFROM a\n", 2, "only one escape"),
        ("# syntax=other/frontend\nFROM a\n", 1, "not supported"),
        ("FROM a\nRUN \0\n", 2, "NUL"),
    ],
)
def test_what_is_wrong(text: str, line: int, words: str) -> None:
    with pytest.raises(DockerfileError, match=words) as caught:
        parse_dockerfile(text.encode())
    assert caught.value.line == line
    begins = ("dockerfile parse error on line", "failed to parse Dockerfile: ")
    assert caught.value.message.startswith(begins)


def test_not_text_and_too_long() -> None:
    for data in (b"FROM \xff\n", b"#" * (5 << 20), b"\n" * 200_000):
        with pytest.raises(DockerfileError):
            parse_dockerfile(data)


@given(st.text(max_size=200))
def test_garbage_is_refused_by_the_documented_error_alone(text: str) -> None:
    try:
        parse_dockerfile(text.encode("utf-8", "surrogatepass"))
    except DockerfileError:
        return


WORDS = st.sampled_from(
    ["FROM", "RUN", "COPY", "ENV", "<<E", "E", "--from=a", "a=b", "\\", '["a"]', "#", "\n", " "]
)


@given(st.lists(WORDS, max_size=25))
def test_what_looks_like_a_dockerfile_too(words: list[str]) -> None:
    line = 1
    try:
        parse_dockerfile(("FROM a\n" + " ".join(words)).encode())
    except DockerfileError as error:
        line = error.line
    assert line > 0


LINES = st.sampled_from(
    ["RUN echo a", "ENV A=b", 'CMD ["x", "y"]', "COPY --from=z a b", "LABEL c='d e'", "EXPOSE 80"]
)


@given(st.lists(LINES, max_size=8), st.data())
def test_breaking_lines_with_continuations_changes_nothing(
    lines: list[str], data: st.DataObject
) -> None:
    def broken(line: str) -> str:
        space = line.index(" ")
        extra = data.draw(st.sampled_from(["", "# comment\n", "\n", "   # comment\n"]))
        return f"{line[:space]} \\\n{extra}{line[space + 1 :]}"

    plain = parse_dockerfile(("FROM a\n" + "\n".join(lines)).encode())
    again = parse_dockerfile(("FROM a\n" + "\n".join(map(broken, lines))).encode())
    assert _instructions(plain) == _instructions(again)
    crlf = parse_dockerfile(("FROM a\r\n" + "\r\n".join(lines)).encode())
    assert _instructions(plain) == _instructions(crlf)


def _instructions(parsed: Dockerfile) -> list[i.AnyInstruction]:
    return [step.instruction for stage in parsed.stages for step in stage.steps]
