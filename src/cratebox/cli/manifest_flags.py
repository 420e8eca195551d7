"""What the verbs of `crate manifest` have in common: flags that say something of an image, or of a list."""

from __future__ import annotations

from cratebox.cli.options import Flag, Words
from cratebox.engine.words import shown
from cratebox.errors import InvalidValue
from cratebox.image.lists import Details

ANNOTATION = Flag("annotation", metavar="KEY=VALUE", help="an annotation", repeat=True)
DETAILS = (
    Flag("arch", metavar="ARCH", help="the architecture it is for, in place of the one that it names"),
    Flag("os", metavar="OS", help="the operating system"),
    Flag("variant", metavar="VARIANT", help="the variant of the architecture, as v7"),
    Flag("os-version", metavar="VERSION", help="the version of the operating system"),
    Flag("os-features", metavar="FEATURE", help="what it needs of the operating system; several by commas", repeat=True),
    Flag("features", metavar="FEATURE", help="what it needs of the processor; several by commas", repeat=True),
    ANNOTATION,
)
LISTED = "A list is an OCI image index of this store, and its name is its own: an image may be called the same."


def details(words: Words) -> Details:
    """Return what the flags of DETAILS say. Raises InvalidValue."""
    return Details(
        words.text("arch"),
        words.text("os"),
        words.text("variant"),
        words.text("os-version"),
        _several(words, "os-features"),
        _several(words, "features"),
        given_annotations(words),
    )


def _several(words: Words, flag: str) -> tuple[str, ...]:
    return tuple(part for text in words.all(flag) for part in text.split(",") if part)


def given_annotations(words: Words) -> dict[str, str]:
    """Return the values of --annotation. Raises InvalidValue."""
    found = {}
    for text in words.all("annotation"):
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InvalidValue(f"--annotation is KEY=VALUE, not {shown(text)}")
        found[key] = value
    return found
