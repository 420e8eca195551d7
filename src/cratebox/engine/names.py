"""Names for containers that were given none: an adjective and a thing that holds something."""

from __future__ import annotations

import os

_FIRST = (
    "able", "amber", "ample", "azure", "bold", "brave", "brief", "bright", "brisk", "calm", "candid", "civil", "clear", "clever",
    "coral", "crisp", "daring", "deft", "dense", "eager", "early", "exact", "fair", "fast", "fine", "firm", "fleet", "fluent",
    "frank", "fresh", "gentle", "glad", "golden", "grand", "green", "happy", "hardy", "honest", "ideal", "jolly", "keen", "kind",
    "light", "lively", "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "open", "patient", "plain",
    "polite", "proud", "quick", "quiet", "rapid", "ready", "regal", "royal", "sage", "serene", "sharp", "silent", "silver", "simple",
    "sleek", "smart", "snug", "sober", "solid", "stable", "steady", "still", "stout", "sturdy", "sunny", "swift", "tall", "tidy",
    "true", "trusty", "vivid", "warm", "wise", "witty",
)  # fmt: skip
_SECOND = (
    "barrel", "basin", "basket", "beaker", "bin", "bottle", "bowl", "box", "bucket", "cabin", "can", "canister", "canteen", "carafe",
    "carton", "case", "cask", "casket", "chest", "churn", "cistern", "coffer", "cooler", "creel", "crock", "cruet", "cup", "decanter",
    "drawer", "drum", "ewer", "flagon", "flask", "goblet", "grail", "hamper", "hopper", "hutch", "jar", "jug", "keg", "kettle",
    "kist", "ladle", "locker", "mug", "pail", "pannier", "parcel", "phial", "pitcher", "pocket", "pot", "pouch", "purse", "quiver",
    "rack", "sack", "satchel", "shelf", "skep", "stein", "tank", "tankard", "tray", "trough", "trunk", "tub", "tumbler", "tun",
    "urn", "valise", "vase", "vat", "vault", "vessel", "vial", "wallet",
)  # fmt: skip


def random_name() -> str:
    """Return a name such as quiet_barrel; two calls may return the same."""
    number = int.from_bytes(os.urandom(4), "big")
    return f"{_FIRST[number % len(_FIRST)]}_{_SECOND[number // len(_FIRST) % len(_SECOND)]}"
