"""Writing and removing a container's folders. Blocking: called on threads."""

import json
import os
from pathlib import Path
from typing import Any

from sharedrt.drivers import trees


def write_bundle(bundle: Path, exits: Path, config: dict[str, Any]) -> None:
    """Make both folders and write config.json. Raises OSError."""
    bundle.mkdir(parents=True, exist_ok=True)
    exits.mkdir(parents=True, exist_ok=True)
    os.chmod(bundle, 0o700)
    (bundle / "config.json").write_text(json.dumps(config))


def remove_bundle(bundle: Path, exits: Path) -> None:
    """Remove both. Idempotent; the bundle goes last, since it is what says that there was a container."""
    for folder in (exits, bundle):
        trees.remove(str(folder))  # while a conmon of an exec that ends may take its own files away


def read_pid(path: Path) -> int:
    """A pid file's number; 0 when there is none."""
    try:
        text = path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return int(text) if text.isdigit() else 0
