"""Writes an OCI image layout: `oci.py --out DIR --version V --name N [--level L] ARCH=FOLDER…`.

Each FOLDER has `base`, `engines` and `program`, one layer each, what changes least first, and
`sbom.json`, which goes in as a referrer of that image. Times are zero and owners root, so that
the same content has the same digest.
"""

import argparse
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

# All threads share one heap. With glibc's default of a heap for each thread, the peak of a run with a
# hundred machines is a third higher (docs/performance.md).
ONE_HEAP = "MALLOC_ARENA_MAX=1"

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
SBOM = "application/vnd.cyclonedx+json"
EPOCH = "1970-01-01T00:00:00Z"


class Layout:
    def __init__(self, folder: Path):
        self.folder = folder
        self.blobs = folder / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)

    def blob(self, media: str, content: bytes, **more) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        (self.blobs / digest).write_bytes(content)
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content), **more}

    def json(self, media: str, content: dict, **more) -> dict:
        return self.blob(media, encoded(content), **more)


def encoded(content: dict) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def packed(folder: Path, prefix: str) -> bytes:
    """The tar of a folder, as if root had made it at the beginning of time."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in [folder, *sorted(folder.rglob("*"))]:
            name = str(Path(prefix) / path.relative_to(folder))
            if name == ".":
                continue
            entry = archive.gettarinfo(path, name)
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = ""
            if entry.isdir() and not entry.mode & 0o1000:
                entry.mode = 0o755
            elif entry.isfile():
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
            with path.open("rb") if entry.isfile() else io.BytesIO() as content:
                archive.addfile(entry, content if entry.isfile() else None)
    return buffer.getvalue()


def image(layout: Layout, arch: str, folder: Path, version: str, level: int) -> tuple[dict, dict]:
    """Descriptors of the image's manifest and of the manifest of what it is made of."""
    layers, diffs, history = [], [], []
    for name, prefix in (("base", ""), ("engines", "engines"), ("program", "")):
        tar = packed(folder / name, prefix)
        diffs.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
        layers.append(layout.blob(LAYER, gzip.compress(tar, level, mtime=0)))
        history.append({"created": EPOCH, "created_by": f"hack/image: {name}"})
    labels = {"org.opencontainers.image.title": "farrier", "org.opencontainers.image.version": version,
              "org.opencontainers.image.licenses": "Apache-2.0"}
    config = {
        "architecture": arch, "os": "linux", "created": EPOCH, "history": history,
        "config": {"User": "65532:65532", "Entrypoint": ["/farrier"], "Cmd": ["operator"], "WorkingDir": "/",
                   "Env": ["PATH=/", "FARRIER_ENGINES=/engines", ONE_HEAP], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    }
    manifest = layout.json(MANIFEST, {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": layout.json(CONFIG, config), "layers": layers,
        "annotations": labels,
    }, platform={"architecture": arch, "os": "linux"})
    subject = {key: manifest[key] for key in ("mediaType", "digest", "size")}
    made_of = layout.json(MANIFEST, {
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SBOM, "subject": subject,
        "config": layout.blob(EMPTY, b"{}"),
        "layers": [layout.blob(SBOM, (folder / "sbom.json").read_bytes())],
    }, artifactType=SBOM)
    return manifest, made_of


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--level", type=int, default=9)
    parser.add_argument("images", nargs="+")
    args = parser.parse_args()
    layout = Layout(args.out)
    manifests, boms = [], []
    for arch, folder in (item.split("=", 1) for item in args.images):
        manifest, made_of = image(layout, arch, Path(folder), args.version, args.level)
        manifests.append(manifest)
        boms.append(made_of)
    index = layout.json(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, annotations={
        "org.opencontainers.image.ref.name": args.version,
        "io.containerd.image.name": args.name,
    })
    (args.out / "oci-layout").write_bytes(encoded({"imageLayoutVersion": "1.0.0"}))
    (args.out / "index.json").write_bytes(encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index, *boms]}))
    for arch, manifest in zip((m["platform"]["architecture"] for m in manifests), manifests):
        layers = json.loads((layout.blobs / manifest["digest"].removeprefix("sha256:")).read_bytes())["layers"]
        print(f"{arch}: {sum(l['size'] for l in layers) / 1e6:.1f} MB compressed, {manifest['digest']}")


if __name__ == "__main__":
    main()
