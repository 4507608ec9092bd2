"""One logical line to one instruction."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final

from sharedrt.model.records import Json
from sharedrt.wire.docker_time import parse_duration
from sharedrt.wire.dockerfile import instructions as i
from sharedrt.wire.dockerfile.errors import DockerfileError, SyntaxFault, quoted
from sharedrt.wire.dockerfile.flags import Flags, did_you_mean, take_flags
from sharedrt.wire.dockerfile.heredocs import parse_heredoc
from sharedrt.wire.dockerfile.lines import LogicalLine
from sharedrt.wire.oci_image import Healthcheck

_STAGE_NAME: Final = re.compile(r"[a-z][a-z0-9-_.]*")
_NO_TRIGGERS: Final = frozenset({"ONBUILD", "FROM", "MAINTAINER"})
_COPY_FLAGS: Final = frozenset({"from", "chown", "chmod", "link", "parents", "exclude"})
_ADD_FLAGS: Final = frozenset(
    {"chown", "chmod", "link", "checksum", "exclude", "keep-git-dir", "unpack"}
)
_HEALTH_FLAGS: Final = frozenset(
    {"interval", "timeout", "start-period", "start-interval", "retries"}
)
_FLAGS: Final[Mapping[str, frozenset[str]]] = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount", "network", "security"}),
    "COPY": _COPY_FLAGS,
    "ADD": _ADD_FLAGS,
    "HEALTHCHECK": _HEALTH_FLAGS,
}


def parse_line(line: LogicalLine, escape: str) -> i.Step:
    """Raises DockerfileError, with the line's number."""
    try:
        return i.Step(_parse(line, escape), line.number, line.text)
    except DockerfileError as error:
        raise type(error)(error.reason, error.line or line.number) from error


def _parse(line: LogicalLine, escape: str) -> i.AnyInstruction:
    word, rest = _first_word(line.text)
    name = word.upper()
    parse = _PARSERS.get(name)
    if parse is None:
        raise DockerfileError(f"unknown instruction: {word}{did_you_mean(name, _PARSERS)}")
    flags, rest = take_flags(rest, escape, _FLAGS.get(name, frozenset()))
    if not rest and name != "HEALTHCHECK":
        raise DockerfileError(f"{name} requires {_NEEDS.get(name, 'at least one argument')}")
    return parse(_Source(name, rest, flags, escape, line))


def _first_word(text: str) -> tuple[str, str]:
    parts = text.split(None, 1)
    return parts[0], parts[1].strip() if len(parts) > 1 else ""


_NEEDS: Final = {
    "FROM": "either one or three arguments",
    "MAINTAINER": "exactly one argument",
    "WORKDIR": "exactly one argument",
    "USER": "exactly one argument",
    "STOPSIGNAL": "exactly one argument",
    "COPY": "at least two arguments, but only one was provided. "
    "Destination could not be determined",
    "ADD": "at least two arguments, but only one was provided. Destination could not be determined",
}


class _Source:
    """What a parser gets: the arguments and where they are from."""

    def __init__(self, name: str, rest: str, flags: Flags, escape: str, line: LogicalLine) -> None:
        self.name, self.rest, self.flags = name, rest, flags
        self.escape, self.line = escape, line

    def one(self) -> str:
        """The only argument."""
        words = split_words(self.rest, self.escape)
        if len(words) != 1:
            raise DockerfileError(f"{self.name} requires exactly one argument")
        return words[0]

    def command(self) -> i.Command:
        words = json_words(self.rest)
        return i.Command(self.rest, None if words is None else tuple(words))

    def list(self) -> tuple[str, ...]:
        """A JSON array, or words between spaces."""
        words = json_words(self.rest)
        return tuple(self.rest.split() if words is None else words)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """``a=b "c d"=e``, or the old form ``NAME all the rest``."""
        words = split_words(self.rest, self.escape)
        if "=" not in words[0]:
            parts = self.rest.split(None, 1)
            if len(parts) < 2:
                raise SyntaxFault(f"{self.name} must have two arguments")
            return ((parts[0], parts[1]),)
        pairs = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise SyntaxFault(
                    f"Syntax error - can't find = in {quoted(word)}. Must be of the form: name=value"
                )
            if not key:
                raise DockerfileError(f"{self.name} names can not be blank")
            pairs.append((key, value))
        return tuple(pairs)


def json_words(text: str) -> list[str] | None:
    """The exec form; ``None`` for text that is none. Raises DockerfileError for an array of something else."""
    if not text.startswith("["):
        return None
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None
    words = [item for item in value if isinstance(item, str)]
    if len(words) != len(value):
        raise SyntaxFault("when using JSON array syntax, arrays must be comprised of strings only")
    return words


def split_words(text: str, escape: str) -> list[str]:
    """Words between spaces, quotes and escapes left on."""
    words: list[str] = []
    current: list[str] = []
    quote = ""
    characters = iter(text)
    for character in characters:
        if character == escape and quote != "'":
            current += (character, next(characters, ""))
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if current:
                words.append("".join(current))
                current = []
            continue
        current.append(character)
    if current:
        words.append("".join(current))
    return words


