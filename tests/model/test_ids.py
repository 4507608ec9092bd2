import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedrt.model.faults import InvalidArgument
from sharedrt.model.ids import MAX_IDENTIFIER_LENGTH, new_id, parse_digest, parse_namespace


@pytest.mark.parametrize("name", ["k8s.io", "moby", "a", "A-1_b.c", "x" * MAX_IDENTIFIER_LENGTH])
def test_namespaces_that_containerd_takes(name: str) -> None:
    assert parse_namespace(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../etc",
        "a/b",
        "a..b",
        "-a",
        "a-",
        "a b",
        "a\n",
        "a\x00",
        "ä",
        "١",
        "x" * (MAX_IDENTIFIER_LENGTH + 1),
    ],
)
def test_namespaces_that_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_namespace(name)
    assert caught.value.field == "namespace"
    assert caught.value.value == name


@given(st.text(max_size=90))
def test_a_parsed_namespace_is_one_safe_path_part(name: str) -> None:
    try:
        parsed = parse_namespace(name)
    except InvalidArgument:
        return
    assert parsed not in ("", ".", "..")
    assert "/" not in parsed
    assert parsed.isascii()
    assert parsed.isprintable()
    assert len(parsed) <= MAX_IDENTIFIER_LENGTH


def test_a_hostile_name_is_refused_in_no_time() -> None:
    with pytest.raises(InvalidArgument):
        parse_namespace("a" * 75 + "!")


@pytest.mark.parametrize("text", ["sha256:" + "0" * 64, "sha512:" + "af" * 64])
def test_digests(text: str) -> None:
    assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha512:" + "0" * 64,
        "md5:" + "0" * 32,
        "sha256:../" + "0" * 61,
        "sha256:" + "0" * 64 + "\n",
    ],
)
def test_malformed_digests_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="digest"):
        parse_digest(text)


def test_new_ids_differ_and_never_read_as_a_number() -> None:
    ids = [new_id() for _ in range(5000)]
    assert len(set(ids)) == len(ids)
    for made in ids:
        assert len(made) == 64
        assert set(made) <= set("0123456789abcdef")
        assert not made[:12].isdecimal()


def test_an_id_of_digits_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter(["1" * 64, "a" * 64])
    monkeypatch.setattr("secrets.token_hex", lambda _: next(draws))
    assert new_id() == "a" * 64
