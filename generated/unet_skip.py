"""One level of a U: an image's half, convolved, is enlarged again and convolved together with the image itself.

The two lie on the axis of 2. Where a side is odd its last row or column has no counterpart below.

    m[n, c, p, q]       = max[r: 2, s: 2](padded(x, -inf)[n, c, 2*p + r, 2*q + s])
    a[n, f, p, q]       = sum[c, r, s](w1[f, c, r, s]*padded(m)[n, c, p + r - 1, q + s - 1]) + b1[f]
    h[n, d, p, q]       = where(a[n, d, p, q] > 0, a[n, d, p, q], 0)
    up[n, f, i, j]      = sum[c, p, q, r, s](delta(i, 2*p + r)*delta(j, 2*q + s)*h[n, c, p, q]*w2[c, f, r, s])
                          + b2[f]
    both[n, m, c, i, j] = where(m == 0, x[n, c, i, j], padded(up)[n, c, i, j])
    z[n, f, i, j]       = sum[m, c, r, s](w3[f, m, c, r, s]*padded(both)[n, m, c, i + r - 1, j + s - 1])
                          + b3[f]
    y[n, f, h, w]       = where(z[n, f, h, w] > 0, z[n, f, h, w], 0)

Memory beside arguments, results and cache: forward holds up to about the largest of 2*N*D*P*Q + 9*N*C*P*Q,
4*N*C*P*Q + N*C*H2*W2 + N*D*P*Q + 4*C*D and 2*N*H*W*F + 20*N*C*H*W + N*C*(H2 + 1)*(W2 + 1) + N*C*H2*W2 +
N*D*P*Q elements, backward 15*N*C*P*Q + 18*N*C*H*W + 2*N*C*(H + 2)*(W + 2) + 2*N*H*W*F + 3*N*D*P*Q +
N*C*(P + 2)*(Q + 2) + 18*C*F + 9*C*D.

Source: Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015.
"""

# Made by derive 0.1.0 from vision.layer. Do not edit: change the layer file and run
# `derive generate unet_skip`.

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Cache(NamedTuple):
    """What backward reads of a call of forward."""

    x: np.ndarray  # [N, C, H, W]
    w1: np.ndarray  # [D, C, 3, 3]
    w2: np.ndarray  # [D, C, 2, 2]
    w3: np.ndarray  # [F, 2, C, 3, 3]
    m: np.ndarray  # [N, C, P, Q]
    m_padded: np.ndarray  # [N, C, P + 2, Q + 2]
    h: np.ndarray  # [N, D, P, Q]
    both_padded: np.ndarray  # [N, 2, C, H + 2, W + 2]
    y: np.ndarray  # [N, F, H, W]
    H2: int
    W2: int
    dtypes: tuple[np.dtype, ...]


class Gradients(NamedTuple):
    """The gradient of each input, of its shape and dtype."""

    dx: np.ndarray  # [N, C, H, W]
    dw1: np.ndarray  # [D, C, 3, 3]
    db1: np.ndarray  # [D]
    dw2: np.ndarray  # [D, C, 2, 2]
    db2: np.ndarray  # [C]
    dw3: np.ndarray  # [F, 2, C, 3, 3]
    db3: np.ndarray  # [F]


