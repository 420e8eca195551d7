"""Who the container's process is and what it may do: IDs, capabilities, limits, the filter of system calls.

The order is the kernel's: limits while CAP_SYS_RESOURCE is there, the bounding set while CAP_SETPCAP is, IDs with the
permitted set kept over them, and the last drop after the filter, which needs CAP_SYS_ADMIN or no_new_privs.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import caps, const, process
from cratebox.linux.procfs import read_text
from cratebox.runtime.spec import Capabilities, Process, Rlimit

RLIMITS = {
    f"RLIMIT_{name}": number
    for number, name in enumerate(
        ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
         "MSGQUEUE", "NICE", "RTPRIO", "RTTIME")
    )
}  # fmt: skip


def set_limits(limits: tuple[Rlimit, ...]) -> None:
    """Set the resource limits (getrlimit(2)), which `validate` has let pass. Raises RuntimeFailure where one is refused."""
    if not limits:
        return
    import resource  # whoever forked us has loaded it: see create.py

    for limit in limits:
        number = RLIMITS[limit.type]
        soft, hard = (-1 if one == 2**64 - 1 else one for one in (limit.soft, limit.hard))
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError, OverflowError) as error:
            _soft, most = resource.getrlimit(number)
            raise RuntimeFailure(
                f"cannot set {limit.type} to {limit.soft}:{limit.hard}: {getattr(error, 'strerror', None) or error}",
                f"without CAP_SYS_RESOURCE a hard limit cannot go over its present value, {most}",
            ) from None


class Privileges:
    """The way down from all capabilities to those of the spec, in the steps that init takes."""

    def __init__(self, wanted: Capabilities | None, last_cap: int) -> None:
        self.last = last_cap
        own_permitted = caps.get()[1]
        wanted = wanted or Capabilities()
        # "All capabilities" means those that the caller may give: asking the kernel for more is an error.
        self.bounding = caps.mask(wanted.bounding) & own_permitted
        self.permitted = caps.mask(wanted.permitted) & own_permitted
        self.effective = caps.mask(wanted.effective) & self.permitted
        self.inheritable = caps.mask(wanted.inheritable) & own_permitted
        self.ambient = caps.mask(wanted.ambient) & self.permitted & self.inheritable

    def become(self, who: Process, keep_groups: bool = False) -> None:
        """Take the IDs of the process, keeping the permitted capabilities for the steps to come; `keep_groups`: the caller's
        supplementary groups stay. Raises RuntimeFailure.
        """
        user = who.user
        try:
            caps.drop_bounding(self.bounding, self.last)
            process.prctl("PR_SET_KEEPCAPS", const.PR_SET_KEEPCAPS, 1)
            if not keep_groups:
                _set_groups(user.additional_gids)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            process.prctl("PR_SET_KEEPCAPS", const.PR_SET_KEEPCAPS, 0)
        except OSError as error:
            raise RuntimeFailure(
                f"cannot become user {user.uid}:{user.gid}: {error.strerror}",
                "in a user namespace only mapped IDs exist: give the user more of them in /etc/subuid and /etc/subgid"
                if error.errno == 22
                else None,
            ) from None
        # The program is looked for with the rights it will have; what is still permitted comes back for the filter.
        self._held = caps.get()[1]
        caps.set_(self.effective, self._held, self.inheritable)

    def load_filter(self, program: bytes, flags: int) -> int:
        """Load a filter of system calls with CAP_SYS_ADMIN, as if no_new_privs was not asked for; return the descriptor of its
        listener where `flags` ask for one. Raises RuntimeFailure.
        """
        caps.set_(self._held, self._held, self.inheritable)
        try:
            return process.load_seccomp(program, flags)
        except OSError as error:
            raise RuntimeFailure(
                f"cannot load the filter of system calls: {error.strerror}",
                "without CAP_SYS_ADMIN it takes no new privileges: process.noNewPrivileges in a spec, --security-opt"
                " no-new-privileges with crate"
                if not self._held >> 21 & 1
                else None,
            ) from None

    def finish(self) -> None:
        """Drop to the sets of the spec. Raises OSError."""
        caps.set_(self.effective, self.permitted, self.inheritable)
        caps.set_ambient(self.ambient)


def _set_groups(groups: tuple[int, ...]) -> None:
    """No group of the caller's may stay; where a namespace forbids setgroups(2), there is nothing that could be set."""
    try:
        os.setgroups(groups)
    except PermissionError:
        if groups or read_text("/proc/self/setgroups").strip() != "deny":
            raise
