"""What results depend on: a hash of a module's code and that of all of ours that it imports."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "celosia"


@functools.cache
def code_digest(module: str) -> str:
    """Return a hash, in hexadecimal digits, of what ``module`` can run of this package.

    That is its code and, again and again, that of every module of the package that one of them
    imports anywhere, and of the packages round them. Comments, docstrings and layout do not
    count. Raises ``ModuleNotFoundError`` if there is no such module.
    """
    found: dict[str, ast.Module] = {}
    waiting = [module]
    if _file(module) is None:
        raise ModuleNotFoundError(f"there is no module {module}", name=module)
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if name in found or path is None:  # a package may have no code of its own
            continue
        found[name] = ast.parse(path.read_bytes())
        waiting += [other for other in _imports(found[name]) if other not in found]
        parent = name.rpartition(".")[0]
        waiting += [parent] if parent else []
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\0{ast.dump(_Bare().visit(found[name]))}\0".encode())
    return digest.hexdigest()


@functools.cache
def _file(name: str) -> Path | None:
    """Return the source of a module, None where a name is none (but something in a module)."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # what comes before the last dot is no package
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the modules of the package that a module names in its imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE and _file(name) is not None:
                yield name


class _Bare(ast.NodeTransformer):
    """Leaves out statements that are a text: docstrings, of attributes too."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else node
