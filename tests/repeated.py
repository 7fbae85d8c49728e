"""What a generated module computes twice: equal expressions in its text, arrays of its cache in the same memory."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import combinations

import numpy as np

__all__ = ["recomputed", "repeated", "shared_memory"]

# A view, a shape or a new empty array costs nothing.
_FREE_METHODS = {"copy", "reshape", "astype", "transpose"}
_FREE_FUNCTIONS = {
    "swapaxes",
    "moveaxis",
    "zeros",
    "empty",
    "full",
    "arange",
    "result_type",
    "broadcast_to",
    "diagonal",
}


def _functions(text: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def _is_work(node: ast.AST, arrays: set[str]) -> bool:
    """Whether the node is arithmetic on arrays."""
    if isinstance(node, ast.Call):
        function = node.func
        if not isinstance(function, ast.Attribute) or function.attr in _FREE_METHODS | _FREE_FUNCTIONS:
            return False
        if isinstance(function.value, ast.Name) and function.value.id == "math":
            return False
    elif not isinstance(node, (ast.BinOp, ast.Compare)):
        return False
    return any(isinstance(inner, ast.Name) and inner.id in arrays for inner in ast.walk(node))


def _changed(function: ast.FunctionDef) -> set[str]:
    """Names that stand for several values: what is said of them twice may be two things."""
    seen: set[str] = set()
    changed: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.AugAssign(target=target):
                changed |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id=name))]):
                changed.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                changed |= {name} & seen
                seen.add(name)
    return changed


def _work(function: ast.FunctionDef, arrays: set[str]) -> Iterator[tuple[str, str]]:
    """Yield every piece of work as (key, text), largest first within a statement."""
    changed = _changed(function)
    for node in ast.walk(function):
        if _is_work(node, arrays) and not any(isinstance(n, ast.Name) and n.id in changed for n in ast.walk(node)):
            yield ast.dump(node), ast.unparse(node)


def _arrays(function: ast.FunctionDef) -> set[str]:
    """The names that are not sizes: everything but what comes out of a shape or a Python number."""
    sizes = {"count", "batch", "dtype", "dtypes"}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and ".shape" in ast.unparse(node.value):
            sizes |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    return {n for n in names if n not in sizes and not (len(n) == 1 and n.isupper())} - {"np", "math", "cache"}


def repeated(text: str) -> list[str]:
    """Return the expressions that forward or backward of a module computes twice."""
    found: list[str] = []
    for name in ("forward", "backward"):
        function = _functions(text)[name]
        seen: set[str] = set()
        for key, shown in _work(function, _arrays(function)):
            if key in seen:
                found.append(f"{name}: {shown}")
            seen.add(key)
    return found


def recomputed(text: str) -> list[str]:
    """Return the expressions of backward that forward has given a name that the cache could hold, or holds."""
    functions = _functions(text)
    forward, backward = functions["forward"], functions["backward"]
    changed = _changed(forward)
    named = {
        ast.dump(node.value): node.targets[0].id
        for node in ast.walk(forward)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id not in changed
    }
    work = _work(backward, _arrays(backward))
    return [f"{named[key]} = {shown}" for key, shown in work if key in named]


def shared_memory(cache: object) -> list[tuple[str, str]]:
    """Return the pairs of fields of a cache (a NamedTuple) that lie in the same memory."""
    fields = {name: a for name, a in cache._asdict().items() if isinstance(a, np.ndarray) and a.ndim}  # type: ignore[attr-defined]
    return [(a, b) for a, b in combinations(fields, 2) if np.shares_memory(fields[a], fields[b])]
