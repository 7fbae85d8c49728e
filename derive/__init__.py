"""Derives the backward pass of a neural-network layer from its forward formula.

    >>> import derive
    >>> square = derive.parse("def square(x: Real[...]):\\n    y[...] = x[...]**2\\n    return y\\n")
    >>> print(derive.derive_program(square))        # the formulas
    >>> text, report = derive.build(square)         # a NumPy module, and how its check went
    >>> derive.generate(square, out="generated")    # the same, written to generated/square.py
    >>> derive.generate(square, target="c")         # in C: square.c, square.h and square_c.py, which calls it

A layer comes from text (:func:`parse`), from a file or the catalogue
(:func:`load`), or from a decorated function (:func:`layer`). What goes wrong
in it is a :class:`DeriveError` with its place in the text.

The names load on first use, so that ``import derive`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from derive.calculus.program import Program as Program
    from derive.check import Report as Report
    from derive.diagnosis import Diagnosis as Diagnosis
    from derive.diagnosis import diagnose as diagnose
    from derive.errors import CheckError as CheckError
    from derive.errors import DerivationError as DerivationError
    from derive.errors import DeriveError as DeriveError
    from derive.errors import LayerSyntaxError as LayerSyntaxError
    from derive.errors import ShapeError as ShapeError
    from derive.errors import UnknownNameError as UnknownNameError
    from derive.files import generate as generate
    from derive.language import catalogue as catalogue
    from derive.language import layer as layer
    from derive.language import load as load
    from derive.language import load_all as load_all
    from derive.language import parse as parse
    from derive.language import parse_all as parse_all
    from derive.language.layer import Layer as Layer
    from derive.pipeline import build as build
    from derive.pipeline import derive_program as derive_program
    from derive.render.latex import latex as latex
    from derive.render.terminal import show as show

__version__ = "0.1.0"

_HOME = {
    "Layer": "derive.language.layer",
    "layer": "derive.language",
    "parse": "derive.language",
    "parse_all": "derive.language",
    "load": "derive.language",
    "load_all": "derive.language",
    "catalogue": "derive.language",
    "Program": "derive.calculus.program",
    "derive_program": "derive.pipeline",
    "build": "derive.pipeline",
    "generate": "derive.files",
    "latex": "derive.render.latex",
    "show": "derive.render.terminal",
    "Report": "derive.check",
    "diagnose": "derive.diagnosis",
    "Diagnosis": "derive.diagnosis",
    "DeriveError": "derive.errors",
    "LayerSyntaxError": "derive.errors",
    "UnknownNameError": "derive.errors",
    "ShapeError": "derive.errors",
    "DerivationError": "derive.errors",
    "CheckError": "derive.errors",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'derive' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
