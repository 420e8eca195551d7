"""Where the commands begin: `python3 -I -S _entry.pyc crate|crate-oci ARG...`, as launcher/crate starts it.

Nothing but the standard library and this package's own parent is on sys.path here (see `cratebox.third_party`). Annotations
stand in quotes: `from __future__ import annotations` would be a module to find and read,
before the bundle is there that does without.
"""

import _frozen_importlib
import gc
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import NoReturn

_Module = type(sys)
_FAILED = 125
_INTERRUPTED = 130  # 128 + SIGINT, as a shell counts
_PIPE_CLOSED = 141  # 128 + SIGPIPE
_OTHER_NETWORKS = {f"{flag}{name}" for name in ("none", "host") for flag in ("", "--network=", "--net=")}


_to_bundle: tuple[str, str, str] | None = None  # package directory, command and path of the bundle
_bundle: "Bundle | None" = None


def start(command: str, args: list[str]) -> "NoReturn":
    """Run `command` and leave the process with its exit code, without the interpreter's farewell (2 ms)."""
    # Whatever the caller's umask: what others could write to would be code, or a container, of whoever is root here.
    os.umask(os.umask(0o077) | 0o022)
    _open_standard_streams()
    code = _flushed(command, _run(command, args))
    if _to_bundle and (not _bundle or _bundle.stale):
        from cratebox import _bundle as bundling

        bundling.build(*_to_bundle)
    os._exit(code)


def _run(command: str, args: list[str]) -> int:
    try:
        return _main_of(command)(args)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return _PIPE_CLOSED
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else _FAILED if leaving.code else 0
    except BaseException as error:  # noqa: BLE001  the last one to see it: a traceback is no message
        return _internal_error(command, error)


def _main_of(command: str) -> "Callable[[list[str]], int]":
    if command == "crate-oci":
        from cratebox.cli.oci.main import main as oci

        return oci
    if command == "crate-supervisor":  # executed by a guardian alone, see engine/guardian.py
        from cratebox.engine.takeover import main as supervisor

        return supervisor
    if (
        command == "crate-resolver"
    ):  # executed by whoever attaches the first container to a network with names, see network/dns.py
        from cratebox.network.dns_server import main as resolver

        return resolver
    if command == "crate-ports":  # executed when somebody asks for a published port of an ordinary user's, see network/relay.py
        from cratebox.network.relay_server import main as ports

        return ports
    from cratebox.cli.main import main as crate

    return crate


def _internal_error(command: str, error: BaseException) -> int:
    try:
        if os.environ.get("CRATE_DEBUG"):
            import traceback

            traceback.print_exception(error)
        else:
            reason = ascii(f"{type(error).__name__}: {error}")[1:-1]  # an image's text may be in it: no control bytes
            sys.stderr.write(f"{command}: internal error: {reason}\n  hint: CRATE_DEBUG=1 shows where; please report it\n")
    except OSError:
        pass  # nobody listens
    return _failure_of(command)


def _failure_of(command: str) -> int:
    return 1 if command == "crate-oci" else _FAILED  # each as those whose place it takes


