"""cratebox: pull images, make containers from them and run them, with root and without, with no daemon.

    import cratebox

    engine = cratebox.Engine()
    engine.images.pull("alpine")
    code = engine.containers.run(cratebox.ContainerConfig(image="alpine", command=("echo", "hello"), remove=True))

The public names are these, and every error is a `CrateError` with `message`, `hint` and `exit_code`. They are resolved when
first used: importing the package alone costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.config import ContainerConfig as ContainerConfig
    from cratebox.engine.config import MountWish as MountWish
    from cratebox.engine.config import Ulimit as Ulimit
    from cratebox.engine.engine import Engine as Engine
    from cratebox.errors import CrateError as CrateError
    from cratebox.paths import Paths as Paths
    from cratebox.paths import locate as locate

_PUBLIC = {
    "Engine": "cratebox.engine.engine",
    "ContainerConfig": "cratebox.engine.config",
    "MountWish": "cratebox.engine.config",
    "Ulimit": "cratebox.engine.config",
    "CrateError": "cratebox.errors",
    "Paths": "cratebox.paths",
    "locate": "cratebox.paths",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cratebox' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
