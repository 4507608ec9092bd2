"""libnftables in-process: commands as ``nft -f`` reads them, one netlink transaction a call, no process.

A context costs 0.1 ms and leaks nothing, so each call makes its own: libnftables caches what it has seen of the
ruleset in it, and others change the ruleset too.
"""

import ctypes
import json
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_uint32, c_void_p
from typing import Any, Final

from sharedrt.model.faults import FailedPrecondition

_LIBRARY: Final = "libnftables.so.1"
_OUTPUT_JSON: Final = 1 << 4
_OUTPUT_NUMERIC_PROTOCOLS: Final = 1 << 7
"""Names come from /etc/protocols, which small machines lack."""

_FUNCTIONS: Final[dict[str, tuple[Any, Sequence[Any]]]] = {
    "nft_ctx_new": (c_void_p, (c_uint32,)),
    "nft_ctx_free": (None, (c_void_p,)),
    "nft_ctx_buffer_output": (c_int, (c_void_p,)),
    "nft_ctx_buffer_error": (c_int, (c_void_p,)),
    "nft_ctx_get_output_buffer": (c_char_p, (c_void_p,)),
    "nft_ctx_get_error_buffer": (c_char_p, (c_void_p,)),
    "nft_ctx_output_set_flags": (None, (c_void_p, c_int)),
    "nft_run_cmd_from_buffer": (c_int, (c_void_p, c_char_p)),
}


class NftError(Exception):
    """The kernel or the parser refused; nothing of the transaction has happened. Holds the first line of why."""


class Nftables:
    """Runs commands in the network namespace of the calling thread. Blocking.

    Raises:
        FailedPrecondition: the library is not installed.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise FailedPrecondition(_LIBRARY, "", "missing; package libnftables1") from error
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments

    def run(self, commands: str) -> None:
        """Apply ``commands``, all or none. Raises NftError."""
        self._run(commands, 0)

    def query(self, command: str) -> Sequence[dict[str, Any]]:
        """The objects that a ``list`` command shows, as libnftables-json(5) has them. Raises NftError."""
        text = self._run(command, _OUTPUT_JSON | _OUTPUT_NUMERIC_PROTOCOLS)
        objects: list[dict[str, Any]] = json.loads(text)["nftables"] if text else []
        return objects

    def _run(self, commands: str, flags: int) -> str:
        nft = self._library
        context = nft.nft_ctx_new(0)
        if not context:
            raise MemoryError("nft_ctx_new")
        try:
            nft.nft_ctx_buffer_output(context)
            nft.nft_ctx_buffer_error(context)
            nft.nft_ctx_output_set_flags(context, flags)
            if nft.nft_run_cmd_from_buffer(context, commands.encode()) != 0:
                words = nft.nft_ctx_get_error_buffer(context).decode(errors="replace")
                raise NftError(words.partition("\n")[0] or "refused without a word")
            output: bytes = nft.nft_ctx_get_output_buffer(context)
            return output.decode()
        finally:
            nft.nft_ctx_free(context)
