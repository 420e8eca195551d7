"""crate logout: forget who we are to a registry."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Words
from cratebox.cli.render import line

COMMAND = Command(
    name="logout",
    arguments="[REGISTRY]",
    summary="Log out from a registry",
    least=0,
    most=1,
    description="""Delete the credential of REGISTRY (Docker Hub without one) wherever a pull would look for it: in the files of docker login and podman
login too, and from their helpers. The registry is not asked.""",
    examples=(("crate logout registry.lan:5000", "forget it"),),
    exit_codes=(("0", "no credential of it is kept"), ("125", "one could not be deleted")),
)


def main(words: Words) -> int:
    """Forget it, and say where it was."""
    server = words.arguments[0] if words.arguments else "docker.io"
    found = open_engine(words).images.logout(server)
    for path in found:
        line(f"Removed the credential of {server} from {path}")
    if not found:
        line(f"Not logged in to {server}")
    return 0
