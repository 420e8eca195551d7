"""crate-oci features."""

from __future__ import annotations

from cratebox.cli.oci.words import DONE, print_json
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="features",
    arguments="",
    summary="Print what crate-oci knows of the specification, as JSON",
    description="Print the Features structure of the runtime specification (features.md): the hooks, mount options, namespaces, "
    "capabilities and so on that a spec may use, whether or not this machine has them.",
    exit_codes=DONE,
)


def main(_words: Words, who: Caller) -> int:
    """Print them."""
    from cratebox.cli.commands.version import crate_version
    from cratebox.runtime.criu import is_usable
    from cratebox.runtime.features import features

    found = features()
    found["annotations"]["org.opencontainers.runc.checkpoint.enabled"] = str(is_usable(who.criu)).lower()
    found["annotations"]["io.github.cratebox.version"] = crate_version()
    print_json(found)
    return 0