def forward(x, w1, b1, w2, b2, w3, b3):
    """Return (y, cache).

    x: [N, C, H, W]; w1: [D, C, 3, 3]; b1: [D]; w2: [D, C, 2, 2]; b2: [C]; w3: [F, 2, C, 3,
    3]; b3: [F]; y: [N, F, H, W].
    Raises ValueError for another shape or kind.
    """
    x, w1, b1, w2, b2, w3, b3 = _expect(x, w1, b1, w2, b2, w3, b3)
    dtype = np.result_type(x, w1, b1, w2, b2, w3, b3)
    N, C, H, W = x.shape
    D = w1.shape[0]
    F = w3.shape[0]
    P = (H - 2) // 2 + 1
    _at_least_one(P=P)
    if 2 * P < 1:
        raise ValueError(f"expected that 2*P is at least 1, got {2 * P}")
    H2 = 2 * P
    Q = (W - 2) // 2 + 1
    _at_least_one(Q=Q)
    if 2 * Q < 1:
        raise ValueError(f"expected that 2*Q is at least 1, got {2 * Q}")
    W2 = 2 * Q
    m = np.full((N, C, P, Q), -np.inf, dtype=dtype)
    for r in range(2):
        for s in range(2):
            np.maximum(m, x[:, :, r : r + 2 * P : 2, s : s + 2 * Q : 2], out=m)
    m_padded = _pad(m, (1, 1), (1, 1))
    m_windows = sliding_window_view(m_padded, (3, 3), axis=(2, 3))
    m_columns = m_windows.transpose(0, 1, 4, 5, 2, 3).reshape(N, 9 * C, P * Q)
    a = (w1.reshape(D, 9 * C) @ m_columns).reshape(N, D, P, Q) + b1[:, None, None]
    del m_columns
    h = np.maximum(a, 0)
    up = np.broadcast_to(b2[:, None, None], (N, C, H2, W2)).copy()
    up_columns = (np.moveaxis(w2, 1, -1).reshape(D, 4 * C).T @ h.reshape(N, D, P * Q)).reshape(N, 2, 2, C, P, Q)
    for r in range(2):
        for s in range(2):
            up[:, :, r : r + 2 * P : 2, s : s + 2 * Q : 2] += up_columns[:, r, s]
    del up_columns
    up_padded = _pad(up, (0, 1), (0, 1))
    both = np.where((np.arange(2) == 0)[:, None, None, None], x[:, None, :, :, :], up_padded[:, None, :, :H, :W])
    both_padded = _pad(both, (1, 1), (1, 1))
    both_windows = sliding_window_view(both_padded, (3, 3), axis=(3, 4))
    both_columns = both_windows.transpose(0, 1, 2, 5, 6, 3, 4).reshape(N, 18 * C, H * W)
    z = (w3.reshape(F, 18 * C) @ both_columns).reshape(N, F, H, W) + b3[:, None, None]
    del both_columns
    y = np.maximum(z, 0)
    dtypes = (x.dtype, w1.dtype, b1.dtype, w2.dtype, b2.dtype, w3.dtype, b3.dtype)
    return y, Cache(x, w1, w2, w3, m, m_padded, h, both_padded, y, H2, W2, dtypes)


