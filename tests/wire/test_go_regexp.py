"""Regular expressions of clients' filters."""

import re
import time
import tracemalloc

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sharedrt.wire.go_regexp import MAX_PATTERN, Regexp, RegexpError

ATOMS = st.sampled_from(
    [
        *("a", "b", ".", "[ab]", "[^a]", r"\d", r"\W", r"\s", r"\.", "(?:a|b)", "(ab)", "^", "$", r"\b", r"\B"),
        *("a*", "b+", "a?", "a{2}", "b{1,3}", "(?:ab)*", "[a-c_]+?", "(?:a|)+", "(?:a*)*", "|", "(?i:A)"),
    ]
)  # fmt: skip


@given(st.lists(ATOMS, max_size=6).map("".join), st.text("abAB_.1 \n", max_size=12))
def test_the_same_as_pythons_where_both_mean_the_same(pattern: str, text: str) -> None:
    assume(text or r"\B" not in pattern)  # of no text Python says that nobody stands inside
    # Python's $ stands before a line's end at the end, too, and its classes know all of Unicode.
    theirs = re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    assert Regexp(pattern).search(text) is (theirs.search(text) is not None)
    assert Regexp(pattern).fullmatch(text) is (theirs.fullmatch(text) is not None)


@given(st.text(r"ab[](){}|*+?\^$.,-0123:PimsU<>x\dw", max_size=20), st.text(max_size=10))
def test_any_text_is_an_expression_or_refused(pattern: str, text: str) -> None:
    try:
        compiled = Regexp(pattern)
    except RegexpError:
        return
    compiled.search(text)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^web$", "web", True),
        ("^web$", "webs", False),
        (r"\bfoo", "xfoo foo", True),
        ("(?i)WEB|DB", "my-db", True),
        ("(?i:W)EB", "wEB", True),
        ("(?i:W)EB", "web", False),
        ("(?i)[^a]", "A", False),
        ("(?P<name>a)b", "ab", True),
        ("(?s)a.b", "a\nb", True),
        ("a.b", "a\nb", False),
        ("(?m)^b$", "a\nb\nc", True),
        ("[[:alpha:]-]+[[:^digit:]]", "x-y", True),
        (r"[\w.]+\x41\x{42}", "a.AB", True),
        (r"[\D]", "1", False),
        ("[]a]", "]", True),
        ("a{,2}", "a{,2}", True),
        ("a{2,}", "aaa", True),
        ("a{2,}", "a", False),
        (r"\z", "", True),
        ("ß", "straße", True),
    ],
)
def test_what_go_means(pattern: str, text: str, found: bool) -> None:
    assert Regexp(pattern).search(text) is found


@pytest.mark.parametrize(
    "pattern",
    [
        *("(", ")", "a)", "[", "[a", "[b-a]", "[[:no:]]", "*", "a**", "a+*", "a{3}{2}", "a{2,1}"),
        *("a{1001}", "\\", r"\q", r"\1", r"\x", r"\x4", r"\x{110000}", "(?=a)", "(?<!a)", "(?P<>a)"),
        *("(?P<a b>a)", "(?i", "(?z)", "(" * 200 + ")" * 200, "((a{100}){100}){100}", "x" * (MAX_PATTERN + 1)),
        "(((){1000}){1000}){1000}",
    ],
)  # fmt: skip
def test_what_is_none(pattern: str) -> None:
    with pytest.raises(RegexpError):
        Regexp(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "^(a|a)*$", "a*a*a*a*a*a*a*b", "(.*)*x", "(a|b)*a(a|b){20}$", "(?:a?){50}a{50}b"],
)
def test_no_pattern_takes_long(pattern: str) -> None:
    """Python's would need longer than the sun has."""
    began = time.process_time()
    assert not Regexp(pattern).search("a" * 200 + "c")
    assert time.process_time() - began < 5


def test_what_is_remembered_is_bounded() -> None:
    compiled = Regexp("(a|b)*a(a|b){600}")
    tracemalloc.start()
    try:
        for number in range(3):
            compiled.search(f"{number * 37:b}".replace("0", "a").replace("1", "b") * 300)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_search_is_given_up() -> None:
    began = time.process_time()
    assert not Regexp("(x*)*(a|b){300}(?:a|b)*a(a|b){500}c").search("abbabaabbaab" * 10_000)
    assert time.process_time() - began < 5
