"""crate-oci completion: a script that makes a shell complete crate-oci's words."""

from __future__ import annotations

import sys

from cratebox.cli.oci.words import DONE
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cli.oci.caller import Caller

COMMAND = Command(
    name="completion",
    arguments="bash|zsh|fish",
    summary="Print a script for the completion of a shell",
    least=1,
    most=1,
    completes="shell",
    description="Print a script that makes a shell complete commands, flags, and the IDs of containers.",
    examples=(
        ("source <(crate-oci completion bash)", "in this bash; for every one, put it into ~/.bashrc"),
        ("crate-oci completion zsh > ~/.zfunc/_crate-oci", "for zsh, where ~/.zfunc is in fpath"),
        ("crate-oci completion fish > ~/.config/fish/completions/crate-oci.fish", "for fish"),
    ),
    exit_codes=DONE,
)


def main(words: Words, _who: Caller) -> int:
    """Print the script."""
    from cratebox.cli.completion import asked, crate_oci

    sys.stdout.write(asked(words, crate_oci()))
    return 0
