"""The frequency of the processor's time stamp counter, which only the kernel knows and does not tell."""

from __future__ import annotations

import ctypes
import mmap
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")
_SECONDS = 0.25


def tsc_khz() -> int:
    """Return kHz, measured against the host's own clock. x86_64 alone."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_CODE)
        view = ctypes.c_char.from_buffer(page)
        counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(view))
        first = _pair(counter)
        time.sleep(_SECONDS)
        last = _pair(counter)
        del view
    return round((last[1] - first[1]) / (last[0] - first[0]) * 1_000_000)


def _pair(counter: object) -> tuple[int, int]:
    """Return nanoseconds and the counter at one moment: of many readings the one that nothing came between."""
    found = []
    for _ in range(50):
        before = time.monotonic_ns()
        count = counter()  # type: ignore[operator]
        after = time.monotonic_ns()
        found.append((after - before, before, count))
    _taken, before, count = min(found)
    return before, count
