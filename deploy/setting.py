"""Prints one setting of a sharedrt configuration: ``setting.py FILE daemon.run_dir`` or ``socket.DOOR``."""

import sys
from pathlib import Path

from sharedrt.config import Config, load_config


def main() -> None:
    path, name = Path(sys.argv[1]), sys.argv[2]
    config = load_config(path) if path.exists() else Config()
    table, key = name.split(".", 1)
    value = config.socket(key) if table == "socket" else getattr(getattr(config, table), key)
    print(value)


main()
