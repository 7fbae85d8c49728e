"""A node's own features and the mean of its neighbours', each through weights of its own, then relu.

A node without neighbours has a mean of 0.

    degree[i]         = sum[j](where(adj[i, j], 1, 0))
    maximum_degree[i] = maximum(degree[i], 1)
    m[i, k]           = sum[j](where(adj[i, j], x[j, k], 0))/maximum_degree[i]
    y[i, o]           = relu(sum[k](m[i, k]*v[k, o]) + sum[k](w[k, o]*x[i, k]) + b[o])

Source: Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs", 2017.
"""

# Made by derive 0.1.0 from graph.layer. Do not edit: change the layer file and run
# `derive generate graphsage`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, I]
    adj: np.ndarray  # [N, N]
    w: np.ndarray  # [I, O]
    v: np.ndarray  # [I, O]
    maximum_degree: np.ndarray  # [N, 1]
    m: np.ndarray  # [N, I]
    y: np.ndarray  # [N, O]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, I]
    dw: np.ndarray  # [I, O]
    dv: np.ndarray  # [I, O]
    db: np.ndarray  # [O]


def forward(x, adj, w, v, b):
    """Return (y, cache).

    x: [N, I]; adj: [N, N] booleans; w, v: [I, O]; b: [O]; y: [N, O].
    Raises ValueError for another shape or kind.
    """
    x, adj, w, v, b = _expect(x, adj, w, v, b)
    dtype = np.result_type(x, w, v, b)
    degree = adj.sum(axis=-1, keepdims=True).astype(dtype)
    maximum_degree = np.maximum(degree, 1)
    m = np.where(adj[:, :, None], x, 0).sum(axis=1) / maximum_degree
    y = np.maximum(x @ w + m @ v + b, 0)
    dtypes = (x.dtype, w.dtype, v.dtype, b.dtype)
    return y, Cache(x, adj, w, v, maximum_degree, m, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw, dv, db).

        dpre_y[i, o] = (y[i, o] > 0)*dy[i, o]
        dm[i, k]     = sum[o](dpre_y[i, o]*v[k, o])
        dsum_x[i, k] = dm[i, k]/maximum_degree[i]
        dx[j, k]     = sum[i](where(adj[i, j], 1, 0)*dsum_x[i, k]) + sum[o](dpre_y[j, o]*w[k, o])
        dw[k, o]     = sum[i](dpre_y[i, o]*x[i, k])
        dv[k, o]     = sum[i](dpre_y[i, o]*m[i, k])
        db[o]        = sum[i](dpre_y[i, o])

    dy: [N, O].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, adj, w, v, maximum_degree, m, y, dtypes = cache
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dpre_y = dy * (y > 0)
    dm = dpre_y @ v.T
    dsum_x = dm / maximum_degree
    dx = adj.astype(dy.dtype).T @ dsum_x + dpre_y @ w.T
    dw = x.T @ dpre_y
    dv = m.T @ dpre_y
    db = dpre_y.sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (dx, dw, dv, db), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "I")),
    "adj": ("Bool", ("N", "N")),
    "w": ("Real", ("I", "O")),
    "v": ("Real", ("I", "O")),
    "b": ("Real", ("O",)),
}
_KINDS = {"Real": "f", "Bool": "b"}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape."""
    arrays = [np.asarray(value) for value in inputs]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        array, known = arrays[k], {axis: sizes[axis] for axis in axes if axis in sizes}
        if array.dtype.kind not in _KINDS[kind]:
            raise ValueError(f"{name}: expected {kind} elements, got {array.dtype}")
        shape = array.shape
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
