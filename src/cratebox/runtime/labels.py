"""process.apparmorProfile and process.selinuxLabel (config.md, Process). Only specs that have one import this.

The stub writes the label, last of all: see linux/stub.py. It does so through a procfs in which nothing can be mounted over the
file (CVE-2019-16884, CVE-2025-52881), which the process opens while it still may.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure, Unsupported
from cratebox.linux import beneath, lsm
from cratebox.linux.stub import LabelWrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import Process


def reserve(process: Process) -> LabelWrite | None:
    """Return the write that gives the process its label, with a descriptor that `open_procfs` makes a procfs of; close it in
    the parent. Raises Unsupported where the security module is not there.
    """
    if process.apparmor_profile and not lsm.has_apparmor():
        raise Unsupported(f"process.apparmorProfile {process.apparmor_profile!a}: this kernel has no AppArmor, or it is off")
    if process.selinux_label and not lsm.has_selinux():
        raise Unsupported(f"process.selinuxLabel {process.selinux_label!a}: this kernel has no SELinux, or it is off")
    if process.apparmor_profile:
        where, text = lsm.apparmor_exec(process.apparmor_profile)
    else:
        where, text = lsm.selinux_exec(process.selinux_label)
    return LabelWrite(procfs=os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), path=where, text=text)


def open_procfs(label: LabelWrite) -> None:
    """Put a procfs of this process's pid namespace into the label's descriptor, for the stub. Raises RuntimeFailure.

    It shows processes alone: for a moment others of the container could open it through /proc/PID/fd.
    """
    try:
        proc = beneath.trusted_procfs(("subset=pid",))
        os.dup2(proc, label.procfs, inheritable=True)
        os.close(proc)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot set the label of the process: {error.strerror}", "it takes a procfs at /proc in the container"
        ) from None
