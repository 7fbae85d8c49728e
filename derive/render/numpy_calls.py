"""Calls of other generated modules as NumPy text, and the imports that they need."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Container, Mapping, Sequence

from derive.lower.arrays import Array, CallBackward, CallForward

__all__ = ["backward_call", "forward_call", "import_lines", "local_modules"]

_WIDTH = 120
Lines = tuple[str, list[str]]
"""What stands before the parentheses of a call, and its arguments."""


def local_modules(modules: Sequence[str], taken: Container[str]) -> dict[str, str]:
    """Return the name of each module in the text: its own, unless something else has that."""
    local: dict[str, str] = {}
    for module in modules:
        name = module
        while name in taken or keyword.iskeyword(name) or name in local.values():
            name += "_layer" if name == module else "_"
        local[module] = name
    return local


def import_lines(local: Mapping[str, str]) -> tuple[str, ...]:
    """Return the imports of modules of the same folder, whether that is a package or on the path itself."""
    if not local:
        return ()
    plain = sorted(module for module, name in local.items() if module == name)
    whole = f"    from . import {', '.join(plain)}"
    if len(whole) > _WIDTH:
        whole = "\n".join(["    from . import (", *(f"        {module}," for module in plain), "    )"])
    relative = {module: f"    from . import {module} as {name}" for module, name in local.items() if module != name}
    relative |= {plain[0]: whole} if plain else {}
    return (
        "# The layers that are called, from this module's own folder: a package, or a folder on sys.path.",
        "if __package__:",
        *(line for module in sorted(relative) for line in relative[module].split("\n")),
        "else:",
        *(f"    import {module}" + (f" as {name}" if name != module else "") for module, name in sorted(local.items())),
    )


def forward_call(
    call: CallForward, module: str, rename: Callable[[str], str], expression: Callable[[Array], str]
) -> Lines:
    """``(h, c), h_cache = module.forward`` and the arguments."""
    results = ", ".join("_" if name is None else rename(name) for name in call.results)
    target = f"({results})" if len(call.results) > 1 else results
    cache = "_" if call.cache is None else rename(call.cache)
    given = [expression(a) for a in call.arguments]
    given += [f"{name}={expression(value)}" for name, value in call.keywords]
    return f"{target}, {cache} = {module}.forward", given


def backward_call(
    call: CallBackward, module: str, rename: Callable[[str], str], expression: Callable[[Array], str]
) -> tuple[Lines, str]:
    """``dx, dw, _ = module.backward`` and the arguments, and what comes after the call: ``.dx`` of one gradient."""
    given = [*(expression(a) for a in call.arguments), rename(call.cache)]
    wanted = [(name, field) for name, field in zip(call.results, call.fields, strict=True) if name is not None]
    if len(wanted) == 1:
        ((name, field),) = wanted
        return (f"{rename(name)} = {module}.backward", given), f".{field}"
    targets = ", ".join("_" if name is None else rename(name) for name in call.results)
    return (f"{targets} = {module}.backward", given), ""
