"""The modules that `crate run` needs, in one file: finding and reading 70 small ones costs more than running them.

    __pycache__/hot.cpython-311.bundle      (signatures of the sources, {module: (is it a package, compiled code)})

It is a cache like the .pyc files beside it, made by the first command that may write there, checked against the sources'
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
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# What a start imports, sooner or later; what these import comes along.
ROOTS = (
    "cratebox._entry", "cratebox.cli.main", "cratebox.cli.oci", "cratebox.cli.commands.run", "cratebox.cli.commands.start",
    "cratebox.cli.commands.create", "cratebox.engine.containers", "cratebox.engine.images", "cratebox.engine.launch",
    "cratebox.engine.names", "cratebox.runtime.lifecycle", "cratebox.runtime.patchwork", "cratebox.cgroup.v1", "cratebox.cgroup.v2",
    "cratebox.cgroup.mounts", "cratebox.cgroup.devices", "cratebox.cgroup.resources", "cratebox.image.tree",
    "cratebox.engine.userspace",
)  # fmt: skip


class Finder:
    """Finds the bundle's modules before the import system looks at any directory (importlib.abc.MetaPathFinder)."""

    def __init__(self, package: str, modules: dict[str, tuple[bool, bytes]]) -> None:
        self._parent = os.path.dirname(package)
        self._modules = modules

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        found = self._modules.get(name)
        if found is None:
            return None
        import _frozen_importlib

        file = f"{self._parent}/{name.replace('.', '/')}{'/__init__' if found[0] else ''}.py"
        spec: ModuleSpec = _frozen_importlib.ModuleSpec(name, self, origin=file, is_package=found[0])  # type: ignore[arg-type]
        spec.has_location = True
        if found[0]:
            spec.submodule_search_locations = [os.path.dirname(file)]
        return spec

    def create_module(self, _spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(marshal.loads(self._modules[module.__name__][1]), vars(module))  # noqa: S102, S302  ours, as the .pyc files are


def path_of(package: str) -> str:
    return f"{package}/__pycache__/hot.{sys.implementation.cache_tag}.bundle"


def use(package: str) -> bool:
    """Let the bundle of the package directory serve imports; False where there is none that is fresh."""
    try:
        with open(path_of(package), "rb") as file:
            signatures, modules = marshal.loads(file.read())  # noqa: S302  written beside the .pyc files, by whoever may
        for source, *signature in signatures:
            info = os.stat(package + source)
            if [info.st_mtime_ns, info.st_size] != signature:
                return False
    except (OSError, ValueError, EOFError, TypeError):
        return False
    sys.meta_path.insert(0, Finder(package, modules))
    return True


def build(package: str) -> None:
    """Write the bundle, in an interpreter of its own that compiles without docstrings. What fails leaves none."""
    if not os.access(package + "/__pycache__", os.W_OK):
        return
    here = os.path.abspath(__file__)
    words = [sys.executable, "-I", "-S", "-OO", "-B", "-X", "no_debug_ranges", here, package]
    try:
        os.waitpid(os.posix_spawn(sys.executable, words, {}), 0)
    except OSError:
        pass


def _write(package: str) -> None:
    import ast
    import importlib

    sys.path.append(os.path.dirname(package))
    for name in ROOTS:
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
    new = f"{path_of(package)}.{os.getpid()}"
    with open(new, "wb") as file:
        file.write(marshal.dumps((signatures, modules)))
    os.rename(new, path_of(package))


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
        _write(sys.argv[1])
    except Exception:  # noqa: BLE001  a cache that cannot be made is none; the ordinary modules say what is wrong with them
        sys.exit(1)
