"""The one door to system calls that Python's `os` does not have, and the one way their failures are raised.

Everything goes through syscall(2) of the C library with six machine words, so one foreign function serves all calls.
`_ctypes`, the accelerator under `ctypes`, is used directly: `import ctypes` costs 2-3 ms, this 0.6.
"""

from __future__ import annotations

import os
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    Array,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Int(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Pointer(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _String(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Char(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Syscall(CFuncPtr):
    # PYTHONAPI keeps the interpreter's lock for the length of the call: right for calls that do not block, and needed
    # for those that return twice (clone3), since the child has no other thread that could hand the lock back.
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO | FUNCFLAG_PYTHONAPI
    _restype_ = _Long


class _PythonCall(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI
    _restype_ = None


_self = dlopen(None, 0)  # type: ignore[arg-type]  # NULL: this program itself
_syscall: Any = _Syscall(dlsym(_self, "syscall"))
_syscall.argtypes = (_Long, _Pointer, _Pointer, _Pointer, _Pointer, _Pointer, _Pointer)

before_fork: Any = _PythonCall(dlsym(_self, "PyOS_BeforeFork"))
after_fork_parent: Any = _PythonCall(dlsym(_self, "PyOS_AfterFork_Parent"))
after_fork_child: Any = _PythonCall(dlsym(_self, "PyOS_AfterFork_Child"))


def syscall(number: int, a: Any = 0, b: Any = 0, c: Any = 0, d: Any = 0, e: Any = 0, f: Any = 0) -> int:
    """Call syscall(2). Arguments are ints, bytes (a pointer to them), None (NULL) or a `buffer`. -1 means: see errno."""
    return _syscall(number, a, b, c, d, e, f)  # type: ignore[no-any-return]


def c_int_function(name: str, arguments: int) -> Any:
    """Return the C library's function `name`, which takes so many ints and returns one. Raises OSError where there is none."""
    kind = type("Function", (CFuncPtr,), {"_flags_": FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI, "_restype_": _Int})
    found: Any = kind(dlsym(_self, name))
    found.argtypes = (_Int,) * arguments
    return found


def failure(attempt: str) -> OSError:
    """Return the OSError of errno with `attempt` (the call and its arguments) before the reason.

    It is built so that Python picks the subclass: `except FileNotFoundError` keeps working.
    """
    number = get_errno()
    return OSError(number, f"{attempt}: {os.strerror(number)}")


def checked(attempt: str, number: int, *args: Any) -> int:
    """Call syscall(2) and return its result; raise `failure(attempt)` where it is -1."""
    result = syscall(number, *args)
    if result == -1:
        raise failure(attempt)
    return result


def buffer(size: int) -> Any:
    """Return `size` zeroed bytes that the kernel may write to; read them with `.raw`."""
    if size not in _buffers:
        _buffers[size] = type("Buffer", (Array,), {"_type_": _Char, "_length_": size})
    return _buffers[size]()


_buffers: dict[int, Any] = {}  # classes by their size: making one takes longer than the call it is for


def pinned(data: bytes) -> tuple[Any, int]:
    """Return a copy of `data` that stays where it is, and its address, for structures that hold pointers."""
    copy = buffer(len(data))
    copy.raw = data
    return copy, addressof(copy)


def string_array(strings: list[bytes]) -> Any:
    """Return a NULL-terminated array of pointers to `strings` (char *const[], as of execve(2)); it keeps them alive."""
    kind = type("Strings", (Array,), {"_type_": _String, "_length_": len(strings) + 1})
    return kind(*strings, None)


def path_bytes(path: str | bytes) -> bytes:
    """Return `path` as the kernel reads it; a NUL inside would silently cut it, so it is refused."""
    raw = path if type(path) is bytes else os.fsencode(path)
    if b"\0" in raw:
        raise ValueError(f"a path with a NUL byte: {path!r}")
    return raw
