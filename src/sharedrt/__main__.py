"""``sharedrtd``: reads the configuration and runs the daemon until a signal ends it."""

import argparse
import gc
import sys
from pathlib import Path

from sharedrt import __version__
from sharedrt.config import Config, load_config
from sharedrt.model.faults import Fault

DEFAULT_CONFIG = Path("/etc/sharedrt/config.toml")


def main(arguments: list[str] | None = None) -> int:
    """Exit codes: 0 after a clean stop, 1 when it cannot run, 2 for a bad configuration."""
    parser = argparse.ArgumentParser(
        prog="sharedrtd", description="A container runtime daemon for a kubelet and Docker clients."
    )
    parser.add_argument("--config", type=Path, help=f"TOML file (default: {DEFAULT_CONFIG})")
    parser.add_argument("--check-config", action="store_true", help="read it and exit")
    parser.add_argument(
        "--purge",
        action="store_true",
        help="with the daemon stopped: remove all pods, containers, networks and files of this configuration",
    )
    parser.add_argument("--version", action="version", version=f"sharedrtd {__version__}")
    options = parser.parse_args(arguments)
    try:
        config = _read(options.config)
    except Fault as fault:
        print(f"sharedrtd: {fault}", file=sys.stderr)
        return 2
    if options.check_config:
        return 0
    _import_sparingly()
    # Only now: these imports are most of the start-up time.
    from sharedrt.daemon import purge, run

    try:
        (purge if options.purge else run)(config)
    except Fault as fault:
        print(f"sharedrtd: {fault}", file=sys.stderr)
        return 1
    return 0


def _import_sparingly() -> None:
    """What imports make stays, so the collector would look at it in vain until the daemon is ready. And rich,
    which structlog takes up wherever it finds it, is for the CLI: 3 MiB here, for tracebacks that we do not use."""
    gc.disable()
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # an ImportError, by the import system's rule


def _read(path: Path | None) -> Config:
    if path is None:
        return load_config(DEFAULT_CONFIG) if DEFAULT_CONFIG.exists() else Config()
    return load_config(path)


if __name__ == "__main__":
    sys.exit(main())
