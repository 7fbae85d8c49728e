"""Graph isomorphism network: (1 + eps) times a node's features plus its neighbours' sum, through two layers.

    a[i, k] = x[i, k]*(eps + 1) + sum[j](where(adj[i, j], x[j, k], 0))
    h[i, m] = relu(sum[k](a[i, k]*w1[k, m]) + b1[m])
    y[i, o] = sum[m](h[i, m]*w2[m, o]) + b2[o]

Source: Xu, Hu, Leskovec & Jegelka, "How Powerful are Graph Neural Networks?", 2019.
"""

# Made by derive 0.1.0 from graph.layer. Do not edit: change the layer file and run
# `derive generate gin`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, I]
    adj: np.ndarray  # [N, N]
    eps: np.ndarray  # scalar
    w1: np.ndarray  # [I, H]
    w2: np.ndarray  # [H, O]
    a: np.ndarray  # [N, I]
    h: np.ndarray  # [N, H]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, I]
    deps: np.ndarray  # scalar
    dw1: np.ndarray  # [I, H]
    db1: np.ndarray  # [H]
    dw2: np.ndarray  # [H, O]
    db2: np.ndarray  # [O]


def forward(x, adj, eps, w1, b1, w2, b2):
    """Return (y, cache).

    x: [N, I]; adj: [N, N] booleans; eps: scalar; w1: [I, H]; b1: [H]; w2: [H, O]; b2: [O];
    y: [N, O].
    Raises ValueError for another shape or kind.
    """
    x, adj, eps, w1, b1, w2, b2 = _expect(x, adj, eps, w1, b1, w2, b2)
    a = np.where(adj[:, :, None], x, 0).sum(axis=1) + (1 + eps) * x
    h = np.maximum(a @ w1 + b1, 0)
    y = h @ w2 + b2
    dtypes = (x.dtype, eps.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype)
    return y, Cache(x, adj, eps, w1, w2, a, h, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, deps, dw1, db1, dw2, db2).

        dh[i, m]     = sum[o](dy[i, o]*w2[m, o])
        dpre_h[i, m] = (h[i, m] > 0)*dh[i, m]
        da[i, k]     = sum[m](dpre_h[i, m]*w1[k, m])
        dx[i, k]     = da[i, k]*(eps + 1) + sum[j](where(adj[j, i], 1, 0)*da[j, k])
        deps         = sum[i, k](da[i, k]*x[i, k])
        dw1[k, m]    = sum[i](a[i, k]*dpre_h[i, m])
        db1[m]       = sum[i](dpre_h[i, m])
        dw2[m, o]    = sum[i](dy[i, o]*h[i, m])
        db2[o]       = sum[i](dy[i, o])

    dy: [N, O].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, adj, eps, w1, w2, a, h, dtypes = cache
    N = x.shape[0]
    O = w2.shape[1]
    dy = _cotangent("dy", dy, (N, O), np.result_type(*dtypes))
    dh = dy @ w2.T
    dpre_h = dh * (h > 0)
    da = dpre_h @ w1.T
    dx = adj.astype(dy.dtype).T @ da + (1 + eps) * da
    deps = (x * da).sum()
    dw1 = a.T @ dpre_h
    db1 = dpre_h.sum(axis=0)
    dw2 = h.T @ dy
    db2 = dy.sum(axis=0)
    return _into(out, Gradients(*map(np.asarray, (dx, deps, dw1, db1, dw2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "I")),
    "adj": ("Bool", ("N", "N")),
    "eps": ("Real", ()),
    "w1": ("Real", ("I", "H")),
    "b1": ("Real", ("H",)),
    "w2": ("Real", ("H", "O")),
    "b2": ("Real", ("O",)),
}
_KINDS = {"Real": "f", "Bool": "b"}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape."""
    arrays = [np.asarray(value) for value in inputs]
    real = [a.dtype for a, v in zip(arrays, inputs, strict=True) if a.dtype.kind == "f" and type(v) is not float]
    sizes = {}  # of every axis: its length, and the input it is from
    for k, (name, (kind, axes)) in enumerate(_INPUTS.items()):
        if type(inputs[k]) in (int, float) and "f" in _KINDS[kind]:  # a Python number takes the dtype of the arrays
            arrays[k] = np.asarray(inputs[k], dtype=np.result_type(*real) if real else float)
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
