"""What the parts of the OCI driver share: settings, the host's abilities, and each container's state."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sharedrt.drivers.children import Finished, run
from sharedrt.drivers.oci.errors import clean
from sharedrt.drivers.oci.handlers import Handlers
from sharedrt.drivers.oci.host import HostFacts
from sharedrt.drivers.oci.layout import Layout
from sharedrt.drivers.oci.notes import Notes
from sharedrt.drivers.oci.ports import Cgroups
from sharedrt.drivers.oci.procs import alive
from sharedrt.drivers.oci.settings import OciSettings
from sharedrt.drivers.oci.state import BundleState, load_state
from sharedrt.model.faults import FailedPrecondition, Internal, NotFound
from sharedrt.model.ids import ContainerKey

_COMMAND_TIMEOUT_S: Final = 120.0


class Context:
    """Shared by the driver's parts. States are read from the bundles once and kept in memory."""

    def __init__(
        self, settings: OciSettings, cgroups: Cgroups, facts: HostFacts, handlers: Handlers
    ) -> None:
        self.settings, self.cgroups, self.facts, self.handlers = settings, cgroups, facts, handlers
        self.layout = Layout.of(settings)
        self.notes = Notes()
        self._states: dict[ContainerKey, BundleState] = {}

    @property
    def systemd(self) -> bool:
        return self.cgroups.driver == "systemd"

    @property
    def parent_cgroup(self) -> str:
        """The configured parent, as clients would write it."""
        return self.settings.cgroup_parent or ("sharedrt.slice" if self.systemd else "/sharedrt")

    @property
    def conmon_cgroup(self) -> str:
        """Where conmons live, apart from containers and daemon. With systemd they stay in the daemon's
        unit, which has ``KillMode=process``: systemd wants no one else to move its processes."""
        if self.systemd:
            return ""
        return f"{self.cgroups.parent_path(self.parent_cgroup).rstrip('/')}/conmon"

    def find_state(self, key: ContainerKey) -> BundleState | None:
        state = self._states.get(key)
        if state is None:
            state = load_state(self.layout.bundle(key))
            if state is not None:
                self._states[key] = state
        return state

    def state(self, key: ContainerKey) -> BundleState:
        """Raises NotFound: no such container was created here."""
        state = self.find_state(key)
        if state is None:
            raise NotFound("container", key.id)
        return state

    def running(self, key: ContainerKey) -> BundleState:
        """The state of a started container. Raises NotFound, FailedPrecondition."""
        state = self.state(key)
        if not state.started or not alive(state.process):
            raise FailedPrecondition("container", key.id, "is not running")
        if state.paused:
            raise FailedPrecondition("container", key.id, "is paused")
        return state

    def keep(self, key: ContainerKey, state: BundleState) -> None:
        """Save a state, on disk and in memory."""
        state.save(self.layout.bundle(key))
        self._states[key] = state

    def forget(self, key: ContainerKey) -> None:
        self._states.pop(key, None)

    async def runtime(
        self, state: BundleState, *words: str, env: Mapping[str, str] | None = None
    ) -> Finished:
        """Run the container's OCI runtime, with ``env`` over its usual environment.

        Raises:
            FailedPrecondition, DeadlineExceeded.
        """
        systemd = ["--systemd-cgroup"] if self.systemd else []
        argv = [state.runtime, *systemd, "--root", state.runtime_root, *words]
        return await run(argv, timeout_s=_COMMAND_TIMEOUT_S, env=env)

    async def must(self, state: BundleState, *words: str) -> None:
        """The same, where failing is nobody's fault but the host's. Raises Internal."""
        finished = await self.runtime(state, *words)
        if finished.exit_code:
            raise Internal(f"{Path(state.runtime).name} {words[0]}", clean(finished.output))
