"""A fake registry that takes what is pushed, as the distribution-spec says, or as registries do that know less of it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fake_registry import Answer, FakeRegistry, Seen, refused

from support.images import digest


@dataclass
class WritableRegistry(FakeRegistry):
    """`resumes`: it can go on with an upload that was cut. `mounts`: (repository, digest) that can be mounted from there.

    `least`: what it says of the smallest chunk. `referrers`: whether it has the API of that name. `per_page`: how many tags it
    lists at a time.
    """

    resumes: bool = True
    mounts: set[tuple[str, str]] = field(default_factory=set)
    least: str = ""
    referrers: bool = True
    per_page: int = 1000
    held: dict[str, set[str]] = field(default_factory=dict)  # repository -> digests of its blobs
    uploads: dict[str, bytearray] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, seen: Seen) -> Answer:
        path = urlsplit(seen.path).path
        with self._lock:
            if self._refusal(seen) is not None or path in ("/token", "/v2/"):
                return super().answer(seen)
            if "/blobs/uploads/" in path:
                return self._upload(seen, path)
            if path.endswith("/tags/list"):
                return self._tags(seen, path)
            if "/referrers/" in path:
                return self._referrers(seen, path)
            if "/manifests/" in path and seen.method in ("PUT", "DELETE"):
                return self._change_manifest(seen, path)
            repository, _, name = path.removeprefix("/v2/").partition("/blobs/")
            if name and name not in self.held.get(repository, set()):
                return refused(404, "BLOB_UNKNOWN", "not in this repository")
            return super().answer(seen)

    def _upload(self, seen: Seen, path: str) -> Answer:
        repository, _, name = path.removeprefix("/v2/").partition("/blobs/uploads/")
        if seen.method == "POST":
            return self._begin(seen, repository)
        if name not in self.uploads:
            return refused(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        if seen.method == "DELETE":
            del self.uploads[name]
            return Answer(204, {}, b"")
        data = self.uploads[name]
        whole = len(seen.body) == int(seen.headers.get("content-length") or 0)
        if seen.method == "GET":
            if not self.resumes:
                return refused(400, "BLOB_UPLOAD_INVALID", "not that way")
            return Answer(204, self._progress(path, data), b"")
        start = int(seen.headers.get("content-range", "0-0").partition("-")[0]) if seen.method == "PATCH" else len(data)
        if start != len(data):
            return refused(416, "BLOB_UPLOAD_INVALID", f"{len(data)} bytes are there")
        data += seen.body
        if not whole:
            return refused(499, "CLIENT", "hung up")
        if seen.method == "PATCH":
            return Answer(202, self._progress(path, data), b"")
        return self._finish(seen, repository, name)

    def _begin(self, seen: Seen, repository: str) -> Answer:
        wanted, source = seen.query.get("mount", [""])[0], seen.query.get("from", [""])[0]
        if (source, wanted) in self.mounts:
            self.held.setdefault(repository, set()).add(wanted)
            return Answer(201, {"Location": f"/v2/{repository}/blobs/{wanted}"}, b"")
        name = f"upload-{len(self.seen)}"
        self.uploads[name] = bytearray()
        return Answer(202, self._progress(f"/v2/{repository}/blobs/uploads/{name}", self.uploads[name]), b"")

    def _progress(self, path: str, data: bytearray) -> dict[str, str]:
        least = {"OCI-Chunk-Min-Length": self.least} if self.least else {}
        return {"Location": f"{path}?state={len(data)}", "Range": f"0-{max(len(data) - 1, 0)}", **least}

    def _finish(self, seen: Seen, repository: str, name: str) -> Answer:
        wanted, data = seen.query["digest"][0], bytes(self.uploads.pop(name))
        if digest(data) != wanted:
            return refused(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[wanted] = data
        self.held.setdefault(repository, set()).add(wanted)
        return Answer(201, {"Docker-Content-Digest": wanted}, b"")

    def _change_manifest(self, seen: Seen, path: str) -> Answer:
        repository, _, reference = path.removeprefix("/v2/").rpartition("/manifests/")
        if seen.method == "DELETE":
            raw = self.manifests.get(f"{repository}/{reference}", (b"", ""))[0]
            gone = [key for key, (each, _) in self.manifests.items() if key.startswith(f"{repository}/") and each == raw]
            for key in gone:
                del self.manifests[key]
            return Answer(202, {}, b"") if gone else refused(404, "MANIFEST_UNKNOWN", "not here")
        document = json.loads(seen.body)
        blobs = [document["config"], *document["layers"]] if "config" in document else []
        for each in blobs:
            if each["digest"] not in self.held.get(repository, set()):
                return refused(404, "MANIFEST_BLOB_UNKNOWN", each["digest"])
        for name in (reference, digest(seen.body)):
            self.manifests[f"{repository}/{name}"] = (seen.body, seen.headers["content-type"])
        subject = document.get("subject")
        told = {"OCI-Subject": subject["digest"]} if subject and self.referrers else {}
        return Answer(201, {"Docker-Content-Digest": digest(seen.body), **told}, b"")

    def _tags(self, seen: Seen, path: str) -> Answer:
        repository = path.removeprefix("/v2/").removesuffix("/tags/list")
        tags = sorted(
            key[len(repository) + 1 :] for key in self.manifests if key.rpartition("/")[0] == repository and ":" not in key
        )
        if not tags:
            return refused(404, "NAME_UNKNOWN", "no such repository")
        last = seen.query.get("last", [""])[0]
        rest = [tag for tag in tags if tag > last]
        page, more = rest[: self.per_page], len(rest) > self.per_page
        link = {"Link": f'<{path}?last={page[-1]}&n={self.per_page}>; rel="next"'} if more else {}
        return Answer(
            200, {"Content-Type": "application/json", **link}, json.dumps({"name": repository, "tags": page}).encode()
        )

    def _referrers(self, seen: Seen, path: str) -> Answer:
        if not self.referrers:
            return refused(404, "UNSUPPORTED", "no such API")
        repository, _, subject = path.removeprefix("/v2/").partition("/referrers/")
        found = {}
        for key, (raw, media_type) in self.manifests.items():
            document = json.loads(raw)
            if key.startswith(f"{repository}/") and (document.get("subject") or {}).get("digest") == subject:
                found[digest(raw)] = {
                    "mediaType": media_type,
                    "digest": digest(raw),
                    "size": len(raw),
                    "artifactType": document.get("artifactType", ""),
                    "annotations": document.get("annotations", {}),
                }
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list(found.values())}
        return Answer(200, {"Content-Type": index["mediaType"]}, json.dumps(index).encode())
