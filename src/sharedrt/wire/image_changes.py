"""``changes`` of ``docker commit`` and ``docker import``: Dockerfile instructions that alter a configuration.

Spec: Engine API, ImageCommit; Dockerfile reference ("Environment replacement"). Only instructions about the
configuration are known; variables are those of the configuration's environment.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.wire.dockerfile import DockerfileError, Expander
from sharedrt.wire.exposed_ports import PortError, exposed_ports

Config = dict[str, Any]

_WORD: Final = re.compile(r"""\s*((?:\\.|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'\\])+)""", re.DOTALL)
"""With its quotes and escapes."""

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def apply_changes(
    config: Mapping[str, Any], changes: Iterable[str], env: Iterable[str] = ()
) -> Config:
    """A configuration (Docker's ``Config`` object) with instructions applied in order; the given one stays as it is.

    Args:
        env: ``NAME=value`` of the container, behind what the configuration itself has.

    Raises:
        InvalidArgument: an instruction that is malformed, unknown, or not about the configuration; names it.
    """
    changed = dict(config)
    for text in changes:
        for line in _lines(text):
            word, _, rest = line.partition(" ")
            apply = _INSTRUCTIONS.get(word.upper())
            if apply is None:
                raise InvalidArgument("change", word, f"{word} is not a valid change command")
            if not rest.strip():
                raise InvalidArgument(
                    "change", line, f"{word.upper()} requires at least one argument"
                )
            apply(changed, rest.strip(), _Words([*env, *(changed.get("Env") or ())]))
    return changed


class _Words:
    """Substitution of variables and quotes. All methods raise InvalidArgument."""

    def __init__(self, env: Iterable[str]) -> None:
        pairs = (text.partition("=") for text in env)
        self._variables = {name: value for name, _, value in pairs}
        self._expander = Expander()

    def one(self, text: str) -> str:
        """The whole text as one word."""
        try:
            return self._expander.word(text, self._variables)
        except DockerfileError as error:
            raise InvalidArgument("change", text, error.reason) from error

    def many(self, text: str) -> list[str]:
        """Split at spaces that are written here, not at those of values."""
        found, at = [], 0
        while match := _WORD.match(text, at):
            found.append(self.one(match[1]))
            at = match.end()
        if text[at:].strip():
            raise InvalidArgument(
                "change", text, "unexpected end of statement: a quote is not closed"
            )
        return found


def _lines(text: str) -> list[str]:
    """Lines with their continuations, without comments."""
    joined = re.sub(r"\\[ \t]*\n", "", text)
    lines = (re.sub(r"\s+", " ", line.strip(), count=1) for line in joined.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


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


def _cmd(config: Config, text: str, words: _Words) -> None:
    config["Cmd"] = _shell(config, text)


def _entrypoint(config: Config, text: str, words: _Words) -> None:
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


def _pairs(text: str, name: str, words: _Words) -> list[tuple[str, str]]:
    """``a=b "c d"=e``, or the old form ``NAME all the rest``."""
    first = _WORD.match(text)
    if first is not None and "=" not in first[1]:
        key, _, value = text.partition(" ")
        if not value.strip():
            raise InvalidArgument("change", text, f"{name} must have two arguments")
        return [(words.one(key), words.one(value.strip()))]
    pairs = []
    for word in words.many(text):
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InvalidArgument("change", word, f"Syntax error - can't find = in {word!r}")
        pairs.append((key, value))
    return pairs


def _env(config: Config, text: str, words: _Words) -> None:
    env = list(config.get("Env") or [])
    for key, value in _pairs(text, "ENV", words):
        variable = f"{key}={value}"
        names = [item.partition("=")[0] for item in env]
        if key in names:
            env[names.index(key)] = variable
        else:
            env.append(variable)
    config["Env"] = env


def _label(config: Config, text: str, words: _Words) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(text, "LABEL", words))}


def _expose(config: Config, text: str, words: _Words) -> None:
    try:
        ports = exposed_ports(words.many(text))
    except PortError as error:
        raise InvalidArgument("change", str(error), f"Invalid containerPort: {error}") from error
    config["ExposedPorts"] = (config.get("ExposedPorts") or {}) | {port: {} for port in ports}


def _volume(config: Config, text: str, words: _Words) -> None:
    paths = _command(text) if text.startswith("[") else words.many(text)
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _user(config: Config, text: str, words: _Words) -> None:
    config["User"] = words.one(text)


def _workdir(config: Config, text: str, words: _Words) -> None:
    text = words.one(text)
    before = str(config.get("WorkingDir") or "/")
    config["WorkingDir"] = text if text.startswith("/") else f"{before.rstrip('/')}/{text}"


def _stop_signal(config: Config, text: str, words: _Words) -> None:
    config["StopSignal"] = words.one(text)


def _on_build(config: Config, text: str, words: _Words) -> None:
    word = text.partition(" ")[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise InvalidArgument("change", text, f"{word} isn't allowed as an ONBUILD trigger")
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _healthcheck(config: Config, text: str, words: _Words) -> None:
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


_INSTRUCTIONS: Final[Mapping[str, Callable[[Config, str, _Words], None]]] = {
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
