"""The dialogue of the parent and the container's first process, from clone(2) to execve(2).

        parent (create.py)                              init (init.py)
        ------------------                              --------------
        clone ----------------------------------------> in its new namespaces
        writes the ID maps of a new user namespace
        MAPPED ---------------------------------------> becomes root of it, mounts
                 <------------------------------------- NAMESPACES + those of user and network, where they are asked for
        makes its cgroup meanwhile
        CGROUP + where, what to write to -------------> joins it, mounts the rest: cgroups,
                                                        devices
                 <------------------------------------- CONSOLE + the terminal's master, if there is one
                 <------------------------------------- HOOKS, if there are any of these
        hooks: prestart, createRuntime
        HOOKED ---------------------------------------> hooks: createContainer; masks, pivot_root,
                                                        identity, capabilities, finds its program
                 <------------------------------------- LISTENER + the descriptor that a filter's notifications come from,
                                                        where it has any: loaded now, before the gate
                 <------------------------------------- READY                    ("created")
        KEEP (where another process will start it) ---> waits at the gate; dies where its parent died before KEEP,
                                                        for then nothing that was written down leads to it
        start: one byte through the gate -------------> hooks: startContainer; filter of system calls, execve
                 <------------------------------------- the report ends: the program runs  ("running")
                 <------------------------------------- or FAILED + what and why, or the stub's 8 bytes
        hooks: poststart; and poststop, once all is deleted

The gate and the report are this same socket when one process creates and starts, and two FIFOs beside the state file
when another process, days later, starts what was created.
"""

from __future__ import annotations

import os

from cratebox.errors import CannotInvoke, CommandNotFound, CrateError, InvalidValue, OverlayRefused, RuntimeFailure, Unsupported

MAPPED, CGROUP, READY, CONSOLE, LISTENER, FAILED, KEEP, GO = b"M", b"J", b"R", b"C", b"L", b"F", b"K", b"G"
HOOKS, HOOKED, NAMESPACES = b"H", b"D", b"N"
JOINED, UNSHARED = b"P", b"U"  # see enter.py and joining.py

# What an error is called on the wire; anything else arrives as RuntimeFailure.
_KINDS: dict[str, type[CrateError]] = {
    kind.__name__: kind for kind in (CannotInvoke, CommandNotFound, InvalidValue, OverlayRefused, RuntimeFailure, Unsupported)
}
_STUB_SECCOMP, _STUB_LABEL = 1, 3


def pack_error(error: CrateError) -> bytes:
    """Return the message that carries `error` from init to its parent."""
    return FAILED + "\0".join((type(error).__name__, error.message, error.hint or "")).encode(errors="replace")[:60000]


def unpack_error(message: bytes) -> CrateError:
    """Return the error that a FAILED message carries."""
    name, text, hint = message[1:].decode(errors="replace").split("\0", 2)
    return _KINDS.get(name, RuntimeFailure)(text, hint or None)


def pack_cgroup(directories: dict[str, str]) -> bytes:
    """Return the message that tells init its cgroup's directories, by the hierarchy's controllers; descriptors come along."""
    return CGROUP + "\0".join(word for pair in directories.items() for word in pair).encode(errors="surrogateescape")


def unpack_cgroup(message: bytes) -> dict[str, str]:
    """Return the directories that a CGROUP message names."""
    words = message[1:].decode(errors="surrogateescape").split("\0") if message[1:] else []
    return dict(zip(words[::2], words[1::2], strict=True))


def exec_error(command: str, number: int) -> CrateError:
    """Return the error of an execve(2) of `command` that failed with errno `number`, with the exit code Docker gives."""
    reason = os.strerror(number).lower()
    hints = {
        8: "it is no program for this machine: another architecture, or a script without a first line #!",
        2: "it is there, but what runs it (the interpreter of #!, or the dynamic loader) is not in the image",
    }
    kind = CommandNotFound if number in (2, 20) else CannotInvoke
    return kind(f"exec: {ascii(command)[1:-1]}: {reason}", hints.get(number))


def read_report(message: bytes, command: str) -> CrateError | None:
    """Return what went wrong after the gate: None for the end of the stream, which is a program that runs."""
    if not message:
        return None
    if message[:1] == FAILED:
        return unpack_error(message)
    step, number = (int.from_bytes(message[at : at + 4], "little", signed=True) for at in (0, 4))
    if step == _STUB_SECCOMP:
        return RuntimeFailure(f"seccomp filter refused by the kernel: {os.strerror(number)}")
    if step == _STUB_LABEL:
        return RuntimeFailure(
            f"cannot set the label of the process: {os.strerror(number).lower()}",
            "process.apparmorProfile must be loaded, and process.selinuxLabel one that the policy lets the caller give",
        )
    return exec_error(command, number)