def _open_standard_streams() -> None:
    """Where descriptor 0, 1 or 2 is closed, the next file opened would take its place and get what is printed."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  open for as long as the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  open for as long as the process
    # Arguments and file names may hold bytes that are no text in this locale; printing them must not end in an error.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _flushed(command: str, code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return code or _PIPE_CLOSED
    except OSError as error:
        try:
            sys.stderr.write(f"{command}: cannot write the output: {error.strerror}\n")
        except OSError:
            pass
        return code or _failure_of(command)
    try:
        sys.stderr.flush()
    except OSError:
        pass
    return code


def _put_package_on_path() -> None:
    """Make `import cratebox` work and nothing more: last on sys.path, so that nothing beside it hides a standard module."""
    here = os.path.realpath(__file__)
    directory = os.path.dirname(here)
    if os.path.basename(directory) == "__pycache__":
        directory = os.path.dirname(directory)
    sys.path.append(os.path.dirname(directory))
    sys.modules.setdefault("struct", __import__("_struct"))  # struct.py, which would be looked for, is its names and no more
    gc.disable()  # a short life makes less garbage than the search for it costs; what lives long turns it on again
    _use_bundle(directory, sys.argv[1])
    if here.endswith(".py"):
        import cratebox._entry  # noqa: F401, PLW0406  the interpreter keeps no compiled form of a script, but of a module


class Bundle:
    """The modules of a bundle (see _bundle.py), found before any directory is looked at (importlib.abc.MetaPathFinder).

    Each is compared with its source when it is imported; one that is older is left to whoever finds modules otherwise.
    """

    def __init__(
        self,
        package: str,
        path: str,
        made: "os.stat_result",
        modules: "dict[str, tuple[str, int, int, int, int]]",
        usual: "dict[str, tuple[str, ...]]",
        begin: int,
    ) -> None:
        self._package = package
        self._path = path
        self._made = made
        self._modules = modules
        self._usual = usual
        self._begin = begin  # where the code of the modules does
        self.stale = False

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> "ModuleSpec | None":
        return self._spec(name) if name in self._modules else None

    def _spec(self, name: str) -> "ModuleSpec | None":
        code = self._code_of(name)
        if code is None:
            return None
        file = self._package + self._modules[name][0]
        is_package = file.endswith("/__init__.py")
        spec: "ModuleSpec" = _frozen_importlib.ModuleSpec(name, self, origin=file, is_package=is_package)  # type: ignore[arg-type]
        spec.loader_state = code
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(file)]
        return spec

    def _code_of(self, name: str, file: int = -1) -> "CodeType | None":
        source, mtime, size, begin, end = self._modules[name]
        try:
            info = os.stat(self._package + source)
            if info.st_mtime_ns == mtime and info.st_size == size:
                code: "CodeType" = marshal.loads(self._read(begin, end, file))  # noqa: S302  ours, as the .pyc files are
                return code
        except (OSError, ValueError, EOFError, TypeError):
            pass
        self.stale = True
        return None

    def _read(self, begin: int, end: int, file: int) -> bytes:
        """Read a module alone: the pages of a buffer for them all would cost more than the calls. No descriptor stays open for
        what comes later, since a supervisor closes those that it does not know.
        """
        if file >= 0:
            return os.pread(file, end - begin, self._begin + begin)
        file = self._open()
        try:
            return self._read(begin, end, file)
        finally:
            os.close(file)

    def _open(self) -> int:
        file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        found, made = os.fstat(file), self._made
        if (found.st_ino, found.st_mtime_ns, found.st_size) != (made.st_ino, made.st_mtime_ns, made.st_size):
            os.close(file)
            raise FileNotFoundError  # there is another by now
        return file

    def create_module(self, _spec: "ModuleSpec") -> "ModuleType | None":
        return None

    def exec_module(self, module: "ModuleType") -> None:
        exec(module.__spec__.loader_state, vars(module))  # type: ignore[union-attr]  # noqa: S102

    def load(self, words: "list[str]") -> None:
        """Import what the first verb among `words` always wants at once: in the order in which imports ended, so that each
        module finds there what it needs.
        """
        verb = next((word for word in words if word in self._usual), None)
        if verb is None:
            return
        try:
            file = self._open()
        except OSError:
            return  # each is looked for when it is needed
        try:
            for name in self._usual[verb]:
                self._load_one(name, file)
            if not os.geteuid() and _OTHER_NETWORKS.isdisjoint(words):
                for name in self._usual.get(verb + " on a bridge", ()):
                    self._load_one(name, file)
        finally:
            os.close(file)

    def _load_one(self, name: str, file: int) -> None:
        code = self._code_of(name, file)
        if code is None:
            __import__(name)
        else:
            self._load(name, code)

    def _load(self, name: str, code: "CodeType") -> None:
        """Do what an import does, without a ModuleSpec, which takes longer to make than most modules to run."""
        parent, _, last = name.rpartition(".")
        module = _Module(name)
        file = self._package + self._modules[name][0]
        is_package = file.endswith("/__init__.py")
        module.__dict__.update(__file__=file, __loader__=self, __package__=name if is_package else parent)
        if is_package:
            module.__path__ = [os.path.dirname(file)]
        sys.modules[name] = module
        exec(code, vars(module))  # noqa: S102
        if parent:
            setattr(sys.modules[parent], last, module)


def _use_bundle(package: str, command: str) -> None:
    """Not where the sources are being worked on: a checkout or an editable installation, which the launcher tells of."""
    global _to_bundle, _bundle  # noqa: PLW0603
    debugging = os.environ.get("CRATE_DEBUG") or not {"-D", "--debug"}.isdisjoint(sys.argv[2:4])
    worked_on = "cratebox-site" in sys._xoptions or not package.endswith("-packages/cratebox")  # noqa: SLF001
    if command not in {"crate", "crate-oci"} or debugging or worked_on:
        return
    path = f"{package}/__pycache__/{command}.{sys.implementation.cache_tag}.bundle"
    _to_bundle = (package, command, path)
    _bundle = _read_bundle(package, path)
    if _bundle:
        sys.meta_path.insert(0, _bundle)
        _bundle.load(sys.argv[2:12])  # a verb stands early, if not in the first place


def _read_bundle(package: str, path: str) -> "Bundle | None":
    try:
        with open(path, "rb", 0) as file:
            made = os.fstat(file.fileno())
            if made.st_uid not in (0, os.geteuid()) or made.st_mode & 0o022:
                return None  # others could have written it
            begin = 8 + int.from_bytes(file.read(8), "little")
            if begin > made.st_size:
                return None
            # Written beside the .pyc files, by whoever may; one of an older form has other parts.
            _form, length, usual, modules = marshal.loads(file.read(begin - 8))  # noqa: S302
        if begin + length == made.st_size:
            return Bundle(package, path, made, modules, usual, begin)
    except (OSError, ValueError, EOFError, TypeError):
        pass
    return None


if __name__ == "__main__":
    _put_package_on_path()
    start(sys.argv[1], sys.argv[2:])
