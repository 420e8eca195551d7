"""The modules that `crate run` needs, in one file: finding and reading 70 small ones costs more than running them.

    __pycache__/crate.cpython-311.bundle      (signatures of the sources, {module: (is it a package, compiled code)})

_entry.py reads it. It is a cache like the .pyc files beside it, made by the first command that may write there, checked against the sources'
times and sizes at every start, and done without wherever it is missing, stale or damaged. Its code has neither docstrings,
annotations of functions nor column tables; CRATE_DEBUG=1 runs the ordinary modules.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

_CGROUPS = (
    "cratebox.cgroup.v1",
    "cratebox.cgroup.v2",
    "cratebox.cgroup.mounts",
    "cratebox.cgroup.devices",
    "cratebox.cgroup.resources",
)
# What a command's start imports, sooner or later; what these import comes along.
ROOTS = {
    "crate": (
        "cratebox.cli.main", "cratebox.cli.commands.run", "cratebox.cli.commands.start", "cratebox.cli.commands.create",
        "cratebox.engine.containers", "cratebox.engine.images", "cratebox.engine.launch", "cratebox.engine.names",
        "cratebox.runtime.patchwork", "cratebox.image.tree", "cratebox.image.locks", *_CGROUPS,
    ),
    "crate-oci": ("cratebox.cli.oci", "cratebox.runtime.lifecycle", *_CGROUPS),
}  # fmt: skip


def build(package: str, command: str, path: str) -> None:
    """Write the bundle of `command` to `path`, in an interpreter of its own that compiles without docstrings. What fails leaves none."""
    if not os.access(package + "/__pycache__", os.W_OK):
        return
    here = os.path.abspath(__file__)
    words = [sys.executable, "-I", "-S", "-OO", "-B", "-X", "no_debug_ranges", here, package, command, path]
    try:
        os.waitpid(os.posix_spawn(sys.executable, words, {}), 0)
    except OSError:
        pass


def _write(package: str, command: str, path: str) -> None:
    import ast
    import importlib

    sys.path.append(os.path.dirname(package))
    for name in ROOTS[command]:
        importlib.import_module(name)
    signatures, modules = [], {}
    for name, module in sorted(sys.modules.items()):
        if not name.startswith("cratebox") or not module.__file__:
            continue
        info = os.stat(module.__file__)
        with open(module.__file__, "rb") as source:
            tree = ast.parse(source.read(), module.__file__)
        _drop_annotations(tree)
        code = compile(tree, module.__file__, "exec", dont_inherit=True, optimize=2)
        signatures.append((module.__file__.removeprefix(package), info.st_mtime_ns, info.st_size))
        modules[name] = (hasattr(module, "__path__"), marshal.dumps(code))
    new = f"{path}.{os.getpid()}"
    with open(new, "wb") as file:
        file.write(marshal.dumps((signatures, modules)))
    os.rename(new, path)


def _drop_annotations(tree: ast.AST) -> None:
    """Nothing reads the annotations of functions at run time; those of classes are a Record's fields and stay."""
    import ast

    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            arguments = node.args
            for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
                if one is not None:
                    one.annotation = None


if __name__ == "__main__":
    try:
        _write(*sys.argv[1:])
    except Exception:  # noqa: BLE001  a cache that cannot be made is none; the ordinary modules say what is wrong with them
        sys.exit(1)