def _from(source: _Source) -> i.From:
    words = source.rest.split()
    if len(words) not in (1, 3):
        raise DockerfileError("FROM requires either one or three arguments")
    name = ""
    if len(words) == 3:
        name = words[2].lower()
        if words[1].upper() != "AS":
            raise DockerfileError("FROM requires either one or three arguments")
        if not _STAGE_NAME.fullmatch(name):
            raise DockerfileError(
                f"invalid name for build stage: {quoted(words[2])}, name can't start with a number or "
                "contain symbols"
            )
    return i.From(words[0], name, source.flags.text("platform"))


def _arg(source: _Source) -> i.Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in split_words(source.rest, source.escape):
        name, equals, value = word.partition("=")
        if not name:
            raise DockerfileError("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return i.Arg(tuple(pairs))


def _run(source: _Source) -> i.Run:
    flags = source.flags
    command = source.command()
    if command.words == ():
        raise DockerfileError("RUN requires at least one argument")
    return i.Run(
        command,
        source.line.heredocs,
        flags.texts("mount"),
        flags.text("network"),
        flags.text("security"),
    )


def _copy(source: _Source) -> i.Copy:
    words = source.list()
    if len(words) < 2:
        raise DockerfileError(f"{source.name} requires {_NEEDS['COPY']}")
    begun = parse_heredoc(words[-1], source.escape)
    if begun is not None and begun.name in {heredoc.name for heredoc in source.line.heredocs}:
        raise DockerfileError(f"{source.name} cannot accept a heredoc as a destination")
    flags = source.flags
    return i.Copy(
        sources=words[:-1],
        target=words[-1],
        add=source.name == "ADD",
        heredocs=source.line.heredocs,
        from_=flags.text("from"),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=flags.boolean("link"),
        parents=flags.boolean("parents"),
        exclude=flags.texts("exclude"),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.boolean("keep-git-dir"),
        unpack=flags.boolean("unpack") if "unpack" in flags.values else None,
    )


def _volume(source: _Source) -> i.Volume:
    paths = tuple(path.strip() for path in source.list())
    if not paths:
        raise DockerfileError("VOLUME requires at least one argument")
    if not all(paths):
        raise DockerfileError("VOLUME specified can not be an empty string")
    return i.Volume(paths)


def _shell(source: _Source) -> i.Shell:
    words = json_words(source.rest)
    if not words:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")
    return i.Shell(tuple(words))


def _health(source: _Source) -> i.Health:
    kind, rest = _first_word(source.rest) if source.rest else ("", "")
    if kind.upper() == "NONE":
        if rest:
            raise DockerfileError("HEALTHCHECK NONE takes no arguments")
        return i.Health(Healthcheck(("NONE",)))
    if kind.upper() != "CMD":
        raise DockerfileError(f"Unknown type {quoted(kind.upper())} in HEALTHCHECK (try CMD)")
    if not rest:
        raise DockerfileError("Missing command after HEALTHCHECK CMD")
    words = json_words(rest)
    test = ("CMD-SHELL", rest) if words is None else ("CMD", *words)
    flags = source.flags
    return i.Health(
        Healthcheck(
            test,
            interval_ns=_duration(flags, "interval"),
            timeout_ns=_duration(flags, "timeout"),
            start_period_ns=_duration(flags, "start-period"),
            start_interval_ns=_duration(flags, "start-interval"),
            retries=_retries(flags),
        )
    )


def _duration(flags: Flags, name: str) -> int:
    text = flags.text(name)
    if not text:
        return 0
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise DockerfileError(str(error)) from error
    if 0 < duration < 1_000_000 or duration < 0:
        raise DockerfileError(f"Interval {quoted(name)} cannot be less than 1ms")
    return duration


def _retries(flags: Flags) -> int:
    text = flags.text("retries")
    if not text:
        return 0
    if not text.isdecimal():
        if text.removeprefix("-").isdecimal():
            raise DockerfileError(f"--retries cannot be negative ({text})")
        raise DockerfileError(f"--retries must be a number, not {quoted(text)}")
    return int(text)


def _on_build(source: _Source) -> i.OnBuild:
    word, _ = _first_word(source.rest)
    if word.upper() in _NO_TRIGGERS:
        if word.upper() == "ONBUILD":
            raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        raise DockerfileError(f"{word.upper()} isn't allowed as an ONBUILD trigger")
    trigger = LogicalLine(source.line.number, source.rest, source.line.heredocs)
    parse_line(trigger, source.escape)
    text = source.rest
    for heredoc in source.line.heredocs:
        text += f"\n{heredoc.content}{heredoc.name}"
    return i.OnBuild(text)


_PARSERS: Final[Mapping[str, Callable[[_Source], i.AnyInstruction]]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": lambda source: i.Cmd(source.command()),
    "COPY": _copy,
    "ENTRYPOINT": lambda source: i.Entrypoint(source.command()),
    "ENV": lambda source: i.Env(source.pairs()),
    "EXPOSE": lambda source: i.Expose(tuple(source.rest.split())),
    "FROM": _from,
    "HEALTHCHECK": _health,
    "LABEL": lambda source: i.Label(source.pairs()),
    "MAINTAINER": lambda source: i.Maintainer(source.rest),
    "ONBUILD": _on_build,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": lambda source: i.StopSignal(source.one()),
    "USER": lambda source: i.User(source.one()),
    "VOLUME": _volume,
    "WORKDIR": lambda source: i.Workdir(source.rest),
}
