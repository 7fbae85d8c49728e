"""A layer of relu whose gate says how much of its output replaces its input.

    h[..., j] = relu(sum[i](wh[i, j]*x[..., i]) + bh[j])
    g[..., j] = sigmoid(sum[i](wt[i, j]*x[..., i]) + bt[j])
    y[..., j] = x[..., j]*(1 - g[..., j]) + g[..., j]*h[..., j]

Source: Srivastava, Greff & Schmidhuber, "Highway Networks", 2015.
"""

# Made by derive 0.1.0 from gating.layer. Do not edit: change the layer file and run
# `derive generate highway`.

from typing import NamedTuple

import numpy as np
from scipy.special import expit  # NumPy has none


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., D]
    wh: np.ndarray  # [D, D]
    wt: np.ndarray  # [D, D]
    h: np.ndarray  # [..., D]
    g: np.ndarray  # [..., D]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., D]
    dwh: np.ndarray  # [D, D]
    dbh: np.ndarray  # [D]
    dwt: np.ndarray  # [D, D]
    dbt: np.ndarray  # [D]


def forward(x, wh, bh, wt, bt):
    """Return (y, cache).

    x, y: [..., D]; wh, wt: [D, D]; bh, bt: [D].
    Raises ValueError for another shape or kind.
    """
    x, wh, bh, wt, bt = _expect(x, wh, bh, wt, bt)
    h = np.maximum(x @ wh + bh, 0)
    g = expit(x @ wt + bt)
    y = x * (1 - g) + h * g
    dtypes = (x.dtype, wh.dtype, bh.dtype, wt.dtype, bt.dtype)
    return y, Cache(x, wh, wt, h, g, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dwh, dbh, dwt, dbt).

        dpre_g[..., j] = dy[..., j]*g[..., j]*(1 - g[..., j])*(h[..., j] - x[..., j])
        dpre_h[..., j] = (h[..., j] > 0)*dy[..., j]*g[..., j]
        dx[..., i]     = dy[..., i]*(1 - g[..., i]) + sum[j](dpre_g[..., j]*wt[i, j])
                         + sum[j](dpre_h[..., j]*wh[i, j])
        dwh[i, j]      = sum[...](dpre_h[..., j]*x[..., i])
        dbh[j]         = sum[...](dpre_h[..., j])
        dwt[i, j]      = sum[...](dpre_g[..., j]*x[..., i])
        dbt[j]         = sum[...](dpre_g[..., j])

    dy: [..., D].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wh, wt, h, g, dtypes = cache
    D = x.shape[-1]
    dy = _cotangent("dy", dy, x.shape, np.result_type(*dtypes))
    dy_times_g = dy * g
    one_minus_g = 1 - g
    dpre_g = dy_times_g * (h - x) * one_minus_g
    dpre_h = dy_times_g * (h > 0)
    dx = dy * one_minus_g + dpre_h @ wh.T + dpre_g @ wt.T
    dwh = x.reshape(-1, D).T @ dpre_h.reshape(-1, D)
    batch_axes = tuple(range(dpre_h.ndim - 1))
    dbh = dpre_h.sum(axis=batch_axes)
    dwt = x.reshape(-1, D).T @ dpre_g.reshape(-1, D)
    dbt = dpre_g.sum(axis=batch_axes)
    return _into(out, Gradients(*map(np.asarray, (dx, dwh, dbh, dwt, dbt), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "D")),
    "wh": ("Real", ("D", "D")),
    "bh": ("Real", ("D",)),
    "wt": ("Real", ("D", "D")),
    "bt": ("Real", ("D",)),
}
_KINDS = {"Real": "f"}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape."""
    arrays = [np.asarray(value) for value in inputs]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape, batch = array.shape, array.ndim - len(axes) + 1
        if axes[:1] == ("...",) and batch >= 0:
            shape = (shape[:batch], *shape[batch:])
        for axis, length in zip(axes, shape, strict=False):
            sizes.setdefault(axis, (length, f"{name} {array.shape}"))
        if shape != tuple(sizes[axis][0] for axis in axes if axis in sizes) or len(shape) != len(axes):
            raise ValueError(f"{name}: expected shape {_described(axes, known)}, got {array.shape}")
    return arrays


def _described(axes, known):
    """Return "(N, D) = (4, D), N from x (4, 5)": the axes, and what is known of them."""

    def shape(lengths):
        text = ", ".join(str(n).strip("()").rstrip(",") for n in lengths)
        return f"({text},)" if len(lengths) == 1 else f"({text})"

    if not known:
        return shape(axes)
    owners = "".join(f", {axis} from {owner}" for axis, (_, owner) in known.items())
    return f"{shape(axes)} = {shape([known.get(axis, (axis,))[0] for axis in axes])}{owners}"


def _cotangent(name, value, shape, dtype):
    """Return a cotangent as an array of that dtype; ValueError for another kind or shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected Real elements, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array.astype(dtype, copy=False)


def _into(out, gradients):
    """Return the gradients, in the arrays of out where it has them; ValueError where one does not fit."""
    if out is None:
        return gradients
    arrays = _arrays(out)
    for name, value, array in zip(Gradients._fields, gradients, arrays, strict=True):
        if array is not None and (array.shape, array.dtype) != (np.shape(value), value.dtype):
            wanted = f"{value.dtype} of shape {np.shape(value)}"
            raise ValueError(f"out, {name}: expected {wanted}, got {array.dtype} of shape {array.shape}")
    for value, array in zip(gradients, arrays, strict=True):
        if array is not None and array is not value:
            np.copyto(array, value)
    return Gradients(*(value if array is None else array for value, array in zip(gradients, arrays, strict=True)))


def _arrays(out):
    """Return an array or None for each gradient; ValueError for anything else, or where two share memory."""
    fields = Gradients._fields
    if isinstance(out, dict):
        if not out.keys() <= set(fields):
            raise ValueError(f"out: expected names among {', '.join(fields)}, got {', '.join(map(str, out))}")
        out = [out.get(name) for name in fields]
    if not isinstance(out, (tuple, list)) or len(out) != len(fields):
        raise ValueError(f"out: expected Gradients({', '.join(fields)}), a sequence in this order or a dict")
    for k, (name, array) in enumerate(zip(fields, out, strict=True)):
        if array is not None and not (isinstance(array, np.ndarray) and array.flags.writeable):
            raise ValueError(f"out, {name}: expected an array that can be written to, or None")
        for other in out[:k]:
            if array is not None and other is not None and np.shares_memory(array, other):
                raise ValueError(f"out, {name}: shares memory with another one")
    return out
