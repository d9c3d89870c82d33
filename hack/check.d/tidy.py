"""The rules of this code that neither compiler nor clippy checks.

One line per finding, `path:line: what is wrong`; exit status 1 if there is any. Reads
what git tracks or would track. Rules are functions that yield findings; to add one, write
it and put it into RULES.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import imports

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 600

# Names that say nothing about what is inside.
EMPTY_NAMES = {"util", "utils", "common", "helper", "helpers", "types", "manager"}

# Only these files write to Kubernetes: `act` performs effects, `publish` writes status
# and events. Any other writer stands here with its reason.
WRITERS = {"act.rs", "publish.rs"}
OTHER_WRITERS: dict[str, str] = {
    "src/exposure/secret.rs": "who a run is on the wire: made and deleted by exposure/act.rs alone",
    "src/lease.rs": "Leases say who may act and publish at all: they come before both",
    "src/machine_lease.rs": "the Lease of a machine says who may work on it: it comes before the work",
    "src/machine_lease/renewal.rs": "as machine_lease.rs",
}
WRITE_PARAMETERS = re.compile(r"\b(?:PatchParams|PostParams|DeleteParams)\b")
WRITE_CALLS = re.compile(
    r"\.(?:patch|create|replace|delete|delete_collection|evict)(?:_status|_scale|_metadata|_subresource)?\s*\("
    # `str::replace` begins with a literal, `OpenOptions::create` has a truth value.
    r"(?!\s*(?:\"|'|\[|true\)|false\)))"
)

# What knows a class of machine, or talks to one, knows nothing of Kubernetes.
BELOW_KUBERNETES = re.compile(r"^src/(?:session|drivers|ssh|callback|engine_api|payload|engines)(?:\.rs$|/)")
KUBERNETES = re.compile(
    r"\bkube\b|\bk8s_openapi\b|\bcrate::api\b|\buse crate::\{[^;]*\bapi\b|\bsuper::(?:super::)*api\b"
)

# The update logic gets no way to ask for the time, roll dice or reach the world.
IMPURE = re.compile(r"^(?:kube|k8s-openapi|tokio|futures|russh|hyper|reqwest|rand|fastrand|getrandom|chrono|time|tracing|log)\b")

# Where packages come from is the business of the machine, not of a file that all share.
# (Written so that this line is not found by itself.)
MACHINE = [
    re.compile(r"crates\.io/api|static\.crates|proxy\.golang|sum\.golang|deb\.debian\.org|registry\.npmjs|pypi\.org"),
    re.compile("|".join(re.escape(str(p)) + r"\b" for p in (ROOT, ROOT.parent / "shared"))),
]
LOCK_FILES = {"Cargo.lock", "go.sum"}

# Comments, strings and characters, which the rules about code must not read.
NOT_CODE = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^'\\\n])'""",
    re.DOTALL,
)


class Source:
    """One Rust file: as it is, and with comments and literals blanked line by line."""

    def __init__(self, path: str, text: str):
        self.path, self.name, self.text = path, Path(path).name, text
        self.lines = text.splitlines()
        self.code = NOT_CODE.sub(self._blank, text)
        self.code_lines = self.code.splitlines()
        in_tests = {"tests", "benches"} & set(Path(path).parts) or self.name == "tests.rs"
        unit_tests = next((n for n, line in enumerate(self.code_lines) if "#[cfg(test)]" in line), len(self.lines))
        self.tests_begin = 0 if in_tests else unit_tests

    @staticmethod
    def _blank(match: re.Match) -> str:
        literal = "" if match["comment"] else match[0].lstrip("br#")[0] * 2
        return literal + "\n" * match[0].count("\n")

    def find(self, pattern: re.Pattern, begin: int = 0, end: int | None = None):
        """Line numbers, from 1, of what matches in the code between two lines."""
        lines = self.code_lines[begin:end]
        text, before = "\n".join(lines), begin + 1
        for match in pattern.finditer(text):
            yield before + text.count("\n", 0, match.start())


def module_files(source: Source):
    if not source.text.startswith("//!"):
        yield 1, "begins without `//!`: one sentence on what this file is"
    if len(source.lines) > MAX_LINES:
        yield MAX_LINES, f"has {len(source.lines)} lines, more than {MAX_LINES}: it is two files"
    if source.name == "mod.rs":
        yield 1, "is called mod.rs: call it after its module, beside its folder"
    for part in Path(source.path).with_suffix("").parts:
        if part in EMPTY_NAMES:
            yield 1, f"`{part}` says nothing: name the thing"
    for line in source.find(re.compile(rf"\bmod\s+(?:{'|'.join(EMPTY_NAMES)})\b")):
        yield line, "a module whose name says nothing: name the thing"


def unfinished(source: Source):
    for line in source.find(re.compile(r"\b(?:todo|unimplemented|dbg)!")):
        yield line, "unfinished code"
    for number, line in enumerate(source.lines, 1):
        if re.search(r"\b(?:TOD[O]|FIXM[E])\b", line) and not re.search(r"#\d+", line):
            yield number, "an open end without the number of an issue"


