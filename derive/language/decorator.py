"""``@layer``: a Python function whose body is in the layer language."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable
from typing import Any

from derive.errors import LayerSyntaxError, Source
from derive.language.grammar import definitions
from derive.language.layer import Layer
from derive.language.library import Library
from derive.language.reader import read

__all__ = ["layer"]


def layer(function: Callable[..., Any]) -> Layer:
    """Return the layer that a function's source is; the function is never called.

    Places in errors are those of the Python file. A name that is called is a
    ``Layer`` the function can see, or one of the catalogue. Annotations such as
    ``Real[N, D]`` are not Python's: the file begins with ``from __future__
    import annotations`` (needless from Python 3.14 on).

    Raises:
        DeriveError: the source can't be read, or is not a layer.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        lines, first = inspect.getsourcelines(function)
        file = inspect.getsourcefile(function) or "<source>"
    except (OSError, TypeError):
        raise LayerSyntaxError(
            f"the source of '{name}' can't be found", None, "use parse(text), or put the function into a file"
        ) from None
    whole = "".join(linecache.getlines(file)) or "".join(lines)
    indent = len(lines[0]) - len(lines[0].lstrip(" \t"))
    cut: list[str] = []
    shifts: list[int] = []
    for line in lines:
        shift = min(indent, len(line) - len(line.lstrip(" \t")))
        cut.append(line[shift:])
        shifts.append(shift)
    module, text = read("".join(cut), file, first, Source(file, whole), tuple(shifts))
    nodes = definitions(module, text)
    return Library(nodes, text, decorated=True, known=_visible(function)).layer(next(iter(nodes)))


def _visible(function: Callable[..., Any]) -> dict[str, Layer]:
    """Return the layers that the function's module and the functions around it define."""
    code = getattr(function, "__code__", None)
    cells = getattr(function, "__closure__", None) or ()
    found = {name: value for name, value in getattr(function, "__globals__", {}).items() if isinstance(value, Layer)}
    for name, cell in zip(code.co_freevars if code is not None else (), cells, strict=False):
        try:
            if isinstance(cell.cell_contents, Layer):
                found[name] = cell.cell_contents
        except ValueError:
            continue
    return found
