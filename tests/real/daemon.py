"""A real daemon in a temporary root, with names of its own for all that the host shares.

Two of them run side by side, and beside any other on the machine: bridges, subnets, the nftables
table, the cgroup parent and all sockets carry the run's number.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.real.leaks import look

START_TIMEOUT_S = 90.0
"""A fresh clone has to be compiled first, maybe on a slow machine."""
used: "list[DaemonUnderTest]" = []
"""All of this run, for the look at what is left at its end."""
_held: list[int] = []
"""Descriptors of the locks on the numbers in use; the kernel lets go of them when this process ends."""


def _free_number() -> int:
    """A number that no other run on this machine has, nor has left a bridge of."""
    base = os.getpid() % 150
    for step in range(150):
        number = (base + step) % 150 + 100
        lock = os.open(
            f"/tmp/sharedrt-test-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if _has_traces(number):
            os.close(lock)
            continue
        _held.append(lock)
        return number
    raise RuntimeError("no free run number")


def _has_traces(number: int) -> bool:
    """Whether another run has left something under this number: that must not count as ours."""
    name = f"srt{number}"
    places = (("/sys/class/net", name), ("/sys/fs/cgroup", f"{name}*"), ("/tmp", f"{name}-*"))
    below = ("/sys/fs/cgroup", f"*/{name}*")
    return any(any(Path(folder).glob(pattern)) for folder, pattern in (*places, below))


def toml_value(value: Any) -> str:
    """A TOML literal of the few kinds that the configuration has."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    return json.dumps(value if not isinstance(value, Path) else str(value))


