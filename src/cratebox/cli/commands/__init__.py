"""The verbs: each module has a COMMAND (its flag table and manual page) and a `main` that calls one engine function."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from cratebox.cli.options import Words
    from cratebox.engine.containers import Containers
    from cratebox.engine.engine import Engine
    from cratebox.image.access import Access

EXIT_CODES = (  # of a verb that ends as the command in the container does
    ("125", "crate itself could not do it"),
    ("126", "the command cannot be executed"),
    ("127", "the command is not there"),
    ("128+N", "the command died of signal N"),
    ("otherwise", "the command's own exit code"),
)

# What may stand where an image is taken from, for manual pages.
STORED = """IMAGE is a name in a registry (alpine, ghcr.io/owner/name:tag, name@sha256:...), or oci:DIR[:TAG], oci-archive:FILE,
or docker-archive:FILE"""


def open_engine(words: Words, access: Access | None = None) -> Engine:
    """Return the engine whose state lives where --root and --state say; `access` as registry_flags.access.
    Raises StorageError.
    """
    from cratebox import paths
    from cratebox.engine.engine import Engine

    return Engine(paths.locate(words.root, words.state), access)


def name_all(words: Words, containers: Containers, *states: str) -> None:
    """Where --all was given, put the containers that are in one of `states` in the arguments' place. Raises UsageError where
    neither was given, or both.
    """
    if words.yes("all") == bool(words.arguments):
        raise words.wrong("--all takes no CONTAINER" if words.arguments else "a CONTAINER is missing")
    if words.yes("all"):
        words.arguments = tuple(one.id for one in containers.list() if one.status in states)


def for_each(words: Words, act: Callable[[str], Iterable[str]]) -> int:
    """Call `act` with each argument and print the lines it returns; one that fails does not stop the others.

    Return 0, or 1 where one failed (as Docker does).
    """
    import sys

    from cratebox.cli.render import complain, line
    from cratebox.errors import CrateError

    code = 0
    for argument in words.arguments:
        try:
            for text in act(argument):
                line(text)
        except CrateError as error:
            sys.stdout.flush()
            complain(error, f"{words.program} {words.verb}")
            code = 1
    return code


def documents(words: Words, look: Callable[[str], dict[str, Any]]) -> int:
    """Print what `look` returns for each argument, as --format asks;
    what is not there does not keep the others from being shown.

    Return 0, or 1 where one was not there (as Docker does). Raises InvalidValue, Unsupported for a template.
    """
    import sys

    from cratebox.cli import render
    from cratebox.errors import NotFound

    form = words.text("format")
    wanted = None
    if form not in (None, "", "json"):
        from cratebox.cli import template

        wanted = template.parse(template.unescape(str(form)))
    found, code = [], 0
    for name in words.arguments:
        try:
            found.append(look(name))
        except NotFound as error:
            render.complain(error, f"{words.program} {words.verb}")
            code = 1
    if wanted is not None:
        for entry in found:
            render.line(wanted.show(entry), keep="\n\t")
    else:
        sys.stdout.write((render.json_line(found) if form == "json" else render.json_text(found)) + "\n")
    return code


class PullProgress:
    """The `progress` of a pull that may not happen: the code that draws is loaded when there is something to draw.

    `doing`: what is said of a layer while it is on its way.
    """

    def __init__(self, quiet: bool, to_stdout: bool = False, doing: str = "Pulling") -> None:
        self.quiet = quiet
        self._to_stdout, self._doing = to_stdout, doing
        self._drawn: Any = None

    def _real(self) -> Any:
        if self._drawn is None:
            from cratebox.cli.progress import choose

            self._drawn = choose(self.quiet, self._to_stdout, self._doing)
        return self._drawn

    def layer(self, digest: str, total_bytes: int) -> None:
        """A layer of `total_bytes` is about to be fetched."""
        self._real().layer(digest, total_bytes)

    def advance(self, digest: str, n_bytes: int) -> None:
        """`n_bytes` more of a layer have come."""
        self._real().advance(digest, n_bytes)

    def done(self, digest: str, note: str) -> None:
        """A layer is there; `note` says how ("Pull complete", "Already exists")."""
        self._real().done(digest, note)

    def message(self, text: str) -> None:
        """Say one line."""
        self._real().message(text)

    def close(self) -> None:
        """Leave the terminal as it was found."""
        if self._drawn is not None:
            self._drawn.close()
