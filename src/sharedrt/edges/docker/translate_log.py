"""``LogConfig`` and ``RestartPolicy``."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import bad_request, not_implemented
from sharedrt.model.records import LogForward, LogTransport, SyslogTls
from sharedrt.wire.go_numbers import MAX_INT64, NumberError, parse_digits, parse_int
from sharedrt.wire.go_regexp import RegexpError, compile_regexp
from sharedrt.wire.log_tag import DEFAULT_TAG, TagError, check_tag

DEFAULT_DRIVER: Final = "json-file"

_OTHERS: Final = frozenset({"gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs"})
_COMMON: Final = frozenset({"mode", "max-buffer-size"})
_FILE: Final = frozenset({"max-size", "max-file", "compress"})
_CHOSEN: Final = frozenset({"labels", "labels-regex", "env", "env-regex"})
_TLS: Final = frozenset(
    {"syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"}
)
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "json-file": _FILE | _CHOSEN | {"tag"},
    "local": _FILE,
    "journald": _CHOSEN | {"tag"},
    "syslog": _CHOSEN | _TLS | {"tag", "syslog-address", "syslog-facility", "syslog-format"},
}
_UNSAID: Final[Mapping[str, Mapping[str, str]]] = {
    # Docker's defaults of this driver.
    "local": {"max-size": "20m", "max-file": "5", "compress": "true"},
}
_FACILITIES_TEXT: Final = (
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp - - - - "
    "local0 local1 local2 local3 local4 local5 local6 local7"
)
_FACILITIES: Final = {name: n for n, name in enumerate(_FACILITIES_TEXT.split()) if name != "-"}
_FORMATS: Final = ("", "rfc3164", "rfc5424", "rfc5424micro")
_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_MAX_DECIMALS: Final = 18
_MAX_PORT: Final = (1 << 16) - 1
_SCALE: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True, slots=True)
class LogPlan:
    keep: bool
    max_bytes: int = 0
    """0: no bound."""
    max_files: int = 1
    compress: bool = False
    forward: LogForward | None = None


def translate_log(config: Fields, labels: Mapping[str, str], env: tuple[str, ...]) -> LogPlan:
    """``json-file`` and ``local`` are names for this daemon's own logs; ``none`` keeps none. Lines for ``journald`` and
    ``syslog`` are kept too, so that they can be read here.

    Raises:
        Refusal: 400 for an unknown driver, option or value, 501 for a driver that this daemon does not have.
    """
    driver = config.text("Type") or DEFAULT_DRIVER
    options = config.mapping("Config")
    if driver in _OTHERS:
        raise not_implemented(f"the logging driver {driver}")
    if driver == "none":
        if options:
            raise bad_request("invalid logging opts for driver none")
        return LogPlan(keep=False)
    if driver not in _OPTIONS:
        raise bad_request(f"logger: no log driver named '{driver}' is registered")
    _check_names(driver, options)
    _check_mode(options)
    for name in ("labels-regex", "env-regex"):
        _pattern(options.get(name, ""))
    try:
        check_tag(options.get("tag", ""))
    except TagError as error:
        raise bad_request(f"failed to initialize logging driver: {error}") from error
    if driver in ("json-file", "local"):
        return _file_plan({**_UNSAID.get(driver, {}), **options})
    return LogPlan(
        keep=True,
        # Theirs is the log that lasts: ours is kept to be read, as dockerd's is.
        max_bytes=parse_size("20m"),
        max_files=5,
        compress=True,
        forward=_forward(driver, options, chosen_facts(options, labels, env)),
    )


def _check_names(driver: str, options: Mapping[str, str]) -> None:
    for name in options:
        if name not in _OPTIONS[driver] | _COMMON:
            raise bad_request(f"unknown log opt '{name}' for {driver} log driver")


def _check_mode(options: Mapping[str, str]) -> None:
    """conmon never blocks a container for its log; both modes are one here, and the buffer is a pipe's."""
    mode = options.get("mode", "blocking")
    if mode not in ("", "blocking", "non-blocking"):
        raise bad_request(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise bad_request(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
            )
        parse_size(options["max-buffer-size"])


def _file_plan(options: Mapping[str, str]) -> LogPlan:
    max_bytes = parse_size(options.get("max-size", ""))
    files = options.get("max-file", "1")
    try:
        max_files = parse_int(files)
    except NumberError as error:
        raise bad_request(f'strconv.Atoi: parsing "{files}": {error}') from error
    if max_files < 1:
        raise bad_request("max-file cannot be less than 1")
    compress = _boolean(options.get("compress", "false"))
    if compress and (max_files < 2 or not max_bytes):
        raise bad_request(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
        )
    return LogPlan(keep=True, max_bytes=max_bytes, max_files=max_files, compress=compress)


def _boolean(text: str) -> bool:
    if text not in _TRUE + _FALSE:
        raise bad_request(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in _TRUE


def _forward(driver: str, options: Mapping[str, str], facts: Mapping[str, str]) -> LogForward:
    tag = options.get("tag") or DEFAULT_TAG
    if driver == "journald":
        return LogForward(LogTransport.JOURNALD, tag, fields=facts)
    facility = options.get("syslog-facility", "") or "daemon"
    number = _FACILITIES.get(facility, parse_digits(facility, len(_FACILITIES_TEXT.split()) - 1))
    if number is None:
        raise bad_request("invalid syslog facility")
    if (form := options.get("syslog-format", "")) not in _FORMATS:
        raise bad_request("Invalid syslog format")
    address = _syslog_address(options.get("syslog-address", ""))
    tls = SyslogTls(
        options.get("syslog-tls-ca-cert", ""),
        options.get("syslog-tls-cert", ""),
        options.get("syslog-tls-key", ""),
        # Being there is what counts, whatever it says: as at dockerd.
        "syslog-tls-skip-verify" in options,
    )
    return LogForward(LogTransport.SYSLOG, tag, address, number, form, facts, tls)


def _syslog_address(address: str) -> str:
    if not address:
        return ""
    protocol, separator, rest = address.partition("://")
    if not separator or not rest:
        raise bad_request(f"syslog-address should be in form proto://address, got {address}")
    if protocol not in ("unix", "unixgram", "udp", "tcp", "tcp+tls"):
        raise bad_request(f"unsupported scheme: '{protocol}'")
    if protocol.startswith("unix"):
        return address
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        host, port = rest, "514"
    if not parse_digits(port, _MAX_PORT):
        raise bad_request(f"syslog-address: invalid port in {address}")
    return f"{protocol}://{host}:{port}"


# ---------------------------------------------------------------- what options choose


def chosen_facts(
    options: Mapping[str, str], labels: Mapping[str, str], env: tuple[str, ...]
) -> dict[str, str]:
    """The labels and variables that ``labels``, ``env`` and their patterns name. Raises Refusal for a bad pattern."""
    variables = dict(v.partition("=")[::2] for v in env)
    facts: dict[str, str] = {}
    for found, names, pattern in (
        (labels, "labels", "labels-regex"),
        (variables, "env", "env-regex"),
    ):
        wanted = {name for name in options.get(names, "").split(",") if name}
        matches = _pattern(options.get(pattern, ""))
        facts |= {n: v for n, v in found.items() if n in wanted or (matches and matches(n))}
    return facts


def _pattern(text: str) -> Callable[[str], object] | None:
    if not text:
        return None
    try:
        return compile_regexp(text).search
    except RegexpError as error:
        raise bad_request(f"error parsing regexp: {error}: `{text}`") from error


def parse_size(text: str) -> int:
    """``10k``, ``5m`` (powers of 1000, as Docker's log drivers count); empty, 0 and -1: no bound."""
    if text in ("", "-1"):
        return 0
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise bad_request(f"invalid size: '{text}'")
    whole, _, fraction = found[1].partition(".")
    scale: int = 1000 ** _SCALE[found[2].lower()]
    size = parse_digits(whole, MAX_INT64)
    if size is None or size * scale > MAX_INT64:
        raise bad_request(f"invalid size: '{text}'")
    fraction = fraction[:_MAX_DECIMALS]
    return size * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)


# ---------------------------------------------------------------- restart


@dataclass(frozen=True, slots=True)
class RestartPlan:
    policy: str
    max_retries: int


def translate_restart(policy: Fields) -> RestartPlan:
    """Raises Refusal in dockerd's words."""
    name, retries = policy.text("Name") or "no", policy.integer("MaximumRetryCount")
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise bad_request(
            f"invalid restart policy: unknown policy '{name}'; use one of "
            "'no', 'always', 'on-failure', or 'unless-stopped'"
        )
    if retries < 0:
        raise bad_request("invalid restart policy: maximum retry count cannot be negative")
    if retries and name != "on-failure":
        raise bad_request(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        )
    return RestartPlan(name, retries)
