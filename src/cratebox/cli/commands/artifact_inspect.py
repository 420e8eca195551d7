"""crate artifact inspect: what an artifact is."""

from __future__ import annotations

from cratebox.cli.commands import documents, open_engine
from cratebox.cli.options import Command, Flag, Words
from cratebox.cli.registry_flags import FLAGS, access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cratebox.engine.artifacts import Artifacts

COMMAND = Command(
    name="inspect",
    arguments="NAME[:TAG|@DIGEST] [NAME...]",
    summary="Show what artifacts are",
    flags=(Flag("format", "f", "FORMAT", "json, or a template, as '{{.Digest}}'"), *FLAGS),
    least=1,
    most=None,
    description="Print what the manifests of artifacts say: type, files, annotations, and what they speak of.",
    examples=(("crate artifact inspect registry.lan:5000/reports:1", "as JSON"),),
    exit_codes=(("0", "done"), ("1", "one of them is not there")),
)


def main(words: Words) -> int:
    """Print them."""
    artifacts = open_engine(words, access(words)).artifacts
    return documents(words, lambda name: _document(artifacts, name))


def _document(artifacts: Artifacts, name: str) -> dict[str, Any]:
    found = artifacts.get(name)
    return {
        "Name": name,
        "Digest": found.digest,
        "ArtifactType": found.type,
        "Size": found.size,
        "Subject": found.subject.digest if found.subject else "",
        "Annotations": found.annotations,
        "Files": [
            {"MediaType": each.media_type, "Digest": each.digest, "Size": each.size, "Annotations": each.annotations}
            for each in found.files
        ],
    }
