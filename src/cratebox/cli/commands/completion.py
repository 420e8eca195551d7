"""crate completion: a script that makes a shell complete crate's words."""

from __future__ import annotations

import sys

from cratebox.cli.options import Command, Words

COMMAND = Command(
    name="completion",
    arguments="bash|zsh|fish",
    summary="Print a script for the completion of a shell",
    least=1,
    most=1,
    completes="shell",
    description="Print a script that makes a shell complete commands, flags, and the names of images and containers.",
    examples=(
        ("source <(crate completion bash)", "in this bash; for every one, put it into ~/.bashrc"),
        ("crate completion zsh > ~/.zfunc/_crate", "for zsh, where ~/.zfunc is in fpath"),
        ("crate completion fish > ~/.config/fish/completions/crate.fish", "for fish"),
    ),
    exit_codes=(("0", "it was printed"), ("125", "no such shell")),
)


def main(words: Words) -> int:
    """Print the script."""
    from cratebox.cli.completion import asked, crate

    sys.stdout.write(asked(words, crate()))
    return 0
