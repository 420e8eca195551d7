"""What the user decided about images: the tables [registries] and [images] of config.toml, which need not exist.

[registries]
insecure = ["registry.lan:5000"]        # plain HTTP, or TLS with a certificate that nobody vouches for

[images]
settle = "later"        # when pulled layers are put on the disk: "later", after the pull; "now", before it ends; "never"
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
_SETTLE = ("later", "now", "never")


class Settings(Record):
    """How registries are spoken to, and what is done after a pull.

    `insecure`: HOST or HOST:PORT as in a name. `certificates`: directories with a directory HOST[:PORT] each, which has
    *.crt (authorities to trust) and *.cert with *.key (who we are). `settle`: "later", "now" or "never"; a layer that was not
    settled is unpacked again after a reboot.
    """

    insecure: tuple[str, ...] = ()
    certificates: tuple[str, ...] = CERTIFICATES
    settle: str = "later"


def load(path: str) -> Settings:
    """Return the settings in `path` (Paths.config), the defaults where it is not there. Raises InvalidValue."""
    certificates = CERTIFICATES if os.geteuid() == 0 else (os.path.dirname(path) + "/certs.d", *CERTIFICATES)
    document = _document(path)
    registries = _table(document, path, "registries", "insecure")
    insecure = registries.get("insecure", [])
    if not isinstance(insecure, list) or not all(isinstance(entry, str) for entry in insecure):
        raise InvalidValue(f"{path}: [registries] insecure is not a list of texts", 'write insecure = ["HOST:PORT"]')
    settle = _table(document, path, "images", "settle").get("settle", "later")
    if settle not in _SETTLE:
        raise InvalidValue(f"{path}: [images] settle cannot be {shown(settle)}", f"one of {', '.join(_SETTLE)}")
    return Settings(insecure=tuple(entry.lower() for entry in insecure), certificates=certificates, settle=settle)


def _table(document: dict[str, Any], path: str, name: str, known: str) -> dict[str, Any]:
    """Return the table `name`, which may have one key. Raises InvalidValue."""
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise InvalidValue(f"{path}: {name} is not a table", f"write [{name}]")
    unknown = sorted(table.keys() - {known})
    if unknown:
        raise InvalidValue(f"{path}: [{name}] has {shown(unknown[0])}, which crate does not know")
    return table


def _document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InvalidValue(f"cannot read {path}: {error.strerror}") from None
    import tomllib

    try:
        return tomllib.loads(raw.decode())
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InvalidValue(f"{path} is not TOML: {error}") from None
