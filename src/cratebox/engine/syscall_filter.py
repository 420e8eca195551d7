"""The filter of system calls of a container's processes: the default one, a profile of the user's, or none."""

from __future__ import annotations

import os

from cratebox.engine.config import ContainerConfig
from cratebox.errors import InvalidValue, StorageError, full_hint
from cratebox.paths import Paths, private_directory
from cratebox.runtime import seccomp

_KEPT = "/seccomp.json"  # beside the container's record: the profile of its last start


def filter_of(
    paths: Paths, config: ContainerConfig, capabilities: tuple[str, ...], where: str, starts: bool = False
) -> tuple[bytes, int] | None:
    """Return the compiled filter and its flags, None for none. What a profile allows depends on the container's `capabilities`.

    A profile of the user's is read when the container `starts`, and kept in its directory `where`: whatever becomes of the file
    meanwhile, who joins the container later has the filter of its first process.
    Raises InvalidValue, Unsupported, StorageError.
    """
    if config.seccomp == "unconfined" or (config.privileged and config.seccomp == "default"):
        return None
    names = frozenset(capabilities)
    private_directory(paths.root)
    if config.seccomp == "default":
        return seccomp.default_filter(paths.cache, names)
    raw = _read_and_keep(config.seccomp, where + _KEPT) if starts else _kept(config.seccomp, where + _KEPT)
    return seccomp.cached_filter(paths.cache, seccomp.parse_profile(raw, config.seccomp, names))


def _read_and_keep(path: str, kept: str) -> bytes:
    raw = seccomp.read_profile(path)
    temporary = f"{kept}.{os.getpid()}.new"
    try:
        with open(temporary, "wb") as file:
            file.write(raw)
        os.rename(temporary, kept)
    except OSError as error:
        raise StorageError(f"cannot write {kept}: {error.strerror}", full_hint(error)) from None
    return raw


def _kept(path: str, kept: str) -> bytes:
    try:
        return seccomp.read_profile(kept)
    except InvalidValue:  # gone, or it was started before crate kept them
        return seccomp.read_profile(path)
