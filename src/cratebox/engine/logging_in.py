"""`crate login` and `crate logout`: who we are to a registry, asked there and kept for pulls and pushes."""

from __future__ import annotations

from cratebox.engine.pushing import speaking
from cratebox.errors import InvalidValue, NotFound
from cratebox.image import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.access import Access
    from cratebox.image.auth import Credential
    from cratebox.image.login import Saved
    from cratebox.paths import Paths

_MAX_WORD = 1 << 16  # bytes of a name or a password


def login(paths: Paths, server: str, username: str, password: str, access: Access | None) -> Saved:
    """See Images.login."""
    from cratebox.image import login as logins
    from cratebox.image.auth import Credential

    _check_words(username, password)
    credential = Credential(username=username, password=password)
    # The file may be one that this login makes.
    checked = _ask(paths, server, credential, access.replace(authfile="") if access else None)
    return logins.save(references.server(server), credential, access.authfile if access else "").replace(checked=checked)


def kept(server: str, access: Access | None) -> Credential:
    """Return what is kept for a registry. Raises InvalidValue, NotFound where that is nothing."""
    from cratebox.image import auth

    found = auth.find(references.server(server), access.authfile if access else "").credential
    if found is None:
        raise NotFound(f"not logged in to {server}", f"crate login {server}")
    return found


def check(paths: Paths, server: str, access: Access | None) -> str:
    """See Images.check_login."""
    found = kept(server, access)
    _ask(paths, server, found, access)
    return found.username


def logout(server: str | None, access: Access | None) -> tuple[str, ...]:
    """See Images.logout."""
    from cratebox.image import login as logins

    authfile = access.check().authfile if access else ""
    return logins.forget(references.server(server), authfile) if server is not None else logins.forget_all(authfile)


def _ask(paths: Paths, server: str, credential: Credential, access: Access | None) -> bool:
    """Return whether the registry has wanted to know who we are: one that lets everybody in has checked nothing."""
    settings = speaking(paths, access)
    from cratebox.image import endpoints
    from cratebox.image.registry import Registry

    endpoint = endpoints.to_write(references.server(server), settings)
    registry = Registry(endpoint.reference, endpoint.settings, actions="", given=credential)
    try:
        return registry.greet()
    finally:
        registry.close()


def _check_words(username: str, password: str) -> None:
    """The two travel as NAME:PASSWORD (RFC 7617)."""
    if not username or ":" in username or not username.isprintable():
        raise InvalidValue("a user name has at least one character, no colon and none that cannot be seen")
    if not password or "\0" in password or len(username + password) > _MAX_WORD:
        raise InvalidValue(f"a password has at least one character, and at most {_MAX_WORD}, none of them NUL")