def tests(source: Source):
    for line in source.find(re.compile(r"#\[ignore\b")):
        yield line, "an ignored test proves nothing: repair it or remove it"
    for line in source.find(re.compile(r"\bsleep(?:_until)?\s*\("), source.tests_begin):
        if "// sleep:" not in source.lines[max(0, line - 2)]:
            yield line, "a test that sleeps: wait for a condition, or say why in `// sleep: …` on the line before"


def layers(source: Source):
    if BELOW_KUBERNETES.match(source.path):
        for line in source.find(KUBERNETES):
            yield line, "session and everything below it know neither kube nor crate::api"
    if not source.path.startswith("src/") or source.name in WRITERS or source.path in OTHER_WRITERS:
        return
    pattern = WRITE_PARAMETERS
    if re.search(r"\bkube\b", source.code):
        pattern = re.compile(f"{WRITE_PARAMETERS.pattern}|{WRITE_CALLS.pattern}")
    for line in source.find(pattern, end=source.tests_begin):
        yield line, "only act.rs and publish.rs write to Kubernetes"


RULES = [module_files, unfinished, tests, layers]

# The file that `#[path = "x.rs"]`, or the same for some systems only, names.
PATH_ATTRIBUTE = re.compile(r'#\[(?:cfg_attr\([^\]]*?,\s*)?path\s*=\s*"([^"]+)"')


def orphans(sources: list[Source]):
    """Rust files that no `mod` reaches: they look alive and are never compiled."""
    by_path = {source.path: source for source in sources}
    named = "".join((ROOT / path).read_text() for path in git_files() if path.endswith("Cargo.toml"))
    # What a file that an attribute names declares lies beside it.
    by_attribute = {str(Path(s.path).parent / name) for s in sources for name in PATH_ATTRIBUTE.findall(s.text)}
    for source in sources:
        path = Path(source.path)
        stem, parent = path.stem, path.parent
        root = path.name in {"lib.rs", "main.rs", "build.rs"} or parent.name in {"bin", "tests", "benches", "examples"}
        if root or source.path in named:
            continue
        above = [parent.with_suffix(".rs"), parent / "lib.rs", parent / "main.rs"]
        above += [p for p in map(Path, by_attribute) if p.parent == parent]
        declared = re.compile(rf"\bmod\s+{stem}\s*;")
        included = any(Path(p).name == path.name for p in by_attribute)
        if not included and not any(str(p) in by_path and declared.search(by_path[str(p)].code) for p in above):
            yield source.path, 1, f"no `mod {stem};` reaches this file"


def machine_paths(path: str, text: str):
    if Path(path).name in LOCK_FILES:
        return
    for number, line in enumerate(text.splitlines(), 1):
        if any(pattern.search(line) for pattern in MACHINE):
            yield path, number, "names a package registry, or a folder of one machine"


def manifests():
    """Which crate may know which: engine → protocol ← update ← operator."""

    def dependencies(crate: str) -> dict:
        return tomllib.loads((ROOT / "crates" / crate / "Cargo.toml").read_text()).get("dependencies", {})

    path = "crates/protocol/Cargo.toml"
    for name in dependencies("protocol").keys() - {"serde"}:
        yield path, 1, f"{name}: what both sides say to each other is serde types and nothing else"
    path = "crates/engine/Cargo.toml"
    for name in dependencies("engine").keys() & {"farrier", "farrier-update"}:
        yield path, 1, f"{name}: the engine knows the protocol and nothing else of ours"
    for crate in ("update", "network"):
        path = f"crates/{crate}/Cargo.toml"
        for name, wanted in dependencies(crate).items():
            if IMPURE.match(name) or name in {"farrier", "farrier-engine"}:
                yield path, 1, f"{name}: the crates that decide are pure"
            if name == "jiff" and (not isinstance(wanted, dict) or wanted.get("default-features", True)):
                yield path, 1, "jiff: without default-features = false it can ask for the time"


def import_order(sources: list[Source]):
    """Imports point from higher layers to lower ones, and never in a circle (imports.py)."""
    layers = imports.layers((ROOT / "ARCHITECTURE.md").read_text())
    if not layers:
        yield "ARCHITECTURE.md", 1, "has no block ```layers: the order of the operator's modules"
    for root in ["src/", *(f"crates/{crate}/src/" for crate in ("protocol", "update", "network", "engine"))]:
        files = {s.path.removeprefix(root): s.code for s in sources if s.path.startswith(root)}
        crate = imports.Crate(files)
        for circle in crate.circles():
            yield root + circle[0], 1, f"imports in a circle: {', '.join(circle)}"
        if root == "src/":
            for path, problem in crate.above(layers):
                yield root + path, 1, problem


def git_files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")
    return [path for path in listed if path and (ROOT / path).is_file()]


def findings():
    sources = []
    for path in git_files():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        yield from machine_paths(path, text)
        if path.endswith(".rs"):
            sources.append(Source(path, text))
    for source in sources:
        for rule in RULES:
            for line, what in rule(source):
                yield source.path, line, what
    yield from orphans(sources)
    yield from import_order(sources)
    yield from manifests()


def main() -> int:
    found = sorted(set(findings()))
    for path, line, what in found:
        print(f"{path}:{line}: {what}")
    print(f"{len(found)} finding(s)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