def backward(dy, cache, out=None):
    """Return Gradients(dx, dw1, db1, dw2, db2, dw3, db3).

        dz[n, f, i, j]       = where(y[n, f, i, j] > 0, 1, 0)*dy[n, f, i, j]
        dboth[n, m, c, i, j] = sum[f, k, l, r, s](delta(i, k + r - 1)*delta(j, l + s - 1)*dz[n, f, k, l]*
                               w3[f, m, c, r, s])
        dup[n, f, i, j]      = sum[k, l](delta(i, k)*delta(j, l)*dboth[n, 1, f, k, l])
        dh[n, d, p, q]       = sum[f, r, s](w2[d, f, r, s]*padded(dup)[n, f, 2*p + r, 2*q + s])
        da[n, f, p, q]       = where(h[n, f, p, q] > 0, 1, 0)*dh[n, f, p, q]
        dm[n, c, p, q]       = sum[f, r, k, l, s](delta(p, r + l - 1)*delta(q, k + s - 1)*da[n, f, r, k]*
                               w1[f, c, l, s])
        dx[n, c, i, j]       = dboth[n, 0, c, i, j]
                               + sum[p, q, r: 2, s: 2](delta(i, 2*p + r)*delta(j, 2*q + s)*dm[n, c, p, q]*
                               (padded(x, -inf)[n, c, 2*p + r, 2*q + s] == m[n, c, p, q])
                               /sum[k: 2, t: 2](padded(x, -inf)[n, c, 2*p + k, 2*q + t] == m[n, c, p, q]))
        dw1[f, c, r, s]      = sum[n, p, q](da[n, f, p, q]*padded(m)[n, c, p + r - 1, q + s - 1])
        db1[f]               = sum[n, p, q](da[n, f, p, q])
        dw2[c, f, r, s]      = sum[n, p, q](h[n, c, p, q]*padded(dup)[n, f, 2*p + r, 2*q + s])
        db2[f]               = sum[n, i, j](dup[n, f, i, j])
        dw3[f, m, c, r, s]   = sum[n, i, j](dz[n, f, i, j]*padded(both)[n, m, c, i + r - 1, j + s - 1])
        db3[f]               = sum[n, i, j](dz[n, f, i, j])

    dy: [N, F, H, W].
    out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not
    share memory with one another; what they share with a cotangent or the cache is read before it is written.
    Raises ValueError for another shape.
    """
    x, w1, w2, w3, m, m_padded, h, both_padded, y, H2, W2, dtypes = cache
    N, C, H, W = x.shape
    F = w3.shape[0]
    _, _, P, Q = m.shape
    D = w1.shape[0]
    dy = _cotangent("dy", dy, y.shape, np.result_type(*dtypes))
    dz = dy * (y > 0)
    dboth_columns = w3.transpose(0, 3, 4, 1, 2).reshape(F, 18 * C).T @ dz.reshape(N, F, H * W)
    dboth_columns = dboth_columns.reshape(N, 3, 3, 2, C, H, W)
    dboth_padded = np.zeros(both_padded.shape, dtype=dy.dtype)
    for r in range(3):
        for s in range(3):
            dboth_padded[:, :, :, r : r + H, s : s + W] += dboth_columns[:, r, s]
    del dboth_columns
    dboth = _pad(dboth_padded, (-1, -1), (-1, -1))
    dup = dboth[:, 1][:, :, :H2, :W2]
    dup_windows = dup.reshape(N, C, P, 2, Q, 2)
    dup_columns = dup_windows.transpose(0, 1, 3, 5, 2, 4).reshape(N, 4 * C, P * Q)
    dh = (w2.reshape(D, 4 * C) @ dup_columns).reshape(N, D, P, Q)
    del dup_columns
    da = dh * (h > 0)
    dm_columns = (np.moveaxis(w1, 1, -1).reshape(D, 9 * C).T @ da.reshape(N, D, P * Q)).reshape(N, 3, 3, C, P, Q)
    dm_padded = np.zeros(m_padded.shape, dtype=dy.dtype)
    for l in range(3):
        for s in range(3):
            dm_padded[:, :, l : l + P, s : s + Q] += dm_columns[:, l, s]
    del dm_columns
    dm = _pad(dm_padded, (-1, -1), (-1, -1))
    ties = np.zeros(m.shape, dtype=dy.dtype)
    for k in range(2):
        for t in range(2):
            ties += x[:, :, k : k + 2 * P : 2, t : t + 2 * Q : 2] == m
    dx = dboth[:, 0].copy()
    term = dm / ties
    for r in range(2):
        for s in range(2):
            term2 = x[:, :, r : r + 2 * P : 2, s : s + 2 * Q : 2] == m
            dx[:, :, r : r + 2 * P : 2, s : s + 2 * Q : 2] += term * term2
    m_windows = sliding_window_view(m_padded, (3, 3), axis=(2, 3))
    m_columns = m_windows.transpose(1, 4, 5, 0, 2, 3).reshape(9 * C, N * P * Q)
    dw1 = (np.swapaxes(da, 0, 1).reshape(D, N * P * Q) @ m_columns.T).reshape(D, C, 3, 3)
    del m_columns
    db1 = da.sum(axis=(0, 2, 3))
    dup_columns = dup_windows.transpose(1, 3, 5, 0, 2, 4).reshape(4 * C, N * P * Q)
    dw2 = (np.swapaxes(h, 0, 1).reshape(D, N * P * Q) @ dup_columns.T).reshape(D, C, 2, 2)
    del dup_columns
    db2 = dup.sum(axis=(0, 2, 3))
    both_windows = sliding_window_view(both_padded, (3, 3), axis=(3, 4))
    both_columns = both_windows.transpose(1, 2, 5, 6, 0, 3, 4).reshape(18 * C, N * H * W)
    dw3 = (np.swapaxes(dz, 0, 1).reshape(F, N * H * W) @ both_columns.T).reshape(F, 2, C, 3, 3)
    del both_columns
    db3 = dz.sum(axis=(0, 2, 3))
    return _into(out, Gradients(*map(np.asarray, (dx, dw1, db1, dw2, db2, dw3, db3), dtypes)))


# The kind and the axes of every input, and NumPy's letters for the dtypes of a kind.
_INPUTS = {
    "x": ("Real", ("N", "C", "H", "W")),
    "w1": ("Real", ("D", "C", 3, 3)),
    "b1": ("Real", ("D",)),
    "w2": ("Real", ("D", "C", 2, 2)),
    "b2": ("Real", ("C",)),
    "w3": ("Real", ("F", 2, "C", 3, 3)),
    "b3": ("Real", ("F",)),
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


def _at_least_one(**numbers):
    """Raise ValueError for a number below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")


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
