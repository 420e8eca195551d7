"""What was decided about images: in config.toml, which is crate's, and in the files that Podman, Buildah and Skopeo read too.

[registries]
insecure = ["registry.lan:5000"]        # plain HTTP, or TLS with a certificate that nobody vouches for
blocked = ["registry.example.com/team"] # names below it are not fetched
[registries.mirrors]
"docker.io" = ["mirror.lan:5000/hub"]   # asked first, in this order
[registries.aliases]
"tools" = "registry.lan/team/tools"     # what a short name stands for

[images]
settle = "later"        # when pulled layers are put on the disk: "later", after the pull; "now", before it ends; "never"

registries.conf (registries_conf.py) says the same and more of registries. Where both speak of the same prefix, or of the same
alias, config.toml alone counts. None of the files need exist.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue
from cratebox.image import place, registries_conf, toml_file
from cratebox.image import reference as references
from cratebox.image.access import Access
from cratebox.image.policy import Policy
from cratebox.image.policy import load as load_policy
from cratebox.image.reference import Reference
from cratebox.image.registries_conf import Mirror, Namespace, Rules
from cratebox.image.toml_file import Fields
from cratebox.paths import home
from cratebox.record import Record
from cratebox.text import shown

CERTIFICATES = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_SETTLE = ("later", "now", "never")


class Settings(Record):
    """How registries are spoken to, which images are let in, and what is done after a pull.

    `insecure`: HOST or HOST:PORT as in a name. `certificates`: directories with a directory HOST[:PORT] each, which has
    *.crt (authorities to trust) and *.cert with *.key (who we are). `namespaces`: what holds for names below prefixes (see
    endpoints.py). `files`: those that say so, for people. `settle`: "later", "now" or
    "never"; a layer that was not settled is unpacked again after a reboot. `access`: what the one command says that asks.
    """

    insecure: tuple[str, ...] = ()
    certificates: tuple[str, ...] = CERTIFICATES
    namespaces: tuple[Namespace, ...] = ()
    policy: Policy = Policy()
    files: tuple[str, ...] = ()
    settle: str = "later"
    access: Access = Access()


def load(path: str) -> Settings:
    """Return the settings in `path` (Paths.config) and in the files of containers, defaults where none is.
    Raises InvalidValue.
    """
    document = toml_file.read(path)
    fields = Fields(path, document or {})
    registries, images = fields.table("registries"), fields.table("images")
    insecure = registries.texts("insecure")
    rules = _all_rules(registries, document is not None, with_aliases=False)
    settle = images.word("settle", _SETTLE, "later")
    images.end()
    return Settings(
        insecure=tuple(entry.lower() for entry in insecure),
        certificates=_certificates(path),
        namespaces=rules.namespaces,
        policy=load_policy(),
        files=rules.files,
        settle=settle,
    )


def _certificates(path: str) -> tuple[str, ...]:
    """A user's own come before the machine's. The first is crate's, the second that of containers-certs.d(5)."""
    own = () if os.geteuid() == 0 else (os.path.dirname(path) + "/certs.d",)
    return (*own, home() + "/.config/containers/certs.d", *CERTIFICATES)


def full_name(name: str, path: str) -> Reference | None:
    """Return what the short name `name` stands for by an alias, with its tag and digest; None where there is none.

    Of the settings, those alone that tell are looked at. Raises InvalidValue for what cannot be read.
    """
    short = references.short_name(name)
    if short is None:
        return None
    document = toml_file.read(path)
    registries = Fields(path, document or {}).table("registries")
    alias = _all_rules(registries, document is not None, with_aliases=True).aliases.get(short)
    return references.parse(alias.full + name[len(short) :]) if alias and alias.full else None


def _all_rules(registries: Fields, there: bool, *, with_aliases: bool) -> Rules:
    """Join what all files say. `there`: whether there is a file with the table `registries`."""
    own = _rules(registries)
    return registries_conf.load(with_aliases=with_aliases).joined(own.replace(files=(registries.path,)) if there else own)


def _rules(registries: Fields) -> Rules:
    registries.drop("insecure")  # by hosts, whatever the names
    blocked = {place.check(each, f"{registries.where} blocked") for each in registries.texts("blocked")}
    mirrors = _mirrors(registries.table("mirrors"))
    aliases = registries_conf.aliases(registries.table("aliases"))
    registries.end()
    return Rules(
        namespaces=tuple(
            Namespace(prefix=prefix, blocked=prefix in blocked, mirrors=mirrors.get(prefix, ()), where=registries.path)
            for prefix in sorted(blocked | mirrors.keys())
        ),
        aliases=aliases,
    )


def _mirrors(table: Fields) -> dict[str, tuple[Mirror, ...]]:
    """Return the mirrors of each prefix."""
    found = {}
    for prefix, locations in table.rest().items():
        where = f"{table.where} {shown(prefix)}"
        if not isinstance(locations, list) or not all(isinstance(each, str) for each in locations):
            raise InvalidValue(f"{where} is not a list of texts", 'as "docker.io" = ["mirror.lan:5000"]')
        found[place.check(prefix, where)] = tuple(Mirror(location=place.check_location(each, where)) for each in locations)
    return found
