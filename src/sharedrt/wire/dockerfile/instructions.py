"""Each kind of instruction: its arguments, checked; variables in them are not substituted yet."""

from dataclasses import dataclass
from typing import TypeAlias

from sharedrt.wire.dockerfile.heredocs import Heredoc
from sharedrt.wire.oci_image import Healthcheck


@dataclass(frozen=True, slots=True)
class Command:
    """``words``: the exec form; else ``text`` is the shell form."""

    text: str
    words: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class From:
    """``name``: of the stage that it begins, lower case."""

    image: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class Arg:
    """``None``: no default."""

    pairs: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Env:
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Label:
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Maintainer:
    name: str


@dataclass(frozen=True, slots=True)
class Run:
    """``mounts`` are the flags' values, to be parsed when their variables are known."""

    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = ""
    security: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """COPY, and ADD with ``add``. A source may be a here-document's beginning: it is in ``heredocs``, by name."""

    sources: tuple[str, ...]
    target: str
    add: bool = False
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool = False
    unpack: bool | None = None
    """ADD: whether archives are unpacked; ``None``: local ones are, downloaded ones are not."""


@dataclass(frozen=True, slots=True)
class Cmd:
    command: Command


@dataclass(frozen=True, slots=True)
class Entrypoint:
    command: Command


@dataclass(frozen=True, slots=True)
class Shell:
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Expose:
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class User:
    name: str


@dataclass(frozen=True, slots=True)
class Workdir:
    path: str


@dataclass(frozen=True, slots=True)
class StopSignal:
    signal: str


@dataclass(frozen=True, slots=True)
class Health:
    """``check.test`` is whole: ``NONE``, ``CMD`` and words, or ``CMD-SHELL`` and text."""

    check: Healthcheck


@dataclass(frozen=True, slots=True)
class OnBuild:
    """The trigger as it is written; it was checked when this was parsed."""

    trigger: str


AnyInstruction: TypeAlias = (
    From
    | Arg
    | Env
    | Label
    | Maintainer
    | Run
    | Copy
    | Cmd
    | Entrypoint
    | Shell
    | Expose
    | Volume
    | User
    | Workdir
    | StopSignal
    | Health
    | OnBuild
)


@dataclass(frozen=True, slots=True)
class Step:
    """An instruction where it stands; ``text`` is its logical line."""

    instruction: AnyInstruction
    line: int
    text: str
