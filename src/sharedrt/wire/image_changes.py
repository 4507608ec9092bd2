"""``changes`` of ``docker commit`` and ``docker import``: Dockerfile instructions that alter a configuration.

Spec: Engine API, ImageCommit; Dockerfile reference. Only instructions about the configuration are known, and no
variables are expanded but in ENV's own way: none.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sharedrt.model.faults import InvalidArgument

Config = dict[str, Any]

_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def apply_changes(config: Mapping[str, Any], changes: Iterable[str]) -> Config:
    """A configuration (Docker's ``Config`` object) with instructions applied in order; the given one stays as it is.

    Raises:
        InvalidArgument: an instruction that is malformed, unknown, or not about the configuration; names it.
    """
    changed = dict(config)
    for text in changes:
        for line in _lines(text):
            word, _, rest = line.partition(" ")
            apply = _INSTRUCTIONS.get(word.upper())
            if apply is None:
                raise InvalidArgument(
                    "change", word, f"{word.lower()} is not a valid change command"
                )
            if not rest.strip():
                raise InvalidArgument(
                    "change", line, f"{word.upper()} requires at least one argument"
                )
            apply(changed, rest.strip())
    return changed


def _lines(text: str) -> list[str]:
    """Lines with their continuations, without comments."""
    joined = re.sub(r"\\[ \t]*\n", "", text)
    lines = (re.sub(r"\s+", " ", line.strip(), count=1) for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidArgument("change", text, str(error)) from error


def _command(text: str) -> list[str]:
    """The exec form, a JSON array of strings; anything else is the shell form."""
    if text.startswith("["):
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
    return ["/bin/sh", "-c", text]


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _shell(config, text)


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _shell(config, text)


def _shell(config: Config, text: str) -> list[str]:
    command = _command(text)
    shell = config.get("Shell")
    if (
        command[:2] == ["/bin/sh", "-c"]
        and len(command) == 3
        and not text.startswith("[")
        and shell
    ):
        return [*shell, text]
    return command


def _pairs(text: str, name: str) -> list[tuple[str, str]]:
    """``a=b "c d"=e``, or the old form ``NAME all the rest``."""
    words = _words(text)
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidArgument("change", text, f"{name} must have two arguments")
        return [(key, value.strip())]
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidArgument("change", word, f"Syntax error - can't find = in {word!r}")
        pairs.append((key, value))
    return pairs


def _env(config: Config, text: str) -> None:
    env = list(config.get("Env") or [])
    for key, value in _pairs(text, "ENV"):
        variable = f"{key}={value}"
        names = [item.partition("=")[0] for item in env]
        if key in names:
            env[names.index(key)] = variable
        else:
            env.append(variable)
    config["Env"] = env


def _label(config: Config, text: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(text, "LABEL"))}


def _expose(config: Config, text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(text):
        found = _PORT.fullmatch(word)
        first = int(found[1]) if found else 0
        last = int(found[2] or first) if found else 0
        if found is None or not 0 < first <= last < 1 << 16:
            raise InvalidArgument("change", word, f"Invalid containerPort: {word}")
        protocol = (found[3] or "tcp").lower()
        ports |= {f"{port}/{protocol}": {} for port in range(first, last + 1)}
    config["ExposedPorts"] = ports


def _volume(config: Config, text: str) -> None:
    paths = _command(text) if text.startswith("[") else _words(text)
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _user(config: Config, text: str) -> None:
    config["User"] = text


def _workdir(config: Config, text: str) -> None:
    before = str(config.get("WorkingDir") or "/")
    config["WorkingDir"] = text if text.startswith("/") else f"{before.rstrip('/')}/{text}"


def _stop_signal(config: Config, text: str) -> None:
    config["StopSignal"] = text


def _on_build(config: Config, text: str) -> None:
    word = text.partition(" ")[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument("change", text, f"{word} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _healthcheck(config: Config, text: str) -> None:
    check: dict[str, Any] = {}
    while text.startswith("--"):
        flag, _, text = text.partition(" ")
        name, _, value = flag[2:].partition("=")
        text = text.strip()
        match name:
            case "interval" | "timeout":
                check[name.capitalize()] = _duration(value)
            case "start-period":
                check["StartPeriod"] = _duration(value)
            case "start-interval":
                check["StartInterval"] = _duration(value)
            case "retries" if value.isdecimal():
                check["Retries"] = int(value)
            case _:
                raise InvalidArgument("change", flag, f"Unknown flag: {name}")
    kind, _, rest = text.partition(" ")
    if kind.upper() == "NONE" and not rest:
        config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not rest.strip():
        raise InvalidArgument("change", text, f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    command = _command(rest.strip())
    shell = not rest.strip().startswith("[")
    test = ["CMD-SHELL", rest.strip()] if shell else ["CMD", *command]
    config["Healthcheck"] = {"Test": test, **check}


def _duration(text: str) -> int:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise InvalidArgument("change", text, "is no duration")
    return int(sum(float(number) * _UNITS_NS[unit] for number, unit in parts))


_INSTRUCTIONS: Final[Mapping[str, Callable[[Config, str], None]]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
