"""`python -m cratebox ARG...`: the command `crate` the slow way, for where the launcher is not on PATH."""

from __future__ import annotations

import sys

from cratebox._entry import start

if __name__ == "__main__":
    start("crate", sys.argv[1:])
