"""What an image is made of, as CycloneDX JSON: `cargo metadata … | sbom.py ARCH Cargo.lock PACKAGES`.

PACKAGES lists the Debian packages that files were taken from, `source package version` a line.
Crates are those linked into the operator and the engine; build scripts and tests are not.
"""

import json
import sys
import tomllib
from pathlib import Path

ROOTS = {"farrier", "farrier-engine"}


def linked(metadata: dict) -> set[str]:
    """The ids of all packages that the roots need at run time."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    todo = [p["id"] for p in metadata["packages"] if p["name"] in ROOTS]
    found = set()
    while todo:
        current = todo.pop()
        if current in found:
            continue
        found.add(current)
        todo += runtime(nodes[current])
    return found


def runtime(node: dict) -> list[str]:
    return [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]


def crate(package: dict, checksums: dict) -> dict:
    purl = f"pkg:cargo/{package['name']}@{package['version']}"
    component = {"type": "library", "bom-ref": purl, "name": package["name"], "version": package["version"], "purl": purl}
    if package["license"]:
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := checksums.get((package["name"], package["version"])):
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component


def debian(line: str, arch: str) -> dict:
    source, name, version = line.split()
    # The cross compiler's copy of a library is that library.
    name = name.removesuffix(f"-{arch}-cross")
    purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={'all' if name == 'ca-certificates' else arch}&upstream={source}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main() -> None:
    arch, lock, packages = sys.argv[1:]
    metadata = json.load(sys.stdin)
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.loads(Path(lock).read_text())["package"]}
    ids = linked(metadata)
    crates = {p["id"]: crate(p, checksums) for p in metadata["packages"] if p["id"] in ids}
    others = [debian(line, arch) for line in Path(packages).read_text().splitlines()]
    main_crate = next(c for c in crates.values() if c["name"] == "farrier")
    dependencies = [
        {"ref": crates[node["id"]]["bom-ref"], "dependsOn": sorted(crates[i]["bom-ref"] for i in set(runtime(node)))}
        for node in metadata["resolve"]["nodes"] if node["id"] in ids
    ]
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": {**main_crate, "type": "application"}},
        "components": sorted((c for c in [*crates.values(), *others] if c is not main_crate), key=lambda c: c["bom-ref"]),
        "dependencies": sorted(dependencies, key=lambda d: d["ref"]),
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
