"""The modules that a start needs, in one file: finding and reading 80 small ones costs more than running them.

    __pycache__/crate.cpython-311.bundle:
        8 bytes     the length of the next part, little-endian
        marshalled  (2, the form of the file; length of the rest; {verb: the modules that it always wants, in the order in which imports end};
                    {module: (path in the package, mtime, size, begin and end of its code in the rest)})
        the rest    the marshalled code of each module

_entry.py reads it. It is a cache like the .pyc files beside it, made by the first command that may write there, checked against
the sources' times and sizes at every import, and done without wherever it is missing, stale or damaged. Its code has no
docstrings, no annotations of functions and no line numbers; CRATE_DEBUG=1 runs the ordinary modules.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

_CGROUPS = (
    "cratebox.cgroup.detect", "cratebox.linux.userns", "cratebox.cgroup.mounts", "cratebox.cgroup.devices", "cratebox.cgroup.resources",
)  # fmt: skip
_DRIVERS = ("cratebox.cgroup.v1", "cratebox.cgroup.v2")
# What speaks to the cgroups of this machine, most likely: verbs that are short want it at once.
_DRIVER = _DRIVERS[os.path.exists("/sys/fs/cgroup/cgroup.controllers")]
_LIMITS = ("cratebox.cgroup.files_v1", "cratebox.cgroup.files_v2", "cratebox.cgroup.limits")
_ASKING = ("cratebox.cli.oci.main", "cratebox.runtime.lifecycle", "cratebox.paths", _DRIVER)
_CONTAINERS = (
    "cratebox.cli.main",
    "cratebox.engine.engine",
    "cratebox.engine.containers",
    "cratebox.engine.images",
    "cratebox.cli.render",
)
_WATCHED = ("cratebox.engine.watching", _DRIVER)
# What verbs always import; what these import comes along. It is loaded at once.
ROOTS = {
    "crate": {
        "run create start": (
            "cratebox.cli.main", "cratebox.cli.commands.run", "cratebox.cli.commands.create",
            "cratebox.engine.engine", "cratebox.engine.containers", "cratebox.engine.images", "cratebox.engine.launch", "cratebox.engine.making",
            "cratebox.engine.names", "cratebox.engine.holding",
            "cratebox.image.locks", *_CGROUPS,
        ),
        "exec": ("cratebox.cli.main", "cratebox.cli.commands.exec", "cratebox.engine.engine", "cratebox.engine.execution"),
        "pull": (
            "cratebox.cli.main", "cratebox.cli.commands.pull", "cratebox.engine.engine", "cratebox.engine.images", "cratebox.engine.pushing",
            "cratebox.third_party", "cratebox.image.pull", "cratebox.image.store", "cratebox.image.short",
            "cratebox.image.token", "cratebox.cli.progress", "cratebox.image.settling",
        ),
        "images": ("cratebox.cli.main", "cratebox.cli.commands.images", "cratebox.engine.engine", "cratebox.engine.images", "cratebox.image.store"),
        "ps": (*_CONTAINERS, "cratebox.cli.commands.ps", "cratebox.engine.listing", "cratebox.engine.logs", *_WATCHED),
        "logs": (*_CONTAINERS, "cratebox.cli.commands.logs", "cratebox.engine.log_reading"),
        "inspect": (
            *_CONTAINERS, "cratebox.cli.commands.inspect", "cratebox.engine.inspect", "cratebox.engine.logs", "cratebox.image.store", *_WATCHED,
        ),
        "kill": (*_CONTAINERS, "cratebox.cli.commands.kill", "cratebox.engine.stopping", _DRIVER),
        "stop": (*_CONTAINERS, "cratebox.cli.commands.stop", "cratebox.engine.stopping", *_WATCHED),
        "wait": (*_CONTAINERS, "cratebox.cli.commands.wait", "cratebox.engine.waiting"),
        "rm": (*_CONTAINERS, "cratebox.cli.commands.rm", "cratebox.engine.ending", "cratebox.image.tree"),
    },
    "crate-oci": {
        "run create": (
            "cratebox.cli.oci.main", "cratebox.cli.oci.create", "cratebox.cli.oci.run", "cratebox.runtime.lifecycle", "cratebox.runtime.bundle",
            "cratebox.runtime.console", "cratebox.runtime.starting", "cratebox.runtime.seccomp_profile", *_CGROUPS,
        ),
        "start": (*_ASKING, "cratebox.cli.oci.start", "cratebox.runtime.starting"),
        "state": (*_ASKING, "cratebox.cli.oci.state", "cratebox.runtime.listing"),
        "kill": (*_ASKING, "cratebox.cli.oci.kill", "cratebox.runtime.ending", "cratebox.engine.signals"),
        "delete": (*_ASKING, "cratebox.cli.oci.delete", "cratebox.runtime.ending", "cratebox.cgroup.mounts"),
        "exec": (*_ASKING, "cratebox.cli.oci.exec", "cratebox.runtime.exec"),
    },
}  # fmt: skip
# What root's verbs of these names want beside, unless their words name another network: see _entry.Bundle.load.
BRIDGE = {"run", "start"}
BRIDGE_ROOTS = (
    "cratebox.engine.network_words", "cratebox.engine.network_settings", "cratebox.engine.connections", "cratebox.engine.host_names",
    "cratebox.network.endpoints",
)  # fmt: skip
# What is wanted at times, and found here then.
SOMETIMES = {
    "crate": (
        "cratebox.cli.commands.start", "cratebox.runtime.patchwork", "cratebox.image.tree", "cratebox.engine.environment",
        "cratebox.cli.commands.flags_life", "cratebox.cli.commands.flags_limits", "cratebox.cli.commands.flags_logging",
        "cratebox.cli.commands.flags_namespaces", "cratebox.cli.commands.flags_security", "cratebox.cli.commands.flags_words",
        "cratebox.engine.capacity", *_DRIVERS, *_LIMITS,
        "cratebox.engine.control", "cratebox.engine.guardian_watch", "cratebox.engine.sleeping",
    ),
    "crate-oci": (
        *_DRIVERS, *_LIMITS,
    ),
}  # fmt: skip


def build(package: str, command: str, path: str) -> None:
    """Write the bundle of `command` to `path`, in an interpreter of its own that compiles without docstrings.
    What fails leaves none.
    """
    if not os.access(package + "/__pycache__", os.W_OK):
        return
    here = os.path.abspath(__file__)
    words = [sys.executable, "-I", "-S", "-OO", "-B", "-X", "no_debug_ranges", here, package, command, path]
    try:
        os.waitpid(os.posix_spawn(sys.executable, words, {}), 0)
    except OSError:
        pass


def _write(package: str, command: str, path: str) -> None:
    sys.path.append(os.path.dirname(package))
    noted = _Order()
    sys.meta_path.insert(0, noted)
    usual: dict[str, tuple[str, ...]] = {}
    every: dict[str, str] = {}
    for verbs, roots in ROOTS[command].items():
        wanted = noted.imported(roots)
        usual.update(dict.fromkeys(verbs.split(), wanted))
        every.update(noted.files)
        if command == "crate" and not BRIDGE.isdisjoint(verbs.split()):
            more = [name for name in noted.imported((*roots, *BRIDGE_ROOTS)) if name not in wanted]
            usual.update({f"{verb} on a bridge": tuple(more) for verb in BRIDGE})
            every.update(noted.files)
    noted.imported(SOMETIMES[command])
    every.update(noted.files)
    modules, code, end = {}, [], 0
    for name, file in every.items():
        info = os.stat(file)
        code.append(marshal.dumps(_compiled(file)))
        begin, end = end, end + len(code[-1])
        modules[name] = (file.removeprefix(package), info.st_mtime_ns, info.st_size, begin, end)
    header = marshal.dumps((2, end, usual, modules))
    new = f"{path}.{os.getpid()}"
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "wb") as file_:
        os.fchmod(file_.fileno(), 0o644)
        file_.write(b"".join((len(header).to_bytes(8, "little"), header, *code)))
    os.rename(new, path)


class _Order:
    """Notes the modules of the package in the order in which their imports end: what a module needs comes before it."""

    def __init__(self) -> None:
        from importlib.machinery import PathFinder

        self.files: dict[str, str] = {}
        self._finder = PathFinder.find_spec

    def imported(self, roots: tuple[str, ...]) -> tuple[str, ...]:
        """Import these as the first of the package, and return what came along."""
        import importlib

        for name in [name for name in sys.modules if name.partition(".")[0] == "cratebox"]:
            del sys.modules[name]
        self.files = {}
        for name in roots:
            importlib.import_module(name)
        return tuple(self.files)

    def find_spec(self, name: str, path: Any = None, _target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "cratebox":
            return None
        spec = self._finder(name, path)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def then_note(module: ModuleType) -> None:
                execute(module)
                self.files[name] = str(module.__file__)

            spec.loader.exec_module = then_note  # type: ignore[method-assign]
        return spec


def _compiled(path: str) -> CodeType:
    import __future__

    import ast

    with open(path, "rb") as source:
        tree = ast.parse(source.read(), path)
    _drop_what_does_nothing(tree)
    flags = __future__.annotations.compiler_flag
    return _without_lines(compile(tree, os.path.basename(path), "exec", flags, dont_inherit=True, optimize=2))


def _drop_what_does_nothing(tree: ast.Module) -> None:
    """Nothing reads the annotations of functions at run time; those of classes are a Record's fields and stay. What stands
    below TYPE_CHECKING is for type checkers, and `from __future__ import annotations` is said to the compiler instead.
    """
    import ast

    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            arguments = node.args
            for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
                if one is not None:
                    one.annotation = None
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    tree.body = [one for one in tree.body if not (isinstance(one, ast.ImportFrom) and one.module == "__future__")]
    ast.fix_missing_locations(tree)


def _without_lines(code: CodeType) -> CodeType:
    """Line tables are a fifth of the file, and as qualified names only for messages about code, which CRATE_DEBUG=1 shows of
    the ordinary modules.
    """
    constants = tuple(_without_lines(one) if isinstance(one, type(code)) else one for one in code.co_consts)
    return code.replace(co_linetable=b"", co_qualname=code.co_name, co_consts=constants)


if __name__ == "__main__":
    try:
        _write(*sys.argv[1:])
    except Exception:  # noqa: BLE001  a cache that cannot be made is none; the ordinary modules say what is wrong with them
        sys.exit(1)
