"""crate logout: forget who we are to a registry."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import AUTHFILE, access
from cratebox.cli.render import line

COMMAND = Command(
    name="logout",
    arguments="[REGISTRY]",
    summary="Log out from a registry",
    flags=(Flag("all", "a", help="forget who we are to all registries"), AUTHFILE.replace(help="look in this file alone")),
    least=0,
    most=1,
    description="""Delete the credential of REGISTRY (Docker Hub without one) wherever a pull would look for it: in the files of
docker login and podman login too, and from their helpers. The registry is not asked.""",
    examples=(("crate logout registry.lan:5000", "forget it"), ("crate logout --all", "and those of all others")),
    exit_codes=(("0", "no credential of it is kept"), ("125", "one could not be deleted")),
)


def main(words: Words) -> int:
    """Forget it, and say where it was."""
    every = words.yes("all")
    if every and words.arguments:
        raise words.wrong("--all takes no REGISTRY")
    server = words.arguments[0] if words.arguments else "docker.io"
    found = open_engine(words, access(words)).images.logout(None if every else server)
    for path in found:
        line(f"Removed {'all credentials' if every else f'the credential of {server}'} from {path}")
    if not found:
        line(f"Not logged in to {'any registry' if every else server}")
    return 0
