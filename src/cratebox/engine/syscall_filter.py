"""The filter of system calls of a container's processes: the default one, a profile of the user's, or none."""

from __future__ import annotations

from cratebox.engine.config import ContainerConfig
from cratebox.paths import Paths, private_directory
from cratebox.runtime import seccomp


def filter_of(paths: Paths, config: ContainerConfig, capabilities: tuple[str, ...]) -> tuple[bytes, int] | None:
    """Return the compiled filter and its flags, None for none. What a profile allows depends on the container's `capabilities`.

    Raises InvalidValue, Unsupported, StorageError.
    """
    if config.seccomp == "unconfined" or (config.privileged and config.seccomp == "default"):
        return None
    names = frozenset(capabilities)
    private_directory(paths.root)
    if config.seccomp == "default":
        return seccomp.default_filter(paths.cache, names)
    return seccomp.cached_filter(paths.cache, seccomp.load_profile(config.seccomp, names))
