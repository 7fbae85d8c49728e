"""Branches with kernels of 1, 3 and 5 pixels and one with pooling, whose channels are concatenated.

    p1[n, f, i, j]    = sum[c](w1[f, c]*x[n, c, i, j]) + b1[f]
    one[n, a, h, w]   = where(p1[n, a, h, w] > 0, p1[n, a, h, w], 0)
    q3[n, f, i, j]    = sum[c](u3[f, c]*x[n, c, i, j]) + a3[f]
    r3[n, b, h, w]    = where(q3[n, b, h, w] > 0, q3[n, b, h, w], 0)
    p3[n, f, p, q]    = sum[c, r, s](w3[f, c, r, s]*padded(r3)[n, c, p + r - 1, q + s - 1]) + b3[f]
    three[n, d, h, w] = where(p3[n, d, h, w] > 0, p3[n, d, h, w], 0)
    q5[n, f, i, j]    = sum[c](u5[f, c]*x[n, c, i, j]) + a5[f]
    r5[n, e, h, w]    = where(q5[n, e, h, w] > 0, q5[n, e, h, w], 0)
    p5[n, f, p, q]    = sum[c, r, s](w5[f, c, r, s]*padded(r5)[n, c, p + r - 2, q + s - 2]) + b5[f]
    five[n, f, h, w]  = where(p5[n, f, h, w] > 0, p5[n, f, h, w], 0)
    m[n, c, p, q]     = max[r: 3, s: 3](padded(x, -inf)[n, c, p + r - 1, q + s - 1])
    pp[n, f, i, j]    = sum[c](wp[f, c]*m[n, c, i, j]) + bp[f]
    pool[n, g, h, w]  = where(pp[n, g, h, w] > 0, pp[n, g, h, w], 0)
    y[n, k, i, j]     = padded(five)[n, k - A - D, i, j] + padded(one)[n, k, i, j]
                        + padded(pool)[n, k - A - D - F, i, j] + padded(three)[n, k - A, i, j]

Memory beside arguments, results and cache: forward holds up to about 10*N*H*W*B + 2*N*H*W*D + 2*N*H*W*F +
26*N*H*W*E + 4*N*H*W*(A + D + F + G) + N*C*H*W + N*H*W*A + N*H*W*G + N*H*W*K + C*A + C*B + C*E + C*G elements,
backward 10*N*H*W*B + 2*N*H*W*A + 2*N*H*W*D + 2*N*H*W*F + 2*N*H*W*G + 26*N*H*W*E + 5*N*C*H*W +
N*(H + 2)*(W + 2)*B + N*(H + 4)*(W + 4)*E + N*C*(H + 2)*(W + 2) + 25*E*F + 9*B*D + C*A + C*B + C*E + C*G.

Source: Szegedy et al., "Going Deeper with Convolutions", 2015.
"""

# Made by derive 0.1.0 from vision.layer. Do not edit: change the layer file and run
# `derive generate inception_block`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, C, H, W]
    w1: np.ndarray  # [A, C]
    u3: np.ndarray  # [B, C]
    w3: np.ndarray  # [D, B, 3, 3]
    u5: np.ndarray  # [E, C]
    w5: np.ndarray  # [F, E, 5, 5]
    wp: np.ndarray  # [G, C]
    one: np.ndarray  # [N, A, H, W]
    r3: np.ndarray  # [N, B, H, W]
    r3_padded: np.ndarray  # [N, B, H + 2, W + 2]
    three: np.ndarray  # [N, D, H, W]
    r5: np.ndarray  # [N, E, H, W]
    r5_padded: np.ndarray  # [N, E, H + 4, W + 4]
    five: np.ndarray  # [N, F, H, W]
    x_padded: np.ndarray  # [N, C, H + 2, W + 2]
    m: np.ndarray  # [N, C, H, W]
    pool: np.ndarray  # [N, G, H, W]
    K: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw1: np.ndarray  # [A, C]
    db1: np.ndarray  # [A]
    du3: np.ndarray  # [B, C]
    da3: np.ndarray  # [B]
    dw3: np.ndarray  # [D, B, 3, 3]
    db3: np.ndarray  # [D]
    du5: np.ndarray  # [E, C]
    da5: np.ndarray  # [E]
    dw5: np.ndarray  # [F, E, 5, 5]
    db5: np.ndarray  # [F]
    dwp: np.ndarray  # [G, C]
    dbp: np.ndarray  # [G]


