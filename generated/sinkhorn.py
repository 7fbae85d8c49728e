"""Transport plan from masses a to masses b, and its cost, after three Sinkhorn iterations, differentiated
through.

    start[j]     = 0
    pre_f1[i, j] = (start[j] - cost[i, j])/eps
    log_a[i]     = log(a[i])
    f1[i]        = eps*(log_a[i] - logsumexp[j](pre_f1[i, j]))
    pre_g1[i, j] = (f1[i] - cost[i, j])/eps
    log_b[j]     = log(b[j])
    g1[j]        = eps*(log_b[j] - logsumexp[i](pre_g1[i, j]))
    pre_f2[i, j] = (g1[j] - cost[i, j])/eps
    f2[i]        = eps*(log_a[i] - logsumexp[j](pre_f2[i, j]))
    pre_g2[i, j] = (f2[i] - cost[i, j])/eps
    g2[j]        = eps*(log_b[j] - logsumexp[i](pre_g2[i, j]))
    pre_f3[i, j] = (g2[j] - cost[i, j])/eps
    f3[i]        = eps*(log_a[i] - logsumexp[j](pre_f3[i, j]))
    pre_g3[i, j] = (f3[i] - cost[i, j])/eps
    g3[j]        = eps*(log_b[j] - logsumexp[i](pre_g3[i, j]))
    plan[i, j]   = exp((f3[i] + g3[j] - cost[i, j])/eps)
    total        = sum[i, j](cost[i, j]*plan[i, j])

Source: Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", 2013.
"""

# Made by derive 0.1.0 from transport.layer. Do not edit: change the layer file and run
# `derive generate sinkhorn`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    cost: np.ndarray  # [N, M]
    a: np.ndarray  # [N]
    b: np.ndarray  # [M]
    pre_f1: np.ndarray  # [N, M]
    pre_g1: np.ndarray  # [N, M]
    pre_f2: np.ndarray  # [N, M]
    pre_g2: np.ndarray  # [N, M]
    pre_f3: np.ndarray  # [N, M]
    pre_g3: np.ndarray  # [N, M]
    plan: np.ndarray  # [N, M]
    eps: float
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dcost: np.ndarray  # [N, M]
    da: np.ndarray  # [N]
    db: np.ndarray  # [M]


def forward(cost, a, b, *, eps=0.5):
    """Return ((plan, total), cache).

    cost, plan: [N, M]; a: [N] above 0; b: [M] above 0; total: scalar.
    Raises ValueError for another shape or kind or an empty axis.
    """
    cost, a, b = _expect(cost, a, b)
    dtype = np.result_type(cost, a, b)
    start = np.zeros((), dtype=dtype)
    pre_f1 = (start - cost) / eps
    log_a = np.log(a)[:, None]
    f1 = eps * (log_a - _logsumexp(pre_f1, axis=-1, keepdims=True))
    pre_g1 = (f1 - cost) / eps
    log_b = np.log(b)
    g1 = eps * (log_b - _logsumexp(pre_g1, axis=0))
    pre_f2 = (g1 - cost) / eps
    f2 = eps * (log_a - _logsumexp(pre_f2, axis=-1, keepdims=True))
    pre_g2 = (f2 - cost) / eps
    g2 = eps * (log_b - _logsumexp(pre_g2, axis=0))
    pre_f3 = (g2 - cost) / eps
    f3 = eps * (log_a - _logsumexp(pre_f3, axis=-1, keepdims=True))
    pre_g3 = (f3 - cost) / eps
    g3 = eps * (log_b - _logsumexp(pre_g3, axis=0))
    plan = np.exp((f3 + g3 - cost) / eps)
    total = (cost * plan).sum()
    dtypes = (cost.dtype, a.dtype, b.dtype)
    return (plan, total), Cache(cost, a, b, pre_f1, pre_g1, pre_f2, pre_g2, pre_f3, pre_g3, plan, eps, dtypes)


