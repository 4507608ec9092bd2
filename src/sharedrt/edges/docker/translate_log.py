"""``LogConfig`` and ``RestartPolicy``."""

import re
from dataclasses import dataclass
from typing import Final

from sharedrt.edges.docker.fields import Fields
from sharedrt.edges.docker.words import bad_request, not_implemented

DEFAULT_DRIVER: Final = "json-file"
_OURS: Final = frozenset({"json-file", "local"})
_OTHERS: Final = frozenset(
    {"syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs"}
)
_KNOWN_OPTIONS: Final = frozenset(
    [
        "max-size",
        "max-file",
        "compress",
        "mode",
        "max-buffer-size",
        "labels",
        "labels-regex",
        "env",
        "env-regex",
        "tag",
    ]
)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_SCALE: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


@dataclass(frozen=True, slots=True)
class LogPlan:
    keep: bool
    max_bytes: int
    """0: no bound."""


def translate_log(config: Fields) -> LogPlan:
    """``json-file`` and ``local`` are names for this daemon's own logs; ``none`` keeps none.

    Raises:
        Refusal: 400 for an unknown driver or option, 501 for a driver that this daemon does not have.
    """
    driver = config.text("Type") or DEFAULT_DRIVER
    options = config.mapping("Config")
    if driver == "none":
        return LogPlan(keep=False, max_bytes=0)
    if driver in _OTHERS:
        raise not_implemented(f"the logging driver {driver}")
    if driver not in _OURS:
        raise bad_request(f"logger: no log driver named '{driver}' is registered")
    for name in options:
        if name not in _KNOWN_OPTIONS:
            raise bad_request(f"unknown log opt '{name}' for {driver} log driver")
    if options.get("mode", "blocking") not in ("blocking", "non-blocking"):
        raise bad_request(f"logger: logging mode not supported: {options['mode']}")
    files = options.get("max-file", "1")
    if not files.isdecimal() or int(files) < 1:
        raise bad_request("max-file cannot be less than 1")
    return LogPlan(keep=True, max_bytes=parse_size(options.get("max-size", "")))


def parse_size(text: str) -> int:
    """``10k``, ``5m`` (powers of 1000, as Docker's log drivers count); empty and -1: no bound."""
    if text in ("", "-1"):
        return 0
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise bad_request(f"invalid size: '{text}'")
    whole, _, fraction = found[1].partition(".")
    scale: int = 1000 ** _SCALE[found[2].lower()]
    size = int(whole) * scale
    return size + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)


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
