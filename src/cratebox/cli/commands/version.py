"""crate version."""

from __future__ import annotations

from cratebox.cli.commands import open_engine
from cratebox.cli.commands.info import FORMAT, show
from cratebox.cli.options import Command, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COMMAND = Command(
    name="version",
    arguments="",
    summary="Show the versions of crate, Python and the kernel",
    flags=(FORMAT,),
    description="""Show the versions of crate and of what it stands on. There is no daemon, so that .Client and .Server, which
scripts ask docker for, are the same.""",
    examples=(("crate version -f '{{.Server.Version}}'", "crate's own"),),
    exit_codes=(("0", "always"),),
)


def crate_version() -> str:
    """Return crate's version, without an engine: it must be told also where state cannot be read."""
    import cratebox

    known = getattr(cratebox, "__version__", None)
    if known is not None:
        return str(known)
    from importlib import metadata

    from cratebox.third_party import add_site_packages

    add_site_packages()
    try:
        return metadata.version("cratebox")
    except metadata.PackageNotFoundError:
        return "unknown"


def main(words: Words) -> int:
    """Print it."""
    values = open_engine(words).version()
    form = words.text("format")
    show(values, form, () if form else _lines(values["Server"]))
    return 0


def _lines(server: dict[str, Any]) -> list[str]:
    return [
        f"Version: {server['Version']}",
        f"OS/Arch: {server['Os']}/{server['Arch']}",
        f"Kernel Version: {server['KernelVersion']}",
        *(f"{one['Name']}: {one['Version']}" for one in server["Components"]),
    ]