def backward(dplan, dtotal, cache, out=None):
    """Return Gradients(dcost, da, db).

        ddiff[i, j]   = plan[i, j]*(dtotal*cost[i, j] + dplan[i, j])/eps
        dg3[j]        = sum[i](ddiff[i, j])
        dcostc6[i, j] = -dg3[j]*softmax[i](pre_g3[i, j])
        df3[i]        = sum[j](dcostc6[i, j]) + sum[j](ddiff[i, j])
        dcostc5[i, j] = -df3[i]*softmax[j](pre_f3[i, j])
        dg2[j]        = sum[i](dcostc5[i, j])
        dcostc4[i, j] = -dg2[j]*softmax[i](pre_g2[i, j])
        df2[i]        = sum[j](dcostc4[i, j])
        dcostc3[i, j] = -df2[i]*softmax[j](pre_f2[i, j])
        dg1[j]        = sum[i](dcostc3[i, j])
        dcostc2[i, j] = -dg1[j]*softmax[i](pre_g1[i, j])
        df1[i]        = sum[j](dcostc2[i, j])
        dcostc[i, j]  = -df1[i]*softmax[j](pre_f1[i, j])
        dcost[i, j]   = dtotal*plan[i, j] - dcostc[i, j] - dcostc2[i, j] - dcostc3[i, j] - dcostc4[i, j]
                        - dcostc5[i, j] - dcostc6[i, j] - ddiff[i, j]
        da[i]         = eps*(df1[i] + df2[i] + df3[i])/a[i]
        db[j]         = eps*(dg1[j] + dg2[j] + dg3[j])/b[j]

    dplan: [N, M]; dtotal: scalar.
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    cost, a, b, pre_f1, pre_g1, pre_f2, pre_g2, pre_f3, pre_g3, plan, eps, dtypes = cache
    dplan = _cotangent("dplan", dplan, cost.shape, np.result_type(*dtypes))
    dtotal = _cotangent("dtotal", dtotal, (), np.result_type(*dtypes))
    ddiff = plan * (dplan + dtotal * cost) / eps
    dg3 = ddiff.sum(axis=0)
    p = np.exp(pre_g3 - pre_g3.max(axis=0, keepdims=True))
    p /= p.sum(axis=0, keepdims=True)
    dcostc6 = -dg3 * p
    df3 = ddiff.sum(axis=-1) + dcostc6.sum(axis=-1)
    p2 = np.exp(pre_f3 - pre_f3.max(axis=-1, keepdims=True))
    p2 /= p2.sum(axis=-1, keepdims=True)
    dcostc5 = (-df3)[:, None] * p2
    dg2 = dcostc5.sum(axis=0)
    p3 = np.exp(pre_g2 - pre_g2.max(axis=0, keepdims=True))
    p3 /= p3.sum(axis=0, keepdims=True)
    dcostc4 = -dg2 * p3
    df2 = dcostc4.sum(axis=-1)
    p4 = np.exp(pre_f2 - pre_f2.max(axis=-1, keepdims=True))
    p4 /= p4.sum(axis=-1, keepdims=True)
    dcostc3 = (-df2)[:, None] * p4
    dg1 = dcostc3.sum(axis=0)
    p5 = np.exp(pre_g1 - pre_g1.max(axis=0, keepdims=True))
    p5 /= p5.sum(axis=0, keepdims=True)
    dcostc2 = -dg1 * p5
    df1 = dcostc2.sum(axis=-1)
    p6 = np.exp(pre_f1 - pre_f1.max(axis=-1, keepdims=True))
    p6 /= p6.sum(axis=-1, keepdims=True)
    dcostc = (-df1)[:, None] * p6
    dcost = dtotal * plan - ddiff - dcostc6 - dcostc5 - dcostc4 - dcostc3 - dcostc2 - dcostc
    da = eps * (df3 + df2 + df1) / a
    db = eps * (dg3 + dg2 + dg1) / b
    return _into(out, Gradients(*map(np.asarray, (dcost, da, db), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "cost": ("Real", ("N", "M")),
    "a": ("Positive", ("N",)),
    "b": ("Positive", ("M",)),
}
_KINDS = {"Real": "f", "Positive": "f"}
# What is undefined where an axis has no elements.
_NONEMPTY = {
    "M": "logsumexp[j]",
    "N": "logsumexp[i]",
}


def _expect(*inputs):
    """Return the inputs as arrays; ValueError for another kind or shape, or an empty axis."""
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


def _logsumexp(x, axis=None, keepdims=False):
    """Return log(sum(exp(x))) with the largest element taken out; -inf where all elements are -inf."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # log(0) = -inf
        result = top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))
    return result if keepdims else result.squeeze(axis)
