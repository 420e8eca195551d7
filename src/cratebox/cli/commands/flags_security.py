"""The flags that say what a container is kept from."""

from __future__ import annotations

from cratebox.cli.commands.create import SECURITY, working_directory
from cratebox.cli.options import Flag, Words
from cratebox.engine.config import ContainerConfig
from cratebox.engine.security_options import parse_security_opt

FLAGS = (
    Flag("security-opt", metavar="OPTION", help="no-new-privileges, seccomp=unconfined or seccomp=FILE", repeat=True,
         group=SECURITY),
)  # fmt: skip


def wished(words: Words, config: ContainerConfig) -> ContainerConfig:
    """Return the config with what the flags say. Raises InvalidValue, Unsupported."""
    no_new_privileges, seccomp = parse_security_opt(words.all("security-opt"), working_directory())
    return config.replace(no_new_privileges=no_new_privileges, seccomp=seccomp)
