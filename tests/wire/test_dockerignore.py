"""Patterns of ``.dockerignore``: examples of the reference, and properties against a simple matcher."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.dockerignore import compile_pattern, parse_patterns, read_dockerignore


@pytest.mark.parametrize(
    ("patterns", "ignored", "kept"),
    [
        (["*/temp*"], ["a/temp", "a/temporary.txt", "a/temp/below"], ["temp", "a/b/temp"]),
        (["*/*/temp*"], ["a/b/temp.txt"], ["a/temp.txt"]),
        (["temp?"], ["tempa", "tempb"], ["temp", "tempab"]),
        (["**/*.go"], ["a.go", "a/b.go", "a/b/c.go"], ["a.goo"]),
        (["*.md", "!README.md"], ["a.md"], ["README.md", "a/x.md"]),
        (["*.md", "!README*.md", "README-secret.md"], ["README-secret.md"], ["README.md"]),
        (["*.md", "README-secret.md", "!README*.md"], ["a.md"], ["README-secret.md"]),
        (["/a/", "./b/../c", "  d  "], ["a", "a/x", "c", "d/e/f"], ["b", "x/a"]),
        (["*", "!src", "src/tmp"], ["x", "src/tmp/f"], ["src", "src/f"]),
        (["a/**"], ["a/x", "a/x/y"], ["a"]),
        (["a/**/z"], ["a/z", "a/b/z", "a/b/c/z"], ["a/zz", "z"]),
        (["**"], ["a", "a/b"], []),
        (["**.md", "a**y"], ["x.md", "d/x.md", "ay", "a/b/y"], ["x.mdx", "aby"]),
        (["**x*"], ["x", "d/xy"], ["ax", "d/ax"]),
        (["***.go"], ["a.go", "b/c.go"], ["a.goo"]),
        (["[a-c]x", "[^a]y", "\\*"], ["bx", "by", "*"], ["dx", "ay", "star"]),
        (["..", "../x", "/../y"], ["y"], ["x", "a"]),
        (["", ".", "#"], ["#"], ["a"]),
    ],
)
def test_examples(patterns: list[str], ignored: list[str], kept: list[str]) -> None:
    rules = parse_patterns(patterns)
    assert [path for path in ignored if not rules.ignores(path)] == []
    assert [path for path in kept if rules.ignores(path)] == []


def test_a_file_with_comments_and_a_byte_order_mark() -> None:
    rules = read_dockerignore(b"\xef\xbb\xbf# comment\r\n\r\n*.log\r\n#*.x\n!keep.log\n")
    assert [(p.text, p.keeps) for p in rules.patterns] == [("*.log", False), ("keep.log", True)]


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[a-", "a\\", "!", "[-a]"])
def test_malformed_ones_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_patterns([pattern])


NAMES = st.text(alphabet="ab.", min_size=1, max_size=4).filter(lambda n: set(n) != {"."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PARTS = st.one_of(st.just("**"), st.text(alphabet="ab.*?", min_size=1, max_size=4))
PATTERNS = st.lists(
    PARTS.filter(lambda p: set(p) != {"."} and (p == "**" or "**" not in p)), min_size=1, max_size=4
)


def fits(parts: list[str], names: list[str]) -> bool:
    """The reference's words, part by part."""
    if not parts:
        return not names
    if parts[0] == "**":
        if len(parts) == 1:
            return bool(names)
        return any(fits(parts[1:], names[n:]) for n in range(len(names) + 1))
    return bool(names) and part_fits(parts[0], names[0]) and fits(parts[1:], names[1:])


def part_fits(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(part_fits(pattern[1:], name[n:]) for n in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and part_fits(pattern[1:], name[1:])


@given(PATTERNS, PATHS)
def test_one_pattern_means_what_the_reference_says(parts: list[str], path: str) -> None:
    found = compile_pattern("/".join(parts)).fullmatch(path) is not None
    assert found == fits(parts, path.split("/"))


@given(st.lists(st.tuples(st.booleans(), PATTERNS), max_size=5), PATHS)
def test_the_last_that_fits_wins(rules: list[tuple[bool, list[str]]], path: str) -> None:
    texts = [("!" if keeps else "") + "/".join(parts) for keeps, parts in rules]
    names = path.split("/")
    expected = False
    for keeps, parts in rules:
        if any(fits(parts, names[: n + 1]) for n in range(len(names))):
            expected = not keeps
    assert parse_patterns(texts).ignores(path) == expected


@given(st.lists(PATTERNS, max_size=4), PATHS, NAMES)
def test_what_is_in_an_ignored_folder_is_ignored(
    rules: list[list[str]], folder: str, name: str
) -> None:
    found = parse_patterns(["/".join(parts) for parts in rules])
    if found.ignores(folder):
        assert found.ignores(f"{folder}/{name}")
        assert found.prunes(folder)


@given(st.text(max_size=20))
def test_anything_is_a_rule_or_refused(text: str) -> None:
    try:
        parse_patterns([text]).ignores("a/b")
    except InvalidArgument:
        return
