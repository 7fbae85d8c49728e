"""``derive new``: a layer file to start from."""

from __future__ import annotations

import keyword
from pathlib import Path

from derive.errors import DeriveError
from derive.files import create

__all__ = ["SUFFIX", "start"]

SUFFIX = ".layer"

_TEXT = '''\
# NAME.layer holds layers in Python's syntax. It is read, never run.
#
#   derive show NAME.layer              the formulas, forward and backward
#   derive latex NAME.layer --steps     the derivation, as LaTeX
#   derive generate NAME.layer          generated/NAME.py: NumPy code, checked
#
# Parameters  Real[N, D], Positive[...] (> 0), Unit[...] (in (0, 1)); not differentiated:
#             Int[N] (labels, token ids), Bool[N, D] (masks). Those after * are constants.
# Sizes       capitalised (N, D); a leading ... stands for any number of batch axes.
# Indices     lower-case; each runs over the axis at whose place it stands.
# Reductions  sum mean prod max min var std logsumexp softmax log_softmax norm argmax,
#             with the index they run over: sum[d](...).
# Functions   exp log sqrt abs tanh sigmoid relu maximum where clip ..., + - * / **,
#             comparisons; a labelled element is z[n, t[n]].
# Layers      of this file or the catalogue are called on whole tensors: h = linear(x, w, b).


def NAME(x: Real[N, D], w: Real[D, E], b: Real[E], *, scale: Real = 1.0):
    """What the layer is, in one sentence.

    Source: who published it, where and when.
    """
    a[n, e] = sum[d](x[n, d] * w[d, e]) + b[e]
    y[n, e] = scale * tanh(a[n, e])
    return y
'''


def start(name: str, folder: Path = Path()) -> Path:
    """Write ``NAME.layer`` into the folder and return its path.

    Raises:
        DeriveError: the name is no layer's name, or the file is there already.
        OSError: the folder cannot be written to.
    """
    from derive.language import parse

    if name.endswith(SUFFIX):
        hint = f"give the layer's: derive new {name.removesuffix(SUFFIX)}"
        raise DeriveError(f"'{name}' is a file's name", hint=hint)
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        hint = "letters, digits and _, not starting with a digit, and no word of Python's own"
        raise DeriveError(f"'{name}' cannot be a layer's name", hint=hint)
    text = _TEXT.replace("NAME", name)
    path = folder / f"{name}{SUFFIX}"
    try:
        parse(text)
    except DeriveError as error:
        raise DeriveError(f"'{name}' cannot be a layer's name: {error.message}", hint=error.hint) from None
    try:
        create(path, text)
    except FileExistsError:
        raise DeriveError(f"{path} is there already and is left as it is", hint="choose another name") from None
    return path
