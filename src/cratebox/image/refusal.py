"""What a registry's refusal means: the error for a reply that is not what was asked for.

Each says what was wanted, the request, and what the registry says of it (distribution-spec, "Error Codes"), safe to print.
"""

from __future__ import annotations

from cratebox import jsontext
from cratebox.errors import CrateError, NotFound, RegistryError
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.image.asking import Reply
    from cratebox.image.reference import Reference

_MAX_ERROR = 64 << 10  # bytes of an error's body that are looked at


def of(reply: Reply, reference: Reference, what: str, hint: str | None) -> CrateError:
    """Return the error for `reply`, which has not given `what` of the repository of `reference`, or has not taken it.

    `hint` is for one who may not. The body of the reply is read, and its connection let go of.
    """
    diagnosis, codes = _diagnosis(reply)
    name, registry = reference.familiar_name, reference.registry
    reads = reply.method in ("GET", "HEAD")
    told = f"({reply.described}: {reply.status}{diagnosis})"
    if reply.status == 404 and reads and "/manifests/" in reply.url:
        if "NAME_UNKNOWN" in codes:
            return NotFound(f"no such image: {name}: {registry} has no repository of that name {told}", "check the spelling")
        return NotFound(f"no such image: {what}: no such tag or digest {told}", f"the repository {name} may have others")
    if reply.foreign:
        return RegistryError(f"{what} cannot be {'fetched from' if reads else 'put'} where {registry} leads {told}")
    if reply.status in (401, 403):
        why = "no such repository, or it is private" if reads else "there is no right to change it"
        return RegistryError(f"access to {name} is denied: {why} {told}", hint)
    if reply.status == 429:
        wait = reply.header("Retry-After")
        advice = f"it says: try again after {shown(wait)}" if wait else "wait, or log in: many registries allow more then"
        return RegistryError(f"{registry} has had too many requests from here {told}", advice)
    if reply.status >= 500:
        return RegistryError(f"{registry} has a fault of its own {told}", "try again later")
    return RegistryError(f"{registry} did not {'give' if reads else 'take'} {what} {told}")


def _diagnosis(reply: Reply) -> tuple[str, frozenset[str]]:
    """Return what an error's body says, safe to print, and its codes."""
    try:
        document = jsontext.loads(reply.body(_MAX_ERROR))
    except (RegistryError, jsontext.JSONError):
        document = None
    errors = document.get("errors") if isinstance(document, dict) else None
    said, codes = "", set()
    for error in errors[:5] if isinstance(errors, list) else ():
        if isinstance(error, dict) and isinstance(error.get("code"), str):
            codes.add(error["code"])
            said += f" {shown(error['code'], 40)[1:-1]}"
            if isinstance(error.get("message"), str):
                said += f": {shown(error['message'], 300)[1:-1]}"
    return said, frozenset(codes)
