"""Names defined in source files, read from their syntax trees: nothing is imported."""

import ast
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path


class Module:
    """The top-level names of a Python file, and what its classes have."""

    def __init__(self, path: Path):
        self.path = path
        self.tree = ast.parse(path.read_text())
        self.names: set[str] = set()
        self.classes: dict[str, set[str]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = set(_members(node))
        for node in self.tree.body:
            self.names |= set(_defined(node))
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):  # names that a package lends lazily
                self.names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}

    @cached_property
    def words(self) -> set[str]:
        """Every identifier that the file defines, and every word of its string constants but the docstrings."""
        found = set()
        docstrings = {id(node) for node in _docstrings(self.tree)}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.arg | ast.keyword) and node.arg:
                found.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                found |= set(re.findall(r"[\w-]+", node.value))
        return found

    @cached_property
    def identifiers(self) -> set[str]:
        """Every name that the file defines, imports or uses."""
        found = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}
        return found | {node.arg for node in ast.walk(self.tree) if isinstance(node, ast.arg)} | self.names

    @property
    def prose(self) -> Iterator[tuple[int, str]]:
        """Docstrings and comments, each with the number of its first line."""
        for node in _docstrings(self.tree):
            yield node.lineno, node.value
        for number, line in enumerate(self.path.read_text().splitlines(), 1):
            if "#" in line:
                yield number, line[line.index("#") :]


class Source:
    """All Python files of a package, by their dotted names within it."""

    def __init__(self, root: Path):
        self.root = root
        self.modules = {self._dotted(path): Module(path) for path in sorted(root.rglob("*.py"))}
        self.classes: dict[str, set[str]] = {}
        for module in self.modules.values():
            for name, members in module.classes.items():
                self.classes.setdefault(name, set()).update(members)

    def _dotted(self, path: Path) -> str:
        parts = path.relative_to(self.root).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def parts(self) -> set[str]:
        """Names of all packages and modules, without where they are."""
        return {part for name in self.modules for part in name.split(".")}

    def leads_somewhere(self, name: str, at: str = "") -> bool:
        """Whether a dotted name is a module, or something in one.

        Args:
            at: the package that a relative name may start from.
        """
        first, _, rest = name.partition(".")
        called = [module for module in self.modules if module.rpartition(".")[2] == first]
        places = [name, f"{at}.{name}", *(f"{module}.{rest}" for module in called)]
        return self._member(name) or any(self._absolute(place.strip(".")) for place in places)

    def _absolute(self, name: str) -> bool:
        parts = name.split(".")
        for length in range(len(parts), -1, -1):
            module = self.modules.get(".".join(parts[:length]))
            if module is not None:
                rest = parts[length:]
                if not rest:
                    return True
                return rest[0] in module.names and (len(rest) == 1 or self._member(".".join(rest)))
        return False

    def _member(self, name: str) -> bool:
        """Whether it is `Class.attribute`, or `config.image_size` where a class called ...Config has that."""
        first, _, rest = name.partition(".")
        attribute, ending = rest.partition(".")[0], "".join(part.capitalize() for part in first.split("_"))
        return any(
            attribute in members and (known == first or known.endswith(ending))
            for known, members in self.classes.items()
        )


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    else:
        yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def _members(node: ast.ClassDef) -> Iterator[str]:
    for child in node.body:
        yield from _defined(child)
    for child in ast.walk(node):
        if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name) and child.value.id == "self":
            yield child.attr


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Strings that stand alone: docstrings, and those below a field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value
