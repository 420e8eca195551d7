"""Which process has a port, for the error of somebody who wants it: by /proc/net and /proc/PID/fd. Loaded then alone."""

from __future__ import annotations

import os

_LISTEN, _UNCONNECTED = "0A", "07"  # states of TCP (include/net/tcp_states.h), the latter of UDP's sockets that are bound


def describe(protocol: str, port: int) -> str:
    """Return "is in use by nginx (process 12)", as far as the caller may see that."""
    inodes = _inodes(protocol, port)
    pid = _holder(inodes) if inodes else 0
    if not pid:
        return "is in use by a process of this machine"
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            name = "".join(letter if letter.isprintable() else "?" for letter in file.read().strip())
    except OSError:
        return f"is in use by process {pid}"
    return f"is in use by {name} (process {pid})"


def _inodes(protocol: str, port: int) -> set[str]:
    found = set()
    for name in (protocol, protocol + "6"):
        try:
            with open(f"/proc/net/{name}", encoding="ascii") as file:
                lines = file.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port and words[3] in {_LISTEN, _UNCONNECTED}:
                found.add(f"socket:[{words[9]}]")
    return found


def _holder(inodes: set[str]) -> int:
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            fds = os.listdir(f"/proc/{name}/fd")
        except OSError:
            continue
        for fd in fds:
            try:
                if os.readlink(f"/proc/{name}/fd/{fd}") in inodes:
                    return int(name)
            except OSError:
                continue
    return 0
