"""Pulls an image, and waits to be killed: run by test_crash.py as a process of its own."""

import asyncio
import sys
from pathlib import Path

from tests.services.images.rig import A, Rig


async def main() -> None:
    rig = Rig(Path(sys.argv[1]))
    await rig.start(stall_timeout_s=60)
    await (await rig.within(A)).pull(sys.argv[2])
    print("pulled", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
