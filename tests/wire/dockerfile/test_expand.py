"""Substitution of variables: the reference's table, and the shell's opinion of the same words."""

import string
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedrt.wire.dockerfile.errors import DockerfileError
from sharedrt.wire.dockerfile.expand import Expander

V = {"a": "alpha", "e": "", "p": "banana.tar.gz", "s": "x  y", "1": "one"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$a", "alpha"),
        ("${a}b$ab", "alphab"),
        ("$n|${n}", "|"),
        ("${n:-def}${n-def}${e:-def}${e-def}", "defdefdef"),
        ("${a:-x}${a-x}", "alphaalpha"),
        ("${a:+set}${e:+set}${e+set}${n+set}", "setset"),
        ("${a:?no}${e?no}", "alpha"),
        ("${n:-${a:-${e}}}", "alpha"),
        ("${p#b*a}${p##b*a}", "nana.tar.gzr.gz"),
        ("${p%.*}|${p%%.*}", "banana.tar|banana"),
        ("${p/an/X}|${p//an/X}|${p//./}", "bXana.tar.gz|bXXa.tar.gz|bananatargz"),
        ("${p/b?n/[&]}|${p/./-}|${p/\\*/-}", "[&]ana.tar.gz|banana-tar.gz|banana.tar.gz"),
        ('\'$a\' "$a" \\$a "\\$a"', "$a alpha $a $a"),
        ('"a\\b" a\\b', "a\\b ab"),
        ("a$ b$", "a$ b$"),
        ("$1 $12 $@", "one  "),
        ("\\\\", "\\"),
        ("it''s", "its"),
        ("${n:-'}'}", "}"),
        ("é${a}ü", "éalphaü"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert Expander().word(text, V) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${", "missing '}'"),
        ("${a", "missing '}'"),
        ("${a:-b", "missing '}'"),
        ("${}", "bad substitution"),
        ("${{a}}", "bad substitution"),
        ("${a:}", "unsupported modifier"),
        ("${a:#b}", "unsupported modifier"),
        ("${a^}", "unsupported modifier"),
        ("${a#\\x}", "invalid escape"),
        ("${n:?is needed}", "n: is needed"),
        ("${e:?}", "e: is not allowed to be empty"),
        ("${n?}", "n: is not allowed to be unset"),
        ("'a", "single-quote"),
        ('"a', "double-quote"),
        ("${n:-" * 100, "nested too deeply"),
    ],
)
def test_what_is_malformed(text: str, words: str) -> None:
    with pytest.raises(DockerfileError, match=words):
        Expander().word(text, V)


def test_words_are_split_outside_of_quotes_alone() -> None:
    assert Expander().words("a 'b c' $s \"$s\" d\\ e", V) == ["a", "b c", "x", "y", "x  y", "d e"]
    assert Expander().words("  ", V) == []
    assert Expander().words("'' x", V) == ["", "x"]


def test_what_is_unset_may_stay() -> None:
    lexer = Expander(skip_unset=True)
    for text in ("$n", "${n}", "${n:-d}", "${n#x}", "${n/a/b}", "${n//a/b}"):
        assert lexer.word(text, V) == text
    assert lexer.word("$a", V) == "alpha"


def test_the_other_escape_character() -> None:
    assert Expander("`").word("`$a \\$a", V) == "$a \\alpha"


PLAIN = st.text(alphabet=string.ascii_letters + string.digits + "_./:=,-", max_size=6)
NAME = st.sampled_from(["a", "e", "n", "p", "s"])
PATTERN = st.text(alphabet="ab.n*?", min_size=1, max_size=4)


def words_of_a_shell(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        NAME.map(lambda n: f"${{{n}}}"),
        st.tuples(NAME, st.sampled_from([":-", "-", ":+", "+"]), inner).map(
            lambda t: f"${{{t[0]}{t[1]}{t[2]}}}"
        ),
        st.tuples(NAME, st.sampled_from(["#", "##", "%", "%%"]), PATTERN).map(
            lambda t: f"${{{t[0]}{t[1]}{t[2]}}}"
        ),
        PLAIN.map(lambda t: f"'{t}'"),
        inner.map(lambda t: f"{t}-{t}"),
    )


TEXT = st.recursive(PLAIN, words_of_a_shell, max_leaves=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=10, max_size=10))
def test_a_shell_says_the_same(texts: list[str]) -> None:
    """``sh`` (dash), with the whole in an assignment, where nothing is split or matched against files."""
    script = "\n".join(f"x={text}\nprintf '%s\\n' \"$x\"" for text in texts)
    env = {name: value for name, value in V.items() if name != "1"}
    shown = subprocess.run(
        ["/bin/sh", "-c", f"unset n\n{script}"], env=env, capture_output=True, text=True, check=True
    )
    assert [Expander().word(text, V) for text in texts] == shown.stdout.split("\n")[:-1]


@given(st.text(max_size=30), st.booleans(), st.booleans(), st.booleans())
def test_garbage_is_a_word_or_refused(text: str, unset: bool, quotes: bool, raw: bool) -> None:
    lexer = Expander(skip_unset=unset, skip_quotes=quotes, raw_quotes=raw)
    try:
        lexer.words(text, V)
    except DockerfileError:
        return


@given(st.text(alphabet=string.printable, max_size=20))
def test_single_quotes_keep_everything(text: str) -> None:
    quoted = "'" + text.replace("'", "'\"'\"'") + "'"
    assert Expander().word(quoted, V) == text
    assert Expander().words(quoted, V) == [text]
