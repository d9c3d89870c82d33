"""Which file imports which, read from `use` declarations and paths in the code.

Two rules follow from it:

- layers: a module of the operator (a file or folder directly below src/) imports modules of
  lower layers only. The order stands in ARCHITECTURE.md, in the block that begins with
  ```layers: one layer a line, the highest first; modules on one line do not import each other.
- circles: no files of a crate import each other in a circle. A module and those below it are
  one unit here: a parent declares types that its children implement parts of.

Imports inside `mod tests` and files of tests do not count.
"""

import re
from collections import defaultdict

TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([a-z]+\))? )?mod \w+")
USE = re.compile(r"(?m)^\s*(pub(?:\([a-z: ]+\))?\s+)?use\s+([^;]+);")
TREE = re.compile(r"^((?:\w+\s*::\s*)*)(\{.*\}|\*|\w+(?:\s+as\s+\w+)?)$", re.DOTALL)
CRATE_PATH = re.compile(r"(?<![\w:])crate((?:::\w+)+)")

# The names of a layer's modules; what follows after three spaces is for people.
LAYER = re.compile(r"\w+(?: {1,2}\w+)*")

Module = tuple[str, ...]


def leaves(tree: str, before: Module = ()):
    """Every path of a `use` tree, as a tuple of names."""
    match = TREE.match(tree.strip())
    if not match:
        return
    path = before + tuple(part.strip() for part in match[1].split("::") if part.strip())
    if not match[2].startswith("{"):
        name = re.split(r"\s+as\s+", match[2])[0]
        yield path if name == "self" else (*path, name)
        return
    depth, part = 0, ""
    for char in match[2][1:-1] + ",":
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            yield from leaves(part, path)
            part = ""
        else:
            part += char


class Crate:
    """The modules of one crate and their imports. `files` maps paths below the crate's src/ to
    code without comments and literals."""

    def __init__(self, files: dict[str, str]):
        self.code: dict[Module, str] = {}
        self.path: dict[Module, str] = {}
        for path, code in files.items():
            parts = tuple(path.removesuffix(".rs").split("/"))
            if "tests" in parts or "fixtures" in parts:
                continue
            module = () if parts in {("lib",), ("main",)} else parts
            begin = TESTS.search(code)
            self.code[module] = code[: begin.start()] if begin else code
            self.path[module] = path
        self.uses: dict[Module, list[Module]] = {}
        self.exports: dict[Module, dict[str, Module]] = {}
        for module in self.code:
            self._read(module)
        self.imports = {module: self._imports(module) for module in self.code}

    def _read(self, module: Module):
        self.uses[module], self.exports[module] = [], {}
        for declaration in USE.finditer(self.code[module]):
            for path in filter(None, map(lambda p: self._absolute(module, p), leaves(declaration[2]))):
                if declaration[1]:
                    self.exports[module][path[-1]] = path
                else:
                    self.uses[module].append(path)

    def _absolute(self, module: Module, path: Module) -> Module | None:
        if not path:
            return None
        if path[0] == "crate":
            return path[1:]
        if path[0] in {"super", "self"}:
            base, rest = module, path
            while rest and rest[0] == "super":
                base, rest = base[:-1], rest[1:]
            return base + (rest[1:] if rest and rest[0] == "self" else rest)
        return module + path if (*module, path[0]) in self.code else None

    def _home(self, path: Module, depth: int = 0) -> Module | None:
        """The module that defines what `path` names, through re-exports."""
        for length in range(len(path), -1, -1):
            module, rest = path[:length], path[length:]
            if module in self.code:
                export = self.exports[module].get(rest[0]) if rest else None
                if export and depth < 5:
                    return self._home(export + rest[1:], depth + 1)
                return module
        return None

    def _imports(self, module: Module) -> set[Module]:
        paths = list(self.uses[module])
        body = USE.sub("", self.code[module])
        paths += [tuple(match[1].split("::")[1:]) for match in CRATE_PATH.finditer(body)]
        for child in self.code:
            if child[:-1] == module and child:
                calls = re.finditer(rf"(?<![\w:]){child[-1]}::(\w+)", body)
                paths += [(*child, call[1]) for call in calls]
        return {home for home in map(self._home, paths) if home is not None and home != module}

    def circles(self) -> list[list[str]]:
        """Groups of files that import each other in a circle."""

        def related(a: Module, b: Module) -> bool:
            return a[: len(b)] == b or b[: len(a)] == a

        edges = {m: [to for to in self.imports[m] if not related(m, to)] for m in self.code}
        reach: dict[Module, set[Module]] = {}
        for module in edges:
            seen, open_ = set(), [module]
            while open_:
                for to in edges[open_.pop()]:
                    if to not in seen:
                        seen.add(to)
                        open_.append(to)
            reach[module] = seen
        groups = defaultdict(set)
        for module in edges:
            if module in reach[module]:
                groups[min(m for m in reach[module] if module in reach[m])].add(module)
        return [sorted(self.path[m] for m in group) for group in groups.values()]

    def above(self, layers: list[list[str]]):
        """(path, problem) for each file that imports a module of its own layer or a higher one."""
        level = {name: number for number, line in enumerate(layers) for name in line}
        for module, imports in sorted(self.imports.items()):
            room = module[0] if module else None
            if room is None:
                continue
            if room not in level:
                yield self.path[module], f"the module {room} has no layer in ARCHITECTURE.md"
                continue
            for to in sorted({to[0] for to in imports if to and to[0] != room}):
                if level.get(to, len(layers)) <= level[room]:
                    yield self.path[module], f"{room} imports {to}, which is not in a lower layer (ARCHITECTURE.md)"


def layers(text: str) -> list[list[str]]:
    """The layers in a document, the highest first."""
    block = re.search(r"```layers\n(.*?)```", text, re.DOTALL)
    lines = block[1].splitlines() if block else []
    return [LAYER.match(line)[0].split() for line in lines if line.strip()]
