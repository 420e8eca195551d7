"""crate secret inspect: what is known about secrets, save what is in them."""

from __future__ import annotations

from cratebox.cli import render
from cratebox.cli.commands import open_engine
from cratebox.cli.options import Command, Flag, Words

COMMAND = Command(
    name="inspect",
    arguments="SECRET [SECRET...]",
    summary="Show what is known about secrets",
    flags=(Flag("format", "f", "TEMPLATE", "print this instead, as '{{.ID}} {{.Spec.Name}}'"),),
    least=1,
    most=None,
    later=("showsecret", "pretty"),
    description="Print a JSON document of each secret, in Podman's form. What is in it is never shown.",
    exit_codes=(("0", "done"), ("125", "one is not there")),
)


def main(words: Words) -> int:
    """Print the documents."""
    form = words.text("format")
    wanted = None
    if form not in (None, "", "json"):
        from cratebox.cli import template

        wanted = template.parse(template.unescape(str(form)))
    store = open_engine(words).secrets
    found = [store.inspect(reference) for reference in words.arguments]
    if wanted is None:
        render.line(render.json_line(found) if form == "json" else render.json_text(found), keep="\n")
        return 0
    for document in found:
        render.line(wanted.show(document), keep="\n\t")
    return 0
