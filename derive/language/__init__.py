"""The layer language: text in, :class:`~derive.language.layer.Layer` out.

Text goes through four small stages: ``reader`` (Python's own parser, guarded),
``grammar`` (the forms of the language and no others), ``resolve`` (names,
``ranges`` of indices, SymPy ``expressions``, ``calls`` written out) and
``library`` (which file a layer is in). Nothing is ever executed.

    >>> parse("def double(x: Real[...]):\\n    y[...] = 2*x[...]\\n    return y\\n")
"""

from derive.language.decorator import layer
from derive.language.library import catalogue, load, load_all, parse, parse_all

__all__ = ["catalogue", "layer", "load", "load_all", "parse", "parse_all"]
