"""The flags that limit what a container may use."""

from __future__ import annotations

from cratebox.cli.options import Flag, Words
from cratebox.engine.config import ContainerConfig
from cratebox.engine.ulimits import parse_ulimit

LIMITS = "Limits"

FLAGS = (
    Flag("ulimit", metavar="NAME=SOFT[:HARD]", help="a limit of setrlimit(2), as nofile=1024:4096", repeat=True, group=LIMITS),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with the limits that were typed. Raises InvalidValue."""
    return config.replace(ulimits=tuple(map(parse_ulimit, words.all("ulimit"))))