@dataclass
class DaemonUnderTest:
    """One daemon. ``settings`` are tables of the configuration, over the defaults of a test."""

    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    number: int = field(default_factory=_free_number)
    process: "asyncio.subprocess.Process | None" = None
    netns: Path | None = None
    """The network namespace that is its host's."""

    def __post_init__(self) -> None:
        # A short path: sockets have 107 bytes.
        self.root = Path(tempfile.mkdtemp(prefix=f"srt{self.number}-", dir="/tmp"))
        # As /var/lib and /run are: a container's user namespace has to get to its root file system.
        self.root.chmod(0o755)
        self.log_path = self.root / "daemon.log"
        self.certs_d = self.root / "certs.d"
        self.cni_conf = self.root / "cni"
        self.certs_d.mkdir()
        self.cni_conf.mkdir()
        self.config_path = self.root / "config.toml"
        self.config_path.write_text(self._config())
        used.append(self)

    def _config(self) -> str:
        n = self.number
        tables: dict[str, dict[str, Any]] = {
            "daemon": {
                "state_dir": self.root / "state",
                "run_dir": self.root / "run",
                "log_level": "debug",
                "log_format": "json",
            },
            "docker": {"group": ""},
            "registry": {"config_dirs": [str(self.certs_d)], "stall_timeout_s": 5.0},
            "runtime": {
                "cgroup_parent": f"srt{n}",
                "default_handler": default_handler(),
                "cdi_dirs": [str(self.root / "cdi")],
                "handlers": {"crun": os.environ.get("SHAREDRT_TEST_CRUN", "crun"), "runc": "runc"},
                "criu": criu(),
            },
            "cni": {"conf_dir": self.cni_conf},
            "network": {
                "bridge": f"srt{n}",
                "subnet": f"172.31.{n}.0/24",
                "pod_bridge": f"srp{n}",
                "pod_subnet": f"10.89.{n}.0/24",
                "nft_table": f"srt{n}",
                "pools": [f"10.199.{n}.{block}/27" for block in range(0, 256, 32)],
                "interface_prefix": f"s{n}",
            },
        }
        for name, table in self.settings.items():
            tables.setdefault(name, {}).update(table)
        lines = []
        for name, table in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {toml_value(value)}" for key, value in table.items()]
        return "\n".join(lines) + "\n"

    @property
    def _command(self) -> Sequence[str]:
        inside = ("nsenter", f"--net={self.netns}") if self.netns else ()
        return (*inside, sys.executable, "-m", "sharedrt", "--config", str(self.config_path))

    def socket(self, door: str) -> Path:
        return self.root / "run" / f"{door}.sock"

    @property
    def docker_host(self) -> str:
        return f"unix://{self.socket('docker')}"

    @property
    def environment(self) -> dict[str, str]:
        """For the docker CLI: our socket, and a configuration folder of its own."""
        return {
            **os.environ,
            "DOCKER_HOST": self.docker_host,
            "DOCKER_CONFIG": str(self.root / "docker-config"),
            "SHAREDRT_ADMIN_SOCKET": str(self.socket("admin")),
        }

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises AssertionError with its log otherwise."""
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await self._ready():
            assert self.process.returncode is None, f"the daemon ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"the daemon is not ready:\n{self.log()}"
            await asyncio.sleep(0.02)

    async def _ready(self) -> bool:
        connector = aiohttp.UnixConnector(str(self.socket("admin")))
        try:
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.get("http://admin/readyz") as response,
            ):
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.process.wait()

    async def kill9(self) -> None:
        """SIGKILL, as a crash."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def marks(self) -> tuple[str, ...]:
        """Words that only its own things on the host carry in their names."""
        n = self.number
        return (f"srt{n}", f"srp{n}", f"s{n}", self.root.name)

    def cgroup_parent(self, *names: str) -> str:
        """A path below its own cgroup, of folders or of slices: whichever its driver makes on this host."""
        parts = [f"srt{self.number}", *names]
        if not Path("/run/systemd/system").is_dir():
            return "/" + "/".join(parts)
        return "".join(f"/{'-'.join(parts[: n + 1])}.slice" for n in range(len(parts)))

    def docker_cgroup_parent(self, *names: str) -> str:
        """The same for ``--cgroup-parent``: dockerd takes a slice by its name, and joins a path to the root."""
        path = self.cgroup_parent(*names)
        return path.rpartition("/")[2] if path.endswith(".slice") else path.lstrip("/")

    def log(self) -> str:
        """Its end."""
        return self.log_path.read_text(errors="replace")[-20_000:]

    async def docker(
        self, *arguments: str, stdin: bytes | None = None, check: bool = True, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the real docker CLI against it."""
        return await self.run("docker", *arguments, stdin=stdin, check=check, timeout_s=timeout_s)

    async def ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the real ctr against it."""
        address = str(self.socket("containerd"))
        return await self.run("ctr", "--address", address, *arguments, check=check)

    async def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the sharedrt CLI against it."""
        program = "import sys; from sharedrt.cli import main; sys.exit(main())"
        return await self.run(sys.executable, "-c", program, *arguments, check=check)

    async def run(
        self, *command: str, stdin: bytes | None = None, check: bool = True, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(
                f"{' '.join(command)} hung\n{out.decode()}\n{err.decode()}\n{self.log()}"
            ) from None
        assert process.returncode is not None
        done = subprocess.CompletedProcess(
            command, process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )
        assert not check or done.returncode == 0, (
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}\n"
            f"--- daemon ---\n{self.log()[-4000:]}"
        )
        return done

    async def purge(self) -> None:
        """Stop it, remove all it has made, and end what a failed test may have left running."""
        if self.process is not None and self.process.returncode is None:
            await self.stop()
        await asyncio.to_thread(
            subprocess.run,
            [*self._command, "--purge"],
            check=True,
            capture_output=True,
            timeout=110,
        )
        shutil.rmtree(self.root)


@contextlib.asynccontextmanager
async def running_daemon(
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[DaemonUnderTest]:
    """A started daemon, purged at the end whatever happened."""
    daemon = DaemonUnderTest(settings or {})
    try:
        await daemon.start()
        yield daemon
    finally:
        await daemon.purge()
    left = look(daemon.marks).found()
    assert not left, f"left behind: {left}"


def default_handler() -> str:
    """The OCI runtime that the tests' default daemon shall use (``SHAREDRT_TEST_HANDLER``)."""
    return os.environ.get("SHAREDRT_TEST_HANDLER", "")


def criu() -> str:
    """The CRIU that test daemons use (``SHAREDRT_TEST_CRIU``): a distribution's may not fit a newer kernel."""
    return os.environ.get("SHAREDRT_TEST_CRIU", "criu")
