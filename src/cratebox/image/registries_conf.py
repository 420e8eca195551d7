"""What a machine decided about registries: containers-registries.conf(5) in its version 2, and containers-registries.conf.d(5).

    $CONTAINERS_REGISTRIES_CONF, else ~/.config/containers/registries.conf, else /etc/containers/registries.conf
    /etc/containers/registries.conf.d/*.conf         but not where the user has a registries.conf of his own
    ~/.config/containers/registries.conf.d/*.conf

A later file adds to what earlier ones say; a [[registry]] of the same prefix, or an alias of the same name, replaces theirs.
Podman, Buildah and Skopeo read the same files. Which search registries a short name is looked for at is not taken from
them: that is Docker Hub, as with Docker (docs/decisions.md).
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue
from cratebox.image import place, toml_file
from cratebox.image import reference as references
from cratebox.image.toml_file import Fields
from cratebox.paths import home
from cratebox.record import Record
from cratebox.text import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SYSTEM = "/etc/containers"
_USES = {"": (True, True), "all": (True, True), "digest-only": (True, False), "tag-only": (False, True)}


class Mirror(Record):
    """Another place of what is below a prefix. `for_digests`, `for_tags`: the names that it is asked for."""

    location: str
    insecure: bool = False
    for_digests: bool = True
    for_tags: bool = True


class Namespace(Record):
    """A [[registry]]: what holds for names below `prefix`, HOST[:PORT][/PATH...][:TAG|@DIGEST] or *.DOMAIN.

    `location`: where they really are, empty for where their names say; `where`: the file that says so.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    where: str = ""


class Alias(Record):
    """What a short name stands for: a full name without tag and digest, empty for nothing any more."""

    full: str
    where: str


class Rules(Record):
    """All of it together."""

    namespaces: tuple[Namespace, ...] = ()
    aliases: dict[str, Alias] = {}  # noqa: RUF012  a default of a Record is never changed
    files: tuple[str, ...] = ()  # those that were there

    def joined(self, later: Rules) -> Rules:
        """Return these with what a later file says, which wins."""
        said = {each.prefix for each in later.namespaces}
        kept = tuple(each for each in self.namespaces if each.prefix not in said)
        return Rules(
            namespaces=kept + later.namespaces, aliases={**self.aliases, **later.aliases}, files=self.files + later.files
        )


def load(*, with_aliases: bool = True) -> Rules:
    """Return what the files of this machine and this user say. Raises InvalidValue for one that cannot be followed.

    Without `with_aliases` a file of nothing but aliases is not looked into; what others say of them may be left out.
    """
    rules = Rules()
    for path in _files():
        document = toml_file.read(path, unwanted="" if with_aliases else "aliases")
        if document is not None:
            rules = rules.joined(_rules(path, document))
    return rules


def _files() -> list[str]:
    given, own = os.environ.get("CONTAINERS_REGISTRIES_CONF"), home() + "/.config/containers/registries.conf"
    if given:
        if not os.path.exists(given):
            raise InvalidValue(f"CONTAINERS_REGISTRIES_CONF names {shown(given)}, which is not there")
        return [given, *_drop_ins(f"{SYSTEM}/registries.conf.d"), *_drop_ins(own + ".d")]
    if os.path.lexists(own):
        return [own, *_drop_ins(own + ".d")]
    return [f"{SYSTEM}/registries.conf", *_drop_ins(f"{SYSTEM}/registries.conf.d"), *_drop_ins(own + ".d")]


def _drop_ins(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise InvalidValue(f"cannot read {directory}: {error.strerror}") from None
    paths = [f"{directory}/{name}" for name in names if name.endswith(".conf")]
    return [path for path in paths if not os.path.isdir(path)]


def _rules(path: str, document: dict[str, object]) -> Rules:
    if "registries" in document:
        raise InvalidValue(
            f"{path} is written in version 1 of its format, which is not read",
            "write a table [[registry]] with location = and insecure = or blocked = for each (containers-registries.conf(5))",
        )
    fields = Fields(path, document)
    namespaces: dict[str, Namespace] = {}
    for table in fields.tables("registry"):
        namespace = _namespace(table)
        if namespace.prefix in namespaces:
            raise InvalidValue(f"{path}: there are two [[registry]] of the prefix {namespace.prefix}")
        namespaces[namespace.prefix] = namespace
    names = aliases(fields.table("aliases"))
    # Read so that they are of the right form; what they decide is decided in another way here, see the top.
    fields.texts("unqualified-search-registries")
    fields.word("short-name-mode", ("", "disabled", "permissive", "enforcing"), "")
    _check_helpers(path, fields.texts("credential-helpers"))
    fields.text("additional-layer-store-auth-helper")  # of stores of layers beside the engine's: there are none here
    fields.end()
    return Rules(namespaces=tuple(namespaces.values()), aliases=names, files=(path,))


def _check_helpers(path: str, names: tuple[str, ...]) -> None:
    """Helpers are named in the files of credentials; to know of some and not to ask them would look like a refusal."""
    others = [name for name in names if name != "containers-auth.json"]
    if others:
        raise InvalidValue(
            f"{path}: credential-helpers has {shown(others[0])}, and crate asks none that is named there",
            'name it in auth.json or in config.json of Docker: "credHelpers": {"REGISTRY": "NAME"}',
        )


def _namespace(table: Fields) -> Namespace:
    prefix, location = _place(table, "prefix", place.check), _place(table, "location", place.check_location)
    if not prefix and not location:
        raise InvalidValue(f"{table.where} has neither prefix nor location")
    only_digests = table.flag("mirror-by-digest-only")
    found = Namespace(
        prefix=prefix or location,
        location=location,
        insecure=bool(table.flag("insecure")),
        blocked=bool(table.flag("blocked")),
        mirrors=tuple(_mirror(each, only_digests) for each in table.tables("mirror")),
        where=table.path,
    )
    table.end()
    return found


def _mirror(table: Fields, only_digests: bool | None) -> Mirror:
    location = _place(table, "location", place.check_location)
    if not location:
        raise InvalidValue(f"{table.where} has no location")
    use = table.word("pull-from-mirror", tuple(_USES), "")
    if use and only_digests:
        raise InvalidValue(f"{table.where} has pull-from-mirror, and its registry mirror-by-digest-only: one of them decides")
    for_digests, for_tags = _USES["digest-only" if only_digests else use]
    found = Mirror(location=location, insecure=bool(table.flag("insecure")), for_digests=for_digests, for_tags=for_tags)
    table.end()
    return found


def _place(table: Fields, key: str, check: Callable[[str, str], str]) -> str:
    text = table.text(key)
    return check(text, f"{table.where} {key}") if text else ""


def aliases(table: Fields) -> dict[str, Alias]:
    """Take a table of aliases: short names, and the full name that each stands for."""
    found = {}
    for name, full in table.rest().items():
        where = f"{table.where} {shown(name)}"
        if not isinstance(full, str):
            raise InvalidValue(f"{where} is not a text")
        if references.short_name(name) != name:
            raise InvalidValue(f"{where} is no short name", "one without registry, tag and digest")
        if full and (references.short_name(full) is not None or references.parse(full).name != full):
            raise InvalidValue(f"{where}: {shown(full)} is no full name", "HOST/NAME without tag and digest")
        found[name] = Alias(full=full, where=table.path)
    return found
