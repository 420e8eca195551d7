"""The heap of this process: memory that is let go is kept at hand for what comes next (mallopt(3)).

glibc maps each block of 128 kB and more anew, and gives the end of its heap back as soon as so much of it is free. Whoever reads
and forgets a megabyte a thousand times has the kernel find and zero the same pages a thousand times, which takes longer than
what is done with the bytes.
"""

from __future__ import annotations

from cratebox.linux._libc import c_int_function

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 8 << 20  # bytes


def keep_freed() -> None:
    """Have this process, and those that it forks from now on, keep up to 8 MB that they have let go. Nothing where the C library
    is not glibc.
    """
    try:
        mallopt = c_int_function("mallopt", 2)
    except OSError:
        return
    mallopt(_M_MMAP_THRESHOLD, _KEPT)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
