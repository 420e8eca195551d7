"""What is warned of: things that went wrong where the specification says that the operation goes on."""

from __future__ import annotations

import os

from cratebox.text import safe


def tell(text: str) -> None:
    """Write one line to standard error. Never fails."""
    try:
        os.write(2, f"crate-oci: warning: {safe(text)}\n".encode(errors="replace"))
    except OSError:
        pass  # nobody listens
