"""Convolution and pooling with gradients written down by hand, and their modules, for the tests of the checks."""

from __future__ import annotations

import sympy
from checked_programs import Checked, at, equation, module, program_of
from sympy import Expr

from derive.algebra.functions import Eq, FloorDiv
from derive.algebra.nodes import Delta, Element, Hyper, Index, Kind, Max, Padded, Size, Sum
from derive.language.layer import DerivedSize, HyperParameter, Layer, Parameter, Statement

N, C, F, L, R, P = (Size(letter) for letter in "NCFLRP")
n, c, f, p, r = (Index(letter, size) for letter, size in (("n", N), ("c", C), ("f", F), ("p", P), ("r", R)))
i = Index("i", L)
stride, dilation, pad, k = (Hyper(name, Kind.INT) for name in ("stride", "dilation", "pad", "k"))


def whole(name: str, default: int) -> HyperParameter:
    """A hyper-parameter that is an integer."""
    return HyperParameter(name, Kind.INT, default)


def windowed(
    name: str,
    parameters: dict[str, tuple[Expr, ...]],
    derived: dict[Size, Expr],
    statements: tuple[Statement, ...],
    hypers: tuple[HyperParameter, ...],
) -> Layer:
    """A layer of real tensors with derived sizes, returning ``y``."""
    params = tuple(Parameter(p, Kind.REAL, axes) for p, axes in parameters.items())
    sizes = tuple(dict.fromkeys(a for p in params for a in p.axes if isinstance(a, Size) and a not in derived))
    made = tuple(DerivedSize(size, expr) for size, expr in derived.items())
    return Layer(name, "", params, hypers, sizes, made, statements, ("y",))


# Convolution along one axis, with everything that moves a window

PLACE = p * stride + r * dilation - pad
READ = Padded(at("x", n, c, PLACE), 0)
_conv1d = windowed(
    "conv1d",
    {"x": (N, C, L), "w": (F, C, R), "b": (F,)},
    {P: FloorDiv(L + 2 * pad - dilation * (R - 1) - 1, stride) + 1},
    (equation("y", n, f, p, at("b", f) + Sum(READ * at("w", f, c, r), c, r)),),
    (whole("stride", 1), whole("dilation", 1), whole("pad", 0)),
)


def conv1d_dx(place: Expr) -> Expr:
    """The gradient of ``x[n, c, i]`` where the window reads at ``place``."""
    return Sum(at("dy", n, f, p) * at("w", f, c, r) * Delta(i, place), f, p, r)


conv1d = Checked(
    _conv1d,
    program_of(
        _conv1d,
        (
            equation("dx", n, c, i, conv1d_dx(PLACE)),
            equation("dw", f, c, r, Sum(at("dy", n, f, p) * READ, n, p)),
            equation("db", f, Sum(at("dy", n, f, p), n, p)),
        ),
    ),
    module(
        "dx dw db",
        _conv1d,
        """
def forward(x, w, b, *, stride=1, dilation=1, pad=0):
    N, C, L = x.shape
    F, C, R = w.shape
    P = (L + 2*pad - dilation*(R - 1) - 1)//stride + 1
    if P < 1:
        raise ValueError("the window is longer than x")
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad)))
    columns = np.stack([padded[:, :, r*dilation : r*dilation + stride*(P - 1) + 1 : stride] for r in range(R)], 2)
    y = np.einsum("fcr,ncrp->nfp", w, columns) + b[:, None]
    return y, (columns, w, L, stride, dilation, pad)

def backward(dy, cache):
    columns, w, L, stride, dilation, pad = cache
    N, C, R, P = columns.shape
    dcolumns = np.einsum("fcr,nfp->ncrp", w, dy)
    dpadded = np.zeros((N, C, L + 2*pad), dcolumns.dtype)
    for r in range(R):
        dpadded[:, :, r*dilation : r*dilation + stride*(P - 1) + 1 : stride] += dcolumns[:, :, r]
    dw = np.einsum("nfp,ncrp->fcr", dy, columns)
    return Gradients(dpadded[:, :, pad : pad + L], dw, dy.sum(axis=(0, 2)))
""",
    ),
)

# The largest of each window; what is outside is never the largest

window = Index("r", k)
POOL_PLACE = p * stride + window - pad
POOL_READ = Padded(Element(at("x").tensor, n, POOL_PLACE), -sympy.oo)
_maxpool1d = windowed(
    "maxpool1d",
    {"x": (N, L)},
    {P: FloorDiv(L + 2 * pad - k, stride) + 1},
    (equation("y", n, p, Max(POOL_READ, window)),),
    (whole("k", 3), whole("stride", 2), whole("pad", 1)),
)
_largest = Eq(POOL_READ, at("y", n, p))


def maxpool1d_dx(place: Expr, ties: Expr) -> Expr:
    """The gradient of ``x[n, i]`` where the window reads at ``place``."""
    return Sum(at("dy", n, p) * _largest / ties * Delta(i, place), p, window)


maxpool1d = Checked(
    _maxpool1d,
    program_of(
        _maxpool1d,
        (
            equation("ties", n, p, Sum(_largest, window)),
            equation("dx", n, i, maxpool1d_dx(POOL_PLACE, at("ties", n, p))),
        ),
    ),
    module(
        "dx",
        _maxpool1d,
        """
def forward(x, *, k=3, stride=2, pad=1):
    P = (x.shape[1] + 2*pad - k)//stride + 1
    if P < 1:
        raise ValueError("the window is longer than x")
    padded = np.pad(x, ((0, 0), (pad, pad)), constant_values=-np.inf)
    windows = np.stack([padded[:, r : r + stride*(P - 1) + 1 : stride] for r in range(k)], 2)
    y = windows.max(axis=2)
    return y, (windows, y, x.shape[1], stride, pad)

def backward(dy, cache):
    windows, y, L, stride, pad = cache
    N, P, k = windows.shape
    largest = windows == y[:, :, None]
    dwindows = largest*(dy/largest.sum(axis=2))[:, :, None]
    dpadded = np.zeros((N, L + 2*pad), dy.dtype)
    for r in range(k):
        dpadded[:, r : r + stride*(P - 1) + 1 : stride] += dwindows[:, :, r]
    return Gradients(dpadded[:, pad : pad + L].astype(dy.dtype))
""",
    ),
)

WINDOWS = (conv1d, maxpool1d)
