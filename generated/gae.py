"""Generalized advantage estimates: rewards r, values v of the states before them, and the value of the last
state.

    after[t, n] = where(t == T - 1, last[n], padded(v)[t + 1, n])
    delta[t, n] = gamma*after[t, n] + r[t, n] - v[t, n]
    b[-1, n]    = 0; b[s, n] = gamma*lam*b[s - 1, n] + delta[T - 1 - s, n]
    a[t, n]     = b[T - 1 - t, n]

Memory beside arguments, results and cache: forward holds up to about 2*(T + 1)*N + 2*T*N + 2*N elements,
backward (T + 1)*N + 2*T*N + T.

Source: Schulman, Moritz, Levine, Jordan & Abbeel, "High-Dimensional Continuous Control Using Generalized
Advantage Estimation", 2016.
"""

# Made by derive 0.1.0 from sequence.layer. Do not edit: change the layer file and run
# `derive generate gae`.

from typing import NamedTuple

import numpy as np


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    gamma: float
    lam: float
    T: int
    N: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dr: np.ndarray  # [T, N]
    dv: np.ndarray  # [T, N]
    dlast: np.ndarray  # [N]


def forward(r, v, last, *, gamma=0.99, lam=0.95):
    """Return (a, cache).

    r, v, a: [T, N]; last: [N].
    Raises ValueError for another shape or kind.
    """
    r, v, last = _expect(r, v, last)
    dtype = np.result_type(r, v, last)
    T, N = r.shape
    v_padded = _pad(v, (0, 1), (0, 0))
    after = np.where((np.arange(T) == T - 1)[:, None], last, v_padded[1:])
    delta = r + gamma * after - v
    b = np.empty((T + 1, N), dtype=dtype)
    b[0] = 0
    for s in range(T):
        b[s + 1] = delta[T - s - 1] + gamma * lam * b[s]
    a = b[1:][::-1].copy()
    dtypes = (r.dtype, v.dtype, last.dtype)
    return a, Cache(gamma, lam, T, N, dtypes)


def backward(da, cache, out=None):
    """Return Gradients(dr, dv, dlast).

        db[T, n] = 0; db[s, n] = gamma*lam*db[s + 1, n] + da[T - 1 - s, n]
        dr[t, n] = db[T - 1 - t, n]
        dv[t, n] = gamma*sum[s: T](where(s == T - 1, 0, 1)*delta(t, s + 1)*db[T - 1 - s, n]) - db[T - 1 - t, n]
        dlast[n] = gamma*sum[t: T](where(t == T - 1, 1, 0)*db[T - 1 - t, n])

    da: [T, N].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    gamma, lam, T, N, dtypes = cache
    da = _cotangent("da", da, (T, N), np.result_type(*dtypes))
    db = np.empty((T + 1, N), dtype=da.dtype)
    db[-1] = 0
    for s in reversed(range(T)):
        db[s] = da[T - s - 1] + gamma * lam * db[s + 1]
    dr = db[:-1][::-1].copy()
    dv = -db[:-1][::-1]
    dv += _pad(np.where((np.arange(T) == T - 1)[:, None], 0, gamma * db[:-1][::-1]), (1, -1), (0, 0))
    dlast = gamma * ((np.arange(T) == T - 1).astype(da.dtype) @ db[:-1][::-1])
    return _into(out, Gradients(*map(np.asarray, (dr, dv, dlast), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "r": ("Real", ("T", "N")),
    "v": ("Real", ("T", "N")),
    "last": ("Real", ("N",)),
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


def _pad(x, *widths, fill=0):
    """Return x with so many elements of fill before and after the last axes, a pair each; below 0 they are cut off."""
    cut, place, shape = [...], [...], list(x.shape)
    for axis, (before, after) in enumerate(widths, x.ndim - len(widths)):
        length = x.shape[axis]
        first = min(max(-before, 0), length)
        last = max(min(length + after, length), first)
        cut.append(slice(first, last))
        place.append(slice(first + before, last + before))
        shape[axis] += before + after
    inside = x[tuple(cut)]
    if inside.shape == tuple(shape):
        return inside
    padded = np.full(shape, fill, dtype=x.dtype)
    padded[tuple(place)] = inside
    return padded
