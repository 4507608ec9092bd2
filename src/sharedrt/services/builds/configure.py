"""Instructions that change an image's configuration alone."""

import json
import posixpath
from collections.abc import Mapping
from typing import Any, Final

from sharedrt.model.faults import InvalidArgument
from sharedrt.services.builds.errors import BuildFailed
from sharedrt.services.containers.signals import parse_signal
from sharedrt.wire.docker_time import format_duration
from sharedrt.wire.dockerfile import Expander
from sharedrt.wire.dockerfile import instructions as i
from sharedrt.wire.exposed_ports import PortError, exposed_ports
from sharedrt.wire.oci_image import Healthcheck

Config = dict[str, Any]
_DEFAULT_SHELL: Final = ("/bin/sh", "-c")
MAX_ENV: Final = 4 << 20
"""Characters of all variables: no kernel starts a process with that much, and each step would carry it along."""


class Words:
    """Substitution with one set of variables."""

    def __init__(self, escape: str, variables: Mapping[str, str]) -> None:
        self._expander = Expander(escape)
        self.variables = variables

    def one(self, text: str) -> str:
        return self._expander.word(text, self.variables)

    def many(self, text: str) -> list[str]:
        return self._expander.words(text, self.variables)


def nop(config: Mapping[str, Any]) -> str:
    """How the history begins what only changes the configuration, or copies."""
    return " ".join(_shell(config)) + " #(nop) "


def shell_words(command: i.Command, shell: tuple[str, ...]) -> list[str]:
    """What is run: the exec form as it is, the shell form by the shell."""
    return list(command.words) if command.words is not None else [*shell, command.text]


def configure(
    config: Mapping[str, Any], instruction: i.AnyInstruction, words: Words
) -> tuple[Config, str]:
    """The new configuration, and the instruction as the history shows it.

    Raises:
        DockerfileError: a variable that must be set is not. BuildFailed: a value that makes no sense.
    """
    changed: Config = dict(config)
    match instruction:
        case i.Env(pairs):
            shown = _env(changed, [(words.one(n), words.one(v)) for n, v in pairs])
        case i.Label(pairs):
            shown = _label(changed, [(words.one(n), words.one(v)) for n, v in pairs])
        case i.Expose(ports):
            shown = _expose(changed, [word for port in ports for word in words.many(port)])
        case i.Volume(paths):
            shown = _volume(changed, [words.one(path) for path in paths])
        case i.User(name):
            changed["User"] = words.one(name)
            shown = f"USER {changed['User']}"
        case i.Workdir(path):
            shown = _workdir(changed, words.one(path))
        case i.StopSignal(signal):
            shown = _stop_signal(changed, words.one(signal))
        case i.Cmd(command):
            changed["Cmd"] = shell_words(command, _shell(config))
            shown = f"CMD {_listed(changed['Cmd'])}"
        case i.Entrypoint(command):
            changed["Entrypoint"] = shell_words(command, _shell(config))
            shown = f"ENTRYPOINT {_listed(changed['Entrypoint'])}"
        case i.Shell(shell):
            changed["Shell"] = list(shell)
            shown = f"SHELL [{' '.join(shell)}]"
        case i.Health(check):
            changed["Healthcheck"] = _health(check)
            shown = f"HEALTHCHECK {_shown_health(check)}"
        case i.OnBuild(trigger):
            changed["OnBuild"] = [*(config.get("OnBuild") or ()), trigger]
            shown = f"ONBUILD {trigger}"
        case _:
            raise BuildFailed(f"{type(instruction).__name__} changes more than a configuration")
    return changed, f"{nop(changed)}{'' if isinstance(instruction, i.Workdir) else ' '}{shown}"


def _shell(config: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(config.get("Shell") or _DEFAULT_SHELL)


def _listed(words: list[str]) -> str:
    """As Go prints a list of quoted strings."""
    return "[" + " ".join(json.dumps(word) for word in words) + "]"


def _env(config: Config, pairs: list[tuple[str, str]]) -> str:
    env = list(config.get("Env") or ())
    places = {str(item).partition("=")[0]: place for place, item in reversed([*enumerate(env)])}
    for name, value in pairs:
        if not name:
            raise BuildFailed("ENV names can not be blank")
        place = places.setdefault(name, len(env))
        env[place : place + 1] = [f"{name}={value}"]
    if sum(map(len, env)) > MAX_ENV:
        raise BuildFailed(f"the environment has over {MAX_ENV} characters")
    config["Env"] = env
    return "ENV " + " ".join(f"{name}={value}" for name, value in pairs)


def _label(config: Config, pairs: list[tuple[str, str]]) -> str:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(pairs)}
    return "LABEL " + " ".join(f"{name}={value}" for name, value in pairs)


def _expose(config: Config, words: list[str]) -> str:
    try:
        ports = exposed_ports(words, published=True)
    except PortError as error:
        raise BuildFailed(f"invalid containerPort: {error}") from error
    config["ExposedPorts"] = (config.get("ExposedPorts") or {}) | {port: {} for port in ports}
    return "EXPOSE " + " ".join(sorted(words))


def _volume(config: Config, paths: list[str]) -> str:
    if not all(path.strip() for path in paths):
        raise BuildFailed("VOLUME specified can not be an empty string")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path.strip(): {} for path in paths}}
    return f"VOLUME [{' '.join(paths)}]"


def _workdir(config: Config, path: str) -> str:
    if not path:
        raise BuildFailed("cannot normalize nothing")
    before = str(config.get("WorkingDir") or "/")
    joined = posixpath.normpath(posixpath.join("/", before, path))
    config["WorkingDir"] = "/" + joined.lstrip("/")
    return f"WORKDIR {config['WorkingDir']}"


def _stop_signal(config: Config, signal: str) -> str:
    try:
        parse_signal(signal)
    except InvalidArgument as fault:
        raise BuildFailed(f"invalid signal: {signal}") from fault
    config["StopSignal"] = signal
    return f"STOPSIGNAL {signal}"


def _health(check: Healthcheck) -> dict[str, Any]:
    fields = {
        "Interval": check.interval_ns,
        "Timeout": check.timeout_ns,
        "StartPeriod": check.start_period_ns,
        "StartInterval": check.start_interval_ns,
        "Retries": check.retries,
    }
    return {"Test": list(check.test), **{name: value for name, value in fields.items() if value}}


def _shown_health(check: Healthcheck) -> str:
    """As Go prints the structure with every field quoted, the number as a character."""
    times = (check.interval_ns, check.timeout_ns, check.start_period_ns, check.start_interval_ns)
    fields = " ".join(f'"{format_duration(time_ns)}"' for time_ns in times)
    return f"&{{{_listed(list(check.test))} {fields} {_rune(check.retries)}}}"


def _rune(number: int) -> str:
    special = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 39: "\\'"}
    if number in special:
        return f"'{special[number]}'"
    if number == ord("\\"):
        return "'\\\\'"
    return f"'{chr(number)}'" if 32 <= number < 127 else f"'\\x{number:02x}'"


KINDS: Final[tuple[type, ...]] = (
    i.Env,
    i.Label,
    i.Expose,
    i.Volume,
    i.User,
    i.StopSignal,
    i.Cmd,
    i.Entrypoint,
    i.Shell,
    i.Health,
    i.OnBuild,
)
"""What :func:`configure` does whole (WORKDIR makes its folder, too)."""
