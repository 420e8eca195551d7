"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container: made in its directory, bound into it, as Docker does."""

from __future__ import annotations

import os

_LIMIT = 1 << 20
_LOCAL = """127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
fe00::	ip6-localnet
ff00::	ip6-mcastprefix
ff02::1	ip6-allnodes
ff02::2	ip6-allrouters
"""
NAMES = ("hosts", "hostname", "resolv.conf")


def write(directory: str, hostname: str, host_network: bool) -> None:
    """Write the three files into `directory`. With the host's network its own files are what counts. Raises OSError."""
    hosts = _read("/etc/hosts") if host_network else b""
    _write(directory + "/hosts", hosts or (_LOCAL + (f"127.0.1.1\t{hostname}\n" if hostname else "")).encode())
    _write(directory + "/hostname", (hostname + "\n").encode())
    _write(directory + "/resolv.conf", _read("/etc/resolv.conf"))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LIMIT)
    except OSError:
        return b""


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.fchmod(fd, 0o644)  # whoever the container's user is, he reads them
        os.write(fd, data)
    finally:
        os.close(fd)
