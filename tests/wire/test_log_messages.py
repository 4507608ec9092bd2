"""Tags, syslog messages and journal entries as bytes."""

import time

import pytest

from sharedrt.model.ids import Digest
from sharedrt.wire.journal import field_name, journal_entry
from sharedrt.wire.log_tag import FIELDS, TagError, check_tag, render_tag, tag_fields
from sharedrt.wire.syslog import syslog_message
from tests.services.rig import container

AT = 1_704_067_265_123_456_789


def message(form: str, text: bytes = b"text") -> bytes:
    return syslog_message(
        form, facility=3, severity=6, time_ns=AT, hostname="h", tag="t", pid=7, text=text
    )


def test_syslog_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert message("") == b"<30>Jan  1 00:01:05 t[7]: text\n"
    assert message("rfc3164") == b"<30>Jan  1 00:01:05 h t[7]: text\n"
    assert message("rfc5424") == b"<30>1 2024-01-01T00:01:05Z h t 7 t - text\n"
    assert message("rfc5424micro") == b"<30>1 2024-01-01T00:01:05.123456Z h t 7 t - text\n"


def test_journal_entries() -> None:
    assert journal_entry({"A": "x", "MESSAGE": b"\xff"}) == b"A=x\nMESSAGE=\xff\n"
    assert journal_entry({"A": "x\ny"}) == b"A\n\x03\0\0\0\0\0\0\0x\ny\n"
    assert field_name("com.example/a-b") == "COM_EXAMPLE_A_B"
    assert field_name("..") == ""


def test_tags() -> None:
    fields = tag_fields(container(name="web"))
    assert set(fields) == FIELDS
    assert render_tag("{{.Name}}/{{ .ID }}", fields) == f"web/{'c' * 12}"
    assert render_tag("plain", fields) == "plain"
    with pytest.raises(TagError, match="Odd"):
        check_tag("{{.Odd}}")
    assert render_tag("a{{- .Name -}}}b", fields) == "aweb}b"
    with pytest.raises(TagError, match="longer"):
        check_tag("{{" * 1000)
    with pytest.raises(TagError, match="split"):
        check_tag('{{split .Name ":"}}')


def test_image_ids_are_short_and_long() -> None:
    record = container()
    object.__setattr__(record, "image_id", Digest("sha256:" + "a" * 64))
    fields = tag_fields(record)
    assert (fields["ImageID"], fields["ImageFullID"]) == ("a" * 12, "sha256:" + "a" * 64)
