"""The kernel's numbers under the kernel's names, as plain ints, from the uapi headers. System call numbers by machine."""

from __future__ import annotations

import os

MACHINE = os.uname().machine

if MACHINE == "x86_64":
    SYS_fcntl, SYS_execve, SYS_prctl, SYS_pivot_root, SYS_mount, SYS_umount2 = 72, 59, 157, 155, 165, 166
    SYS_sethostname, SYS_setdomainname, SYS_capget, SYS_capset = 170, 171, 125, 126
    SYS_unshare, SYS_setns, SYS_keyctl, SYS_personality = 272, 308, 250, 135
    SYS_seccomp, SYS_memfd_create, SYS_bpf, SYS_execveat = 317, 319, 321, 322
    SYS_ioprio_set, SYS_sched_setattr, SYS_umask, SYS_setgroups = 251, 314, 95, 116
    SYS_syncfs, SYS_fstatfs, SYS_set_mempolicy, SYS_tee, SYS_renameat2 = 306, 138, 238, 276, 316
    SYS_inotify_add_watch, SYS_inotify_init1 = 254, 294
elif MACHINE == "aarch64":
    SYS_fcntl, SYS_execve, SYS_prctl, SYS_pivot_root, SYS_mount, SYS_umount2 = 25, 221, 167, 41, 40, 39
    SYS_sethostname, SYS_setdomainname, SYS_capget, SYS_capset = 161, 162, 90, 91
    SYS_unshare, SYS_setns, SYS_keyctl, SYS_personality = 97, 268, 219, 92
    SYS_seccomp, SYS_memfd_create, SYS_bpf, SYS_execveat = 277, 279, 280, 281
    SYS_ioprio_set, SYS_sched_setattr, SYS_umask, SYS_setgroups = 30, 274, 166, 159
    SYS_syncfs, SYS_fstatfs, SYS_set_mempolicy, SYS_tee, SYS_renameat2 = 267, 44, 237, 77, 276
    SYS_inotify_add_watch, SYS_inotify_init1 = 27, 26
else:
    raise ImportError(f"crate runs on x86-64 and arm64 Linux, not on {MACHINE}")

# Since Linux 5.1 new calls have one number on every machine.
SYS_pidfd_send_signal, SYS_open_tree, SYS_move_mount, SYS_fsopen, SYS_fsconfig, SYS_fsmount = 424, 428, 429, 430, 431, 432
SYS_fspick = 433
SYS_pidfd_open, SYS_clone3, SYS_close_range, SYS_openat2, SYS_pidfd_getfd, SYS_mount_setattr = 434, 435, 436, 437, 438, 442

# clone(2), namespaces(7)
CLONE_NEWTIME = 0x80
CLONE_PIDFD = 0x1000
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

# mount(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 0x20, 0x1000
MS_REC, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 0x20000, 0x40000, 0x80000, 0x100000
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8

# The mount calls of Linux 5.2: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2)
FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC, OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, 1, 1, 0o2000000
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE, FSCONFIG_CMD_RECONFIGURE = 0, 1, 6, 7
FSPICK_CLOEXEC, FSPICK_EMPTY_PATH = 1, 8
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR__ATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME = 0x70, 0, 0x10, 0x20
MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x80, 0x100000, 0x200000

# statfs(2)
DEVPTS_SUPER_MAGIC, PROC_SUPER_MAGIC, SELINUX_MAGIC = 0x1CD1, 0x9FA0, 0xF97CFF8C

# openat(2), openat2(2)
AT_FDCWD, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x100, 0x1000, 0x8000
RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
O_PATH = 0o10000000

# prctl(2), capabilities(7), securebits
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 8, 24, 38
PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT, PR_SET_NAME, PR_CAPBSET_READ = 36, 47, 15, 23
PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4

# seccomp(2)
SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL = 1, 2
SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1, 2, 4
SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_TSYNC_ESRCH, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 8, 16, 32

# memfd_create(2), fcntl(2)
MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_EXEC = 1, 2, 0x10
F_ADD_SEALS, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1033, 1, 2, 4, 8

# close_range(2)
CLOSE_RANGE_CLOEXEC = 4

# ioctl_pidfd(2)
PIDFD_GET_INFO, PIDFD_INFO_EXIT = 0xC040FF0B, 8

# keyctl(2)
KEYCTL_JOIN_SESSION_KEYRING = 1
