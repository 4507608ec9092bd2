"""What all commands share: the daemon's address, the namespace, and how to print."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sharedrt.cli.client import AdminClient
from sharedrt.cli.errors import USAGE, CliError

if TYPE_CHECKING:
    from sharedrt.config import Config

ADDRESS_VARIABLE: Final = "SHAREDRT_ADMIN_SOCKET"
DEFAULT_CONFIG: Final = Path("/etc/sharedrt/config.toml")

NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Only this namespace (default: all)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Session:
    """The options given before the command; those after it win."""

    address: Path | None = None
    namespace: str = ""
    json: bool = False
    config: Path | None = None

    def refined(self, namespace: str | None, json: bool) -> "Session":
        return replace(self, namespace=namespace or self.namespace, json=json or self.json)

    @property
    def client(self) -> AdminClient:
        return AdminClient(self.admin_socket())

    @property
    def query(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    def one_namespace(self) -> str:
        """For commands that change something. Raises CliError when none was named."""
        if not self.namespace:
            raise CliError("name a namespace: -n k8s.io, -n moby ...", USAGE)
        return self.namespace

    def admin_socket(self) -> Path:
        """``--address``, the environment, the configuration, or the default, in this order."""
        if self.address is not None:
            return self.address
        if path := os.environ.get(ADDRESS_VARIABLE):
            return Path(path)
        if self.config is None and not DEFAULT_CONFIG.exists():
            return Path("/run/sharedrt/admin.sock")
        return self.configuration().socket("admin")

    def configuration(self) -> "Config":
        """The daemon's, as far as we know where it is. Raises CliError for one that cannot be read."""
        from sharedrt.config import Config, load_config
        from sharedrt.model.faults import Fault

        path = self.config or DEFAULT_CONFIG
        if self.config is None and not path.exists():
            return Config()
        try:
            return load_config(path)
        except Fault as fault:
            raise CliError(str(fault)) from fault


def session_of(context: typer.Context, namespace: str | None = None, json: bool = False) -> Session:
    """The session of a command, with its own options."""
    base = context.find_object(Session) or Session()
    return base.refined(namespace, json)