def forward(x, w1, b1, u3, a3, w3, b3, u5, a5, w5, b5, wp, bp):
    """Return (y, cache).

    x: [N, C, H, W]; w1: [A, C]; b1: [A]; u3: [B, C]; a3: [B]; w3: [D, B, 3, 3]; b3: [D];
    u5: [E, C]; a5: [E]; w5: [F, E, 5, 5]; b5: [F]; wp: [G, C]; bp: [G]; y: [N, K, H, W].
    Raises ValueError for another shape or kind.
    """
    x, w1, b1, u3, a3, w3, b3, u5, a5, w5, b5, wp, bp = _expect(x, w1, b1, u3, a3, w3, b3, u5, a5, w5, b5, wp, bp)
    dtype = np.result_type(x, w1, b1, u3, a3, w3, b3, u5, a5, w5, b5, wp, bp)
    A = w1.shape[0]
    D = w3.shape[0]
    F = w5.shape[0]
    G = wp.shape[0]
    N, _, H, W = x.shape
    B = u3.shape[0]
    E = u5.shape[0]
    K = A + D + F + G
    p1 = np.einsum("ncij,fc->nfij", x, w1, optimize=True) + b1[:, None, None]
    one = np.maximum(p1, 0)
    q3 = np.einsum("ncij,fc->nfij", x, u3, optimize=True) + a3[:, None, None]
    r3 = np.maximum(q3, 0)
    r3_padded = _pad(r3, (1, 1), (1, 1))
    r3_windows = sliding_window_view(r3_padded, (3, 3), axis=(2, 3))
    r3_columns = r3_windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, 9 * B, H * W)
    p3 = (w3.reshape(D, 9 * B) @ r3_columns).reshape(N, D, H, W) + b3[:, None, None]
    del r3_columns
    three = np.maximum(p3, 0)
    q5 = np.einsum("ncij,fc->nfij", x, u5, optimize=True) + a5[:, None, None]
    r5 = np.maximum(q5, 0)
    r5_padded = _pad(r5, (2, 2), (2, 2))
    r5_windows = sliding_window_view(r5_padded, (5, 5), axis=(2, 3))
    r5_columns = r5_windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, 25 * E, H * W)
    p5 = (w5.reshape(F, 25 * E) @ r5_columns).reshape(N, F, H, W) + b5[:, None, None]
    del r5_columns
    five = np.maximum(p5, 0)
    x_padded = _pad(x, (1, 1), (1, 1), fill=-np.inf)
    m = np.full(x.shape, -np.inf, dtype=dtype)
    for r in range(3):
        for s in range(3):
            np.maximum(m, x_padded[:, :, r : r + H, s : s + W], out=m)
    pp = np.einsum("ncij,fc->nfij", m, wp, optimize=True) + bp[:, None, None]
    pool = np.maximum(pp, 0)
    five_padded = _pad(five, (A + D, G), (0, 0), (0, 0))
    one_padded = _pad(one, (0, D + F + G), (0, 0), (0, 0))
    pool_padded = _pad(pool, (A + D + F, 0), (0, 0), (0, 0))
    three_padded = _pad(three, (A, F + G), (0, 0), (0, 0))
    y = five_padded + one_padded + pool_padded + three_padded
    dtypes = (
        x.dtype,
        w1.dtype,
        b1.dtype,
        u3.dtype,
        a3.dtype,
        w3.dtype,
        b3.dtype,
        u5.dtype,
        a5.dtype,
        w5.dtype,
        b5.dtype,
        wp.dtype,
        bp.dtype,
    )
    return y, Cache(
        x, w1, u3, w3, u5, w5, wp, one, r3, r3_padded, three, r5, r5_padded, five, x_padded, m, pool, K, dtypes
    )


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, du3, da3, dw3, db3, du5, da5, dw5, db5, dwp, dbp).

        dpool[n, g, h, w]  = sum[k](delta(g, k - A - D - F)*dy[n, k, h, w])
        dpp[n, f, i, j]    = where(pool[n, f, i, j] > 0, 1, 0)*dpool[n, f, i, j]
        dm[n, c, p, q]     = sum[f](wp[f, c]*dpp[n, f, p, q])
        dfive[n, f, h, w]  = sum[k](delta(f, k - A - D)*dy[n, k, h, w])
        dp5[n, f, p, q]    = where(five[n, f, p, q] > 0, 1, 0)*dfive[n, f, p, q]
        dr5[n, e, h, w]    = sum[f, p, q, r, s](delta(h, p + r - 2)*delta(w, q + s - 2)*dp5[n, f, p, q]*
                             w5[f, e, r, s])
        dq5[n, f, i, j]    = where(r5[n, f, i, j] > 0, 1, 0)*dr5[n, f, i, j]
        dthree[n, d, h, w] = sum[k](delta(d, k - A)*dy[n, k, h, w])
        dp3[n, f, p, q]    = where(three[n, f, p, q] > 0, 1, 0)*dthree[n, f, p, q]
        dr3[n, b, h, w]    = sum[f, p, q, r, s](delta(h, p + r - 1)*delta(w, q + s - 1)*dp3[n, f, p, q]*
                             w3[f, b, r, s])
        dq3[n, f, i, j]    = where(r3[n, f, i, j] > 0, 1, 0)*dr3[n, f, i, j]
        dp1[n, f, i, j]    = where(one[n, f, i, j] > 0, 1, 0)*sum[k](delta(f, k)*dy[n, k, i, j])
        dx[n, c, i, j]     = sum[f](u3[f, c]*dq3[n, f, i, j]) + sum[f](u5[f, c]*dq5[n, f, i, j])
                             + sum[f](w1[f, c]*dp1[n, f, i, j])
                             + sum[p, q, r: 3, s: 3](delta(i, p + r - 1)*delta(j, q + s - 1)*dm[n, c, p, q]*
                             (padded(x, -inf)[n, c, p + r - 1, q + s - 1] == m[n, c, p, q])
                             /sum[k: 3, t: 3](padded(x, -inf)[n, c, p + k - 1, q + t - 1] == m[n, c, p, q]))
        dw1[f, c]          = sum[n, i, j](dp1[n, f, i, j]*x[n, c, i, j])
        db1[f]             = sum[n, i, j](dp1[n, f, i, j])
        du3[f, c]          = sum[n, i, j](dq3[n, f, i, j]*x[n, c, i, j])
        da3[f]             = sum[n, i, j](dq3[n, f, i, j])
        dw3[f, c, r, s]    = sum[n, p, q](dp3[n, f, p, q]*padded(r3)[n, c, p + r - 1, q + s - 1])
        db3[f]             = sum[n, p, q](dp3[n, f, p, q])
        du5[f, c]          = sum[n, i, j](dq5[n, f, i, j]*x[n, c, i, j])
        da5[f]             = sum[n, i, j](dq5[n, f, i, j])
        dw5[f, c, r, s]    = sum[n, p, q](dp5[n, f, p, q]*padded(r5)[n, c, p + r - 2, q + s - 2])
        db5[f]             = sum[n, p, q](dp5[n, f, p, q])
        dwp[f, c]          = sum[n, i, j](dpp[n, f, i, j]*m[n, c, i, j])
        dbp[f]             = sum[n, i, j](dpp[n, f, i, j])

    dy: [N, K, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, w1, u3, w3, u5, w5, wp, one, r3, r3_padded, three, r5, r5_padded, five, x_padded, m, pool, K, dtypes = cache
    N, _, H, W = x.shape
    A = w1.shape[0]
    D = w3.shape[0]
    F = w5.shape[0]
    E = u5.shape[0]
    B = u3.shape[0]
    dy = _cotangent("dy", dy, (N, K, H, W), np.result_type(*dtypes))
    dpool = dy[:, A + D + F :]
    dpp = dpool * (pool > 0)
    dm = np.einsum("nfpq,fc->ncpq", dpp, wp, optimize=True)
    dfive = dy[:, A + D : A + D + F]
    dp5 = dfive * (five > 0)
    dr5_columns = (np.moveaxis(w5, 1, -1).reshape(F, 25 * E).T @ dp5.reshape(N, F, H * W)).reshape(N, 5, 5, E, H, W)
    dr5_padded = np.zeros(r5_padded.shape, dtype=dy.dtype)
    for r in range(5):
        for s in range(5):
            dr5_padded[:, :, r : r + H, s : s + W] += dr5_columns[:, r, s]
    del dr5_columns
    dr5 = _pad(dr5_padded, (-2, -2), (-2, -2))
    dq5 = dr5 * (r5 > 0)
    dthree = dy[:, A : A + D]
    dp3 = dthree * (three > 0)
    dr3_columns = (np.moveaxis(w3, 1, -1).reshape(D, 9 * B).T @ dp3.reshape(N, D, H * W)).reshape(N, 3, 3, B, H, W)
    dr3_padded = np.zeros(r3_padded.shape, dtype=dy.dtype)
    for r in range(3):
        for s in range(3):
            dr3_padded[:, :, r : r + H, s : s + W] += dr3_columns[:, r, s]
    del dr3_columns
    dr3 = _pad(dr3_padded, (-1, -1), (-1, -1))
    dq3 = dr3 * (r3 > 0)
    dp1 = dy[:, :A] * (one > 0).astype(dy.dtype)
    ties = np.zeros(x.shape, dtype=dy.dtype)
    for k in range(3):
        for t in range(3):
            ties += x_padded[:, :, k : k + H, t : t + W] == m
    dx = (
        np.einsum("nfij,fc->ncij", dp1, w1, optimize=True)
        + np.einsum("nfij,fc->ncij", dq3, u3, optimize=True)
        + np.einsum("nfij,fc->ncij", dq5, u5, optimize=True)
    )
    term = dm / ties
    dx_padded = np.zeros(x_padded.shape, dtype=dy.dtype)
    for r in range(3):
        for s in range(3):
            dx_padded[:, :, r : r + H, s : s + W] += term * (x_padded[:, :, r : r + H, s : s + W] == m)
    dx += _pad(dx_padded, (-1, -1), (-1, -1))
    dw1 = np.einsum("nfij,ncij->fc", dp1, x, optimize=True)
    db1 = dp1.sum(axis=(0, 2, 3))
    du3 = np.einsum("nfij,ncij->fc", dq3, x, optimize=True)
    da3 = dq3.sum(axis=(0, 2, 3))
    r3_windows = sliding_window_view(r3_padded, (3, 3), axis=(2, 3))
    r3_columns = r3_windows.transpose(1, 4, 5, 0, 2, 3).reshape(9 * B, N * H * W)
    dw3 = (np.swapaxes(dp3, 0, 1).reshape(D, N * H * W) @ r3_columns.T).reshape(D, B, 3, 3)
    del r3_columns
    db3 = dp3.sum(axis=(0, 2, 3))
    du5 = np.einsum("nfij,ncij->fc", dq5, x, optimize=True)
    da5 = dq5.sum(axis=(0, 2, 3))
    r5_windows = sliding_window_view(r5_padded, (5, 5), axis=(2, 3))
    r5_columns = r5_windows.transpose(1, 4, 5, 0, 2, 3).reshape(25 * E, N * H * W)
    dw5 = (np.swapaxes(dp5, 0, 1).reshape(F, N * H * W) @ r5_columns.T).reshape(F, E, 5, 5)
    del r5_columns
    db5 = dp5.sum(axis=(0, 2, 3))
    dwp = np.einsum("nfij,ncij->fc", dpp, m, optimize=True)
    dbp = dpp.sum(axis=(0, 2, 3))
    gradients = (dx, dw1, db1, du3, da3, dw3, db3, du5, da5, dw5, db5, dwp, dbp)
    return _into(out, Gradients(*map(np.asarray, gradients, dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w1": ("Real", ("A", "C")),
    "b1": ("Real", ("A",)),
    "u3": ("Real", ("B", "C")),
    "a3": ("Real", ("B",)),
    "w3": ("Real", ("D", "B", 3, 3)),
    "b3": ("Real", ("D",)),
    "u5": ("Real", ("E", "C")),
    "a5": ("Real", ("E",)),
    "w5": ("Real", ("F", "E", 5, 5)),
    "b5": ("Real", ("F",)),
    "wp": ("Real", ("G", "C")),
    "bp": ("Real", ("G",)),
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
            sizes.setdefault(axis, (axis if isinstance(axis, int) else length, f"{name} {array.shape}"))
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
