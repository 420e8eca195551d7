"""`crate login` and `crate logout`: who we are to a registry, asked there and kept for pulls and pushes."""

from __future__ import annotations

from cratebox.engine.pushing import speaking
from cratebox.errors import InvalidValue, NotFound
from cratebox.image import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.auth import Credential
    from cratebox.image.login import Saved
    from cratebox.paths import Paths

_MAX_WORD = 1 << 16  # bytes of a name or a password


def login(paths: Paths, server: str, username: str, password: str) -> Saved:
    """See Images.login."""
    from cratebox.image import login as logins
    from cratebox.image.auth import Credential

    _check_words(username, password)
    credential = Credential(username=username, password=password)
    _ask(paths, server, credential)
    return logins.save(references.server(server), credential)


def check(paths: Paths, server: str) -> str:
    """See Images.check_login."""
    from cratebox.image import auth

    found = auth.find(references.server(server)).credential
    if found is None:
        raise NotFound(f"not logged in to {server}", f"crate login {server}")
    _ask(paths, server, found)
    return found.username


def logout(server: str) -> tuple[str, ...]:
    """See Images.logout."""
    from cratebox.image import login as logins

    return logins.forget(references.server(server))


def _ask(paths: Paths, server: str, credential: Credential) -> None:
    settings = speaking(paths)
    from cratebox.image import endpoints
    from cratebox.image.registry import Registry

    endpoint = endpoints.to_write(references.server(server), settings)
    registry = Registry(endpoint.reference, endpoint.settings, actions="", given=credential)
    try:
        registry.greet()
    finally:
        registry.close()


def _check_words(username: str, password: str) -> None:
    """The two travel as NAME:PASSWORD (RFC 7617)."""
    if not username or ":" in username or not username.isprintable():
        raise InvalidValue("a user name has at least one character, no colon and none that cannot be seen")
    if not password or "\0" in password or len(username + password) > _MAX_WORD:
        raise InvalidValue(f"a password has at least one character, and at most {_MAX_WORD}, none of them NUL")
