"""A process that dies of the first socket that it opens, in Python or in native code (Linux)."""

import ctypes
import platform
import struct

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}.get(platform.machine()) if platform.system() == "Linux" else None
"""The number of `socket` among the calls of the kernel, None where it cannot be forbidden."""

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000


def seal() -> None:
    """Have the kernel kill this process (SIGSYS) at the first socket, in whichever thread from now on."""
    steps = [
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 1, SOCKET_CALL),  # if it is this one, go on, else leave out one step
        (0x06, 0, 0, _KILL_PROCESS),
        (0x06, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((_NO_NEW_PRIVILEGES, 1, 0, 0, 0), (_SECCOMP, _FILTER, program, 0, 0)):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "the kernel takes no filter")
