"""E networks of two layers, averaged with the weights that a softmax gate gives them for each input.

    gate[..., e]   = softmax[e](sum[d](wg[d, e]*x[..., d]))
    h[..., e, m]   = relu(sum[d](x[..., d]*w1[e, d, m]) + b1[e, m])
    out[..., e, o] = sum[m](h[..., e, m]*w2[e, m, o]) + b2[e, o]
    y[..., o]      = sum[e](gate[..., e]*out[..., e, o])

Source: Jacobs, Jordan, Nowlan & Hinton, "Adaptive Mixtures of Local Experts", 1991.
"""

# Made by derive 0.1.0 from gating.layer. Do not edit: change the layer file and run
# `derive generate mixture_of_experts`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [..., D]
    wg: np.ndarray  # [D, E]
    w1: np.ndarray  # [E, D, H]
    w2: np.ndarray  # [E, H, O]
    gate: np.ndarray  # [..., E]
    h: np.ndarray  # [..., E, H]
    out_: np.ndarray  # [..., E, O]
    y: np.ndarray  # [..., O]
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [..., D]
    dwg: np.ndarray  # [D, E]
    dw1: np.ndarray  # [E, D, H]
    db1: np.ndarray  # [E, H]
    dw2: np.ndarray  # [E, H, O]
    db2: np.ndarray  # [E, O]


def forward(x, wg, w1, b1, w2, b2):
    """Return (y, cache).

    x: [..., D]; wg: [D, E]; w1: [E, D, H]; b1: [E, H]; w2: [E, H, O]; b2: [E, O]; y: [...,
    O].
    Raises ValueError for another shape or kind or an empty axis.
    """
    x, wg, w1, b1, w2, b2 = _expect(x, wg, w1, b1, w2, b2)
    gate = x @ wg
    gate = np.exp(gate - gate.max(axis=-1, keepdims=True))
    gate /= gate.sum(axis=-1, keepdims=True)
    h = np.maximum(np.einsum("...d,edm->...em", x, w1, optimize=True) + b1, 0)
    out_ = np.einsum("...em,emo->...eo", h, w2, optimize=True) + b2
    y = np.einsum("...eo,...e->...o", out_, gate)
    dtypes = (x.dtype, wg.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype)
    return y, Cache(x, wg, w1, w2, gate, h, out_, y, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dwg, dw1, db1, dw2, db2).

        dout[..., e, o]   = dy[..., o]*gate[..., e]
        dh[..., e, m]     = sum[o](dout[..., e, o]*w2[e, m, o])
        dpre_h[..., e, m] = (h[..., e, m] > 0)*dh[..., e, m]
        dpre_gate[..., e] = sum[o](dout[..., e, o]*out[..., e, o]) - sum[o](y[..., o]*dout[..., e, o])
        dx[..., d]        = sum[e](dpre_gate[..., e]*wg[d, e]) + sum[e, m](dpre_h[..., e, m]*w1[e, d, m])
        dwg[d, e]         = sum[...](dpre_gate[..., e]*x[..., d])
        dw1[e, d, m]      = sum[...](x[..., d]*dpre_h[..., e, m])
        db1[e, m]         = sum[...](dpre_h[..., e, m])
        dw2[e, m, o]      = sum[...](dout[..., e, o]*h[..., e, m])
        db2[e, o]         = sum[...](dout[..., e, o])

    dy: [..., O].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, wg, w1, w2, gate, h, out_, y, dtypes = cache
    D = x.shape[-1]
    E = wg.shape[1]
    H = w1.shape[2]
    O = w2.shape[2]
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dout = dy[..., None, :] * gate[..., None]
    dh = np.einsum("...eo,emo->...em", dout, w2, optimize=True)
    dpre_h = dh * (h > 0)
    dpre_gate = (out_ * dout).sum(axis=-1) - np.einsum("...eo,...o->...e", dout, y)
    dx = dpre_gate @ wg.T + np.einsum("...em,edm->...d", dpre_h, w1, optimize=True)
    dwg = x.reshape(-1, D).T @ dpre_gate.reshape(-1, E)
    dw1 = np.einsum("bem,bd->edm", dpre_h.reshape(-1, E, H), x.reshape(-1, D), optimize=True)
    batch_axes = tuple(range(dpre_h.ndim - 2))
    db1 = dpre_h.sum(axis=batch_axes)
    dw2 = np.moveaxis(h.reshape(-1, E, H), 0, -1) @ np.swapaxes(dout.reshape(-1, E, O), 0, 1)
    db2 = dout.sum(axis=batch_axes)
    return _into(out, Gradients(*map(np.asarray, (dx, dwg, dw1, db1, dw2, db2), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("...", "D")),
    "wg": ("Real", ("D", "E")),
    "w1": ("Real", ("E", "D", "H")),
    "b1": ("Real", ("E", "H")),
    "w2": ("Real", ("E", "H", "O")),
    "b2": ("Real", ("E", "O")),
}
_KINDS = {"Real": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "E": "softmax[e]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
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
    for axis, why in _NONEMPTY.items():
        if 0 in np.atleast_1d(sizes[axis][0]):
            raise ValueError(f"{sizes[axis][1]}: the axis {axis} is empty, which leaves {why} undefined")
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
