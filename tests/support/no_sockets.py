"""No socket of the internet in this process and its children: the kernel ends who makes one, in C as well as in Python.

A filter of system calls (seccomp) on Linux; elsewhere `AVAILABLE` is False. A hook of Python sees nothing of what a
library does in C.
"""

import ctypes
import platform
import struct
import sys

#: Number of the system call socket() and of the architecture, by the machine's name.
_MACHINES = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}
AVAILABLE = sys.platform == "linux" and platform.machine() in _MACHINES
_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_INET, _INET6 = 2, 10


def forbid_sockets() -> None:
    """From now on socket(AF_INET) and socket(AF_INET6) end the process with SIGSYS; it cannot be undone."""
    socket, machine = _MACHINES[platform.machine()]
    rules = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _ALLOW),  # another architecture: not looked at
             (_LOAD, 0, 0, 0), (_EQUAL, 1, 0, socket), (_RETURN, 0, 0, _ALLOW),
             (_LOAD, 0, 0, 16), (_EQUAL, 1, 0, _INET), (_EQUAL, 0, 1, _INET6), (_RETURN, 0, 0, _KILL),
             (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    program = Program(len(rules), ctypes.cast(code, ctypes.c_void_p))
    call = ctypes.CDLL(None, use_errno=True).prctl
    if call(38, 1, 0, 0, 0) or call(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls can be set here")
