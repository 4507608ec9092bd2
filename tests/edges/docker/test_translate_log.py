"""LogConfig: what each driver knows, and what it is here."""

from typing import Any

import pytest

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.translate_log import LogPlan, chosen_facts, translate_log
from sharedrt.edges.docker.words import Refusal
from sharedrt.model.records import LogForward, LogTransport, SyslogTls

M = 1_000_000


def plan(driver: str = "", **options: str) -> LogPlan:
    config: dict[str, Any] = {"Type": driver, "Config": _named(options)}
    return translate_log(Fields(config), {"a": "1"}, ("FOO=x", "BAR=y"))


def _named(options: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in options.items()}


def test_our_own_files() -> None:
    assert plan() == plan("json-file") == LogPlan(keep=True)
    assert plan("none") == LogPlan(keep=False)
    assert plan(max_size="10m", max_file="3", compress="1") == LogPlan(True, 10 * M, 3, True)
    assert plan("local") == LogPlan(True, 20 * M, 5, True)
    assert plan("local", max_size="1k", max_file="1", compress="f") == LogPlan(True, 1000)


def test_other_logs_of_the_host() -> None:
    journal = plan("journald", labels="a,b", env_regex="^F")
    assert journal.forward == LogForward(
        LogTransport.JOURNALD, "{{.ID}}", fields={"a": "1", "FOO": "x"}
    )
    assert journal.keep
    syslog = plan(
        "syslog",
        syslog_address="udp://h",
        syslog_facility="local7",
        tag="t",
        syslog_format="rfc5424",
    )
    assert syslog.forward == LogForward(LogTransport.SYSLOG, "t", "udp://h:514", 23, "rfc5424")
    by_number = plan("syslog", syslog_address="unixgram:///x", syslog_facility="0").forward
    assert by_number is not None
    assert (by_number.facility, by_number.address) == (0, "unixgram:///x")
    secure = plan(
        "syslog",
        syslog_address="tcp+tls://h",
        syslog_facility="12",
        syslog_tls_ca_cert="/ca",
        syslog_tls_cert="/c",
        syslog_tls_key="/k",
        syslog_tls_skip_verify="false",
    ).forward
    assert secure is not None
    assert (secure.address, secure.facility) == ("tcp+tls://h:514", 12)
    assert secure.tls == SyslogTls("/ca", "/c", "/k", True)


@pytest.mark.parametrize(
    ("driver", "options", "words"),
    [
        ("odd", {}, "400 logger: no log driver named 'odd' is registered"),
        ("splunk", {}, "501 the logging driver splunk"),
        ("none", {"max_size": "1"}, "400 invalid logging opts for driver none"),
        ("json-file", {"odd": "1"}, "400 unknown log opt 'odd' for json-file"),
        ("local", {"tag": "x"}, "400 unknown log opt 'tag' for local"),
        ("journald", {"max_size": "1"}, "400 unknown log opt 'max-size' for journald"),
        ("json-file", {"max_file": "x"}, '400 strconv.Atoi: parsing "x"'),
        ("json-file", {"max_file": "-1"}, "400 max-file cannot be less than 1"),
        ("json-file", {"compress": "maybe"}, '400 strconv.ParseBool: parsing "maybe"'),
        ("json-file", {"compress": "true", "max_file": "2"}, "400 compress cannot be true"),
        ("json-file", {"max_size": "abc"}, "400 invalid size: 'abc'"),
        ("json-file", {"mode": "odd"}, "400 logger: logging mode not supported: odd"),
        ("json-file", {"max_buffer_size": "1m"}, "400 logger: max-buffer-size option is only"),
        ("json-file", {"mode": "non-blocking", "max_buffer_size": "x"}, "400 invalid size: 'x'"),
        ("json-file", {"env_regex": "["}, "400 error parsing regexp"),
        ("json-file", {"max_size": "9" * 5000}, "400 invalid size"),
        ("json-file", {"max_size": "10000p"}, "400 invalid size"),
        (
            "json-file",
            {"max_file": "9" * 20},
            '400 strconv.Atoi: parsing "99999999999999999999": value out of range',
        ),
        ("json-file", {"max_file": "1_0"}, '400 strconv.Atoi: parsing "1_0": invalid syntax'),
        ("json-file", {"tag": "{{.Odd}}"}, "400 failed to initialize logging driver: log tag"),
        ("syslog", {"syslog_facility": "odd"}, "400 invalid syslog facility"),
        ("syslog", {"syslog_facility": "24"}, "400 invalid syslog facility"),
        ("syslog", {"syslog_address": "odd"}, "400 syslog-address should be in form"),
        ("syslog", {"syslog_address": "http://x"}, "400 unsupported scheme: 'http'"),
        ("syslog", {"syslog_address": "udp://x:y"}, "400 syslog-address: invalid port"),
    ],
)
def test_refused_by_name(driver: str, options: dict[str, str], words: str) -> None:
    with pytest.raises(Refusal) as caught:
        plan(driver, **options)
    assert f"{caught.value.status} {caught.value.message}".startswith(words)


def test_what_options_choose() -> None:
    labels, env = {"a": "1", "b": "2"}, ("FOO=x", "BAR=y=z")
    assert chosen_facts({"labels": "a,zzz"}, labels, env) == {"a": "1"}
    assert chosen_facts({"labels-regex": "^[ab]$"}, labels, env) == labels
    assert chosen_facts({"env": "BAR", "env-regex": "O"}, labels, env) == {"BAR": "y=z", "FOO": "x"}
    assert chosen_facts({}, labels, env) == {}
