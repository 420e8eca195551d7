"""Go's text/template, as far as --format uses it: `{{.Name}}`, `{{range .Mounts}}{{.Source}} {{end}}`, `{{json .Config}}`.

A template goes one way: `tokens` cuts its text, `parser` makes a tree of `nodes`, `evaluation` walks it with the data, and
calls what is in `functions` (Go's own and Docker's: json, join, split, title, lower, upper, pad, truncate). What Go has besides
(define, template, block, html, js, urlquery, call) is refused by name. Errors are worded as Go words them: scripts look for
them. (https://pkg.go.dev/text/template, docker/cli templates/templates.go)
"""

from __future__ import annotations

from cratebox.cli.template import evaluation
from cratebox.cli.template.nodes import Node
from cratebox.cli.template.parser import parse as parse_tree
from cratebox.cli.template.values import Map
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Where Go has a map and not a struct: any key may be asked for there, and one that is missing is no error.
_MAPS = frozenset(
    ("Attributes", "Labels", "Annotations", "Volumes", "Networks", "Ports", "ExposedPorts", "Tmpfs", "Sysctls", "StorageOpt", "Data",
     "Options", "DriverOpts", "Runtimes", "PortBindings")
)  # fmt: skip


def unescape(text: str) -> str:
    """Return a template with the \\t and \\n that a shell leaves as two characters made into one."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


class Template:
    """A template that was read."""

    def __init__(self, source: str, tree: tuple[Node, ...]) -> None:
        self._source = source
        self._tree = tree

    def show(self, data: Any, keep: str = "\n\t", headers: bool = False) -> str:
        """Return the text for `data`. What a value holds is made harmless for a terminal, save the characters of `keep`.
        `headers`: the data are the names of a table's columns, which Docker's functions leave alone.

        Raises InvalidValue for a field that is not there, and for a function that cannot take what it is given.
        """
        return evaluation.run(self._tree, self._source, _with_maps(data, ""), keep, headers)


def parse(source: str) -> Template:
    """Read a template. Raises Unsupported for what Go has and crate does not, InvalidValue for what is no template."""
    try:
        return Template(source, parse_tree(source))
    except RecursionError:
        raise InvalidValue("template parsing error: template: it is nested too deeply") from None


def _with_maps(value: Any, name: str) -> Any:
    """Return the data with a map wherever Go has one."""
    if isinstance(value, dict):
        kind = Map if name in _MAPS else dict
        return kind((key, _with_maps(one, "" if name in _MAPS else key)) for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return [_with_maps(one, "") for one in value]
    return value
