"""crate: from the words of a command line to the one module that does it.

    crate --root DIR run --rm alpine echo hello
          globals    verb  flags, arguments

A verb's module is imported when it is asked for, and no other: the time until `run` begins is what a person waits.
"""

from __future__ import annotations

import os
import sys

from cratebox.cli import options, verbs
from cratebox.cli.options import Command, Flag
from cratebox.errors import CrateError, StorageError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GLOBAL = Command(
    name="",
    arguments="COMMAND [ARG...]",
    summary="pull images, make containers from them and run them, with root and without, with no daemon",
    flags=(
        Flag("root", metavar="DIR", help="where images and containers are kept (CRATE_ROOT)", completes="directory"),
        Flag("state", metavar="DIR", help="where what a reboot forgets is kept (CRATE_STATE)", completes="directory"),
        Flag("debug", short="D", help="show where an error comes from (CRATE_DEBUG=1)"),
        Flag("version", short="v", help="print the version"),
    ),
    most=None,
    stops=True,
    examples=(
        ("crate run --rm alpine echo hello", "one command in a new container"),
        ("crate run --rm -it alpine sh", "a shell"),
        ("crate help run", "all about one command"),
    ),
    exit_codes=(
        ("0", "it was done"),
        ("1", "one of several things that were named could not be done"),
        ("125", "crate could not do it: standard error says what, why and what helps"),
        ("130", "it was interrupted from the keyboard"),
        ("otherwise", "see the command's own page"),
    ),
)

_FULL_DISK = (28, 122)  # ENOSPC, EDQUOT


def main(argv: list[str]) -> int:
    """Run `crate` with the words `argv` (without the program's name) and return its exit code."""
    who = ["crate"]
    try:
        return _dispatch(argv, who)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _pipe_closed()
    except CrateError as error:
        return _failed(error, who[0])
    except OSError as error:
        return _failed(_of_system(error), who[0])
    except MemoryError:
        return _failed(StorageError("there is no memory left"), who[0])


def _dispatch(argv: list[str], who: list[str]) -> int:
    """Find the verb and run it; `who` becomes the name that errors begin with."""
    words = options.parse(GLOBAL, argv, "")
    if words.yes("debug"):
        os.environ["CRATE_DEBUG"] = "1"
    if words.yes("version"):
        return _print_version()
    rest = list(words.arguments)
    if words.help or not rest:
        return _help([])
    if rest[0] == "help":
        return _help([word for word in rest[1:] if word != "--help"])
    verb, module_name, meant, rest = resolve(rest)
    if not module_name:
        return _help([verb])
    who[0] = f"crate {verb}"
    module = load(module_name)
    mine = options.parse(module.COMMAND, [*meant, *rest], verb)
    if mine.help:
        return _help(verb.split())
    mine.root, mine.state = words.text("root"), words.text("state")
    return int(module.main(mine))


def resolve(words: list[str]) -> tuple[str, str, list[str], list[str]]:
    """As verbs.resolve. Raises UsageError or Unsupported for no such verb."""
    found = verbs.resolve(words)
    if found is None:
        raise _no_verb(words)
    return found


def _no_verb(words: list[str]) -> CrateError:
    """The word that nobody knows is the first, or the second after the name of a group."""
    group = words[0] if verbs.GROUPS.get(words[0]) else ""
    verb = words[1] if group else words[0]
    before = f"{group} " if group else ""
    see = f"see crate {before}--help"
    if verb in verbs.LATER or before + verb in verbs.LATER or verb in verbs.GROUPS:
        return Unsupported(f"the command {before}{verb} is not there yet", see)
    import difflib

    from cratebox.engine.words import shown
    from cratebox.errors import UsageError

    known = verbs.GROUPS[group] if group else [*verbs.VERBS, *verbs.groups(), "help"]
    near = [before + name for name in difflib.get_close_matches(verb, list(known), 2, 0.6)]
    return UsageError(f"no such command: {shown(before + verb)}", f"did you mean {' or '.join(near)}? {see}" if near else see)


def load(name: str) -> Any:
    """Import the module of a verb."""
    return __import__(f"cratebox.cli.commands.{name.replace('-', '_')}", fromlist=["COMMAND"])


def _help(verb: list[str]) -> int:
    from cratebox.cli import help as pages

    sys.stdout.write(pages.page(verb))
    return 0


def _print_version() -> int:
    from cratebox.cli.commands.version import crate_version

    print(f"crate version {crate_version()}")
    return 0


def _failed(error: CrateError, who: str) -> int:
    from cratebox.cli.render import complain

    try:
        sys.stdout.flush()  # what was done before comes first
        complain(error, who)
        if os.environ.get("CRATE_DEBUG"):
            import traceback

            traceback.print_exception(error)
    except OSError:
        pass  # nobody listens
    return error.exit_code


def _of_system(error: OSError) -> CrateError:
    """Return a plain OSError that no room has explained as one line."""
    named = error.filename if error.filename is not None else ""
    where = os.fsdecode(named) if isinstance(named, (str, bytes)) else str(named)
    found = StorageError(f"{where}: {error.strerror or error}" if where else str(error.strerror or error))
    if error.errno in _FULL_DISK:
        found.hint = "make room on that disk, or choose another with --root and --state"
    found.__cause__ = error
    return found


def _pipe_closed() -> int:
    """Whoever read the output went away: what is still to be flushed goes nowhere. 141 is 128 + SIGPIPE."""
    try:
        os.dup2(os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC), 1)
    except OSError:
        pass
    return 141
