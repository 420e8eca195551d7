"""What the user settled about registries: the table [registries] of config.toml, which need not exist.

[registries]
insecure = ["registry.lan:5000"]        # plain HTTP, or TLS with a certificate that nobody vouches for
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CERTIFICATES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_MAX_FILE = 1 << 20


class Settings(Record):
    """How registries are spoken to.

    `insecure`: HOST or HOST:PORT as in a name. `certificates`: directories with a directory HOST[:PORT] each, which has
    *.crt (authorities to trust) and *.cert with *.key (who we are).
    """

    insecure: tuple[str, ...] = ()
    certificates: tuple[str, ...] = CERTIFICATES


def load(path: str) -> Settings:
    """Return the settings in `path` (Paths.config), the defaults where it is not there. Raises InvalidValue."""
    certificates = CERTIFICATES if os.geteuid() == 0 else (os.path.dirname(path) + "/certs.d", *CERTIFICATES)
    table = _table(path, "registries")
    unknown = sorted(table.keys() - {"insecure"})
    if unknown:
        raise InvalidValue(f"{path}: [registries] has {shown(unknown[0])}, which crate does not know")
    insecure = table.get("insecure", [])
    if not isinstance(insecure, list) or not all(isinstance(entry, str) for entry in insecure):
        raise InvalidValue(f"{path}: [registries] insecure is not a list of texts", 'write insecure = ["HOST:PORT"]')
    return Settings(insecure=tuple(entry.lower() for entry in insecure), certificates=certificates)


def _table(path: str, name: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {error.strerror}") from None
    import tomllib

    try:
        document = tomllib.loads(raw.decode())
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidValue(f"{path} is not TOML: {error}") from None
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise InvalidValue(f"{path}: {name} is not a table", f"write [{name}]")
    return table
