"""The default seccomp profile: what a container may ask of the kernel when nobody said otherwise.

A list of what is allowed, since what a kernel learns next year must be refused until somebody has looked at it. It allows
nothing that Docker's profile of 2026 refuses, and less in three places:

- address families: those that programs in containers use, not the museum of the kernel's network code, whose modules load
  themselves when a socket is asked for and have given away root again and again (AX.25, X.25, RDS, LLC, ...);
- socketcall(SYS_SOCKET), the 32-bit x86 way around that list, whose arguments lie in memory where no filter sees them
  (seccomp_compile.py tells how it would slip in); it can be asked for, since 32-bit glibc has no other way to a socket;
- the x32 ABI, a second number for every call, which nobody uses.

Refused for everyone, whatever the capabilities, because it is not mentioned here: io_uring (a second way to make
system calls, past this filter), userfaultfd (holds the kernel still in the middle of a copy, the exploiters' friend), keyctl,
add_key and request_key (keyrings have no namespace), kexec_*, swapon and swapoff, nfsservctl, vm86, uselib, ustat, sysfs,
move_pages and migrate_pages.

Change `PROFILE_VERSION` in seccomp.py with every change here: it names the cached filters.
"""

from __future__ import annotations

from cratebox.runtime.spec import Seccomp, SeccompArg, Syscall

_EPERM, _ENOSYS = 1, 38

_FILES = """
    access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync flock
    fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64 ioctl lchown
    lchown32 link linkat _llseek lseek lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat
    openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv rename
    renameat renameat2 rmdir sendfile sendfile64 splice stat stat64 statfs statfs64 statx symlink symlinkat sync
    sync_file_range syncfs tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice
    write writev cachestat
"""
_ATTRIBUTES = """
    fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr
    lsetxattr removexattr removexattrat setxattr setxattrat
"""
_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 fanotify_mark
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch _newselect pause poll ppoll ppoll_time64 pselect6
    pselect6_time64 select
"""
_ASYNCHRONOUS_IO = "io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit"
_MEMORY = """
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2 mprotect
    mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
"""
_PROCESSES = """
    execve execveat exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list
    get_thread_area getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid ioprio_get ioprio_set kill
    pidfd_open pidfd_send_signal prctl prlimit64 rseq sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity
    sched_setattr sched_setparam sched_setscheduler sched_yield set_robust_list set_thread_area set_tid_address setpgid
    setpriority setrlimit setsid tgkill tkill ugetrlimit vfork wait4 waitid waitpid
"""
# Since Linux 4.8 a tracer cannot lead its victim around the filter; before, ptrace undid seccomp.
_DEBUGGING = "process_vm_readv process_vm_writev ptrace uretprobe"
_SIGNALS = """
    restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack signalfd signalfd4 sigprocmask sigreturn
"""
# adjtimex and clock_adjtime also read the clock's state; setting needs CAP_SYS_TIME, which the kernel asks for itself.
_TIME = """
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times
"""
_IDENTITY = """
    capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid getresgid32 getresuid
    getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setregid
    setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32
"""
_BETWEEN_PROCESSES = """
    ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
"""
_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    send sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""
_ABOUT_THE_SYSTEM = "getcpu getrandom listmount statmount sysinfo uname"
# A program may always give up more.
_CONFINING_ITSELF = "landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp"

_EVERYBODY = (
    _FILES, _ATTRIBUTES, _WAITING, _ASYNCHRONOUS_IO, _MEMORY, _PROCESSES, _DEBUGGING, _SIGNALS, _TIME, _IDENTITY,
    _BETWEEN_PROCESSES, _SOCKETS, _ABOUT_THE_SYSTEM, _CONFINING_ITSELF,
)  # fmt: skip

_OF_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
}
_ARCHITECTURES = {"x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"), "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")}

# Who is given the capability is given the calls that it is for.
_WITH_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
        lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
        sethostname setns syslog umount umount2 unshare
    """,
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# socket(7), address_families(7). Not here, above all: AF_ALG (38), the kernel's cryptography, a local root exploit more than
# once; AF_VSOCK (40), the way from a virtual machine to its host, which has no namespace.
_ADDRESS_FAMILIES = {
    "AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_KEY": 15, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_PPPOX": 24,
    "AF_CAN": 29, "AF_TIPC": 30, "AF_BLUETOOTH": 31, "AF_SMC": 43, "AF_XDP": 44,
}  # fmt: skip

# personality(2): PER_LINUX and PER_LINUX32, each with or without UNAME26, and the question what it is. Others switch off
# address randomisation or map page zero.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# clone(2): NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. A new user namespace hands out capabilities over
# code in the kernel that was never meant for strangers.
_NEW_NAMESPACES = 0x7E020000


def default_profile(caps: frozenset[str], machine: str, socketcall: bool = False) -> Seccomp:
    """Return the profile for a container whose bounding set is `caps` ("CAP_..."), as OCI runtime-spec's linux.seccomp.

    `machine` is "x86_64" or "aarch64". `socketcall` opens 32-bit x86's socketcall whole, for images of that architecture.
    """
    names = {name for group in _EVERYBODY for name in group.split()} | set(_OF_MACHINE[machine].split())
    for capability in sorted(caps & _WITH_CAPABILITY.keys()):
        names |= set(_WITH_CAPABILITY[capability].split())
    rules = [Syscall(names=tuple(sorted(names)), action="SCMP_ACT_ALLOW")]
    rules += [_allow("socket", 0, "SCMP_CMP_EQ", family) for family in _ADDRESS_FAMILIES.values()]
    rules += [_allow("personality", 0, "SCMP_CMP_EQ", value) for value in _PERSONALITIES]
    if "CAP_SYS_ADMIN" not in caps:
        rules.append(_allow("clone", 0, "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACES, 0))
        # Its flags lie in memory, out of the filter's sight. ENOSYS sends a C library back to clone.
        rules.append(Syscall(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=_ENOSYS))
    if socketcall:
        rules.append(Syscall(names=("socketcall",), action="SCMP_ACT_ALLOW"))
    return Seccomp(
        default_action="SCMP_ACT_ERRNO", default_errno_ret=_EPERM, architectures=_ARCHITECTURES[machine], syscalls=tuple(rules)
    )


def _allow(name: str, index: int, op: str, value: int, value_two: int = 0) -> Syscall:
    argument = SeccompArg(index=index, value=value, value_two=value_two, op=op)
    return Syscall(names=(name,), action="SCMP_ACT_ALLOW", args=(argument,))


def deciding_capabilities() -> frozenset[str]:
    """Return the capabilities that make a difference to the default profile."""
    return frozenset(_WITH_CAPABILITY)
