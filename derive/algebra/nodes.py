"""The node classes of the index calculus: few, small, and SymPy expressions.

SymPy owns the scalars (sums, products, powers, elementwise functions); the
nodes here own the indices:

    Element(x, n, d)          x[n, d]
    Sum(body, n)              sum[n](body)
    Softmax(body, (k,), (c,)) softmax over k of body, read at c
    Padded(x[p + r], 0)       x[p + r] inside x, 0 outside
    Delta(a, b)               1 where a = b, else 0 (Kronecker)

An index letter is bound by the reduction that names it, as a variable is by a
lambda; every function in :mod:`derive.algebra.indices` renames bound letters
first, so nothing is ever captured. SymPy's own ``subs``, ``xreplace`` and
``diff`` know nothing of binding and are not used across a reduction.

``BATCH`` stands for the leading ``...``: one index whose range is all batch
axes together. To the algebra it is an index like any other.

Numbers are exact: a literal ``0.044715`` is ``Rational(44715, 1000000)``.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any

import sympy
from sympy import Expr, Tuple

__all__ = [
    "BATCH",
    "BATCH_SIZE",
    "ArgMax",
    "Delta",
    "Element",
    "Hyper",
    "Index",
    "KeepingReduction",
    "Kind",
    "LogSoftmax",
    "LogSumExp",
    "Max",
    "Mean",
    "Min",
    "Norm",
    "Padded",
    "Partial",
    "Prod",
    "Reduction",
    "SafeSoftmax",
    "Size",
    "Softmax",
    "Std",
    "Sum",
    "Tensor",
    "Var",
]


class Kind(Enum):
    """What the elements of a tensor or a hyper-parameter may be."""

    REAL = "Real"
    POSITIVE = "Positive"
    UNIT = "Unit"
    INT = "Int"
    BOOL = "Bool"

    @property
    def differentiable(self) -> bool:
        """Whether a gradient with respect to such a tensor exists."""
        return self in (Kind.REAL, Kind.POSITIVE, Kind.UNIT)


_ASSUMPTIONS: dict[Kind, dict[str, bool]] = {
    Kind.REAL: {"real": True},
    Kind.POSITIVE: {"positive": True},
    Kind.UNIT: {"positive": True},
    Kind.INT: {"integer": True},
    Kind.BOOL: {"integer": True, "nonnegative": True},
}


class _Named(sympy.Symbol):
    """A symbol with one further attribute that is part of its identity."""

    __slots__ = ("_content", "tag")
    tag: Any
    _content: tuple[Any, ...]

    @classmethod
    @lru_cache(maxsize=8192)
    def _make(cls, name: str, tag: Any, **assumptions: bool) -> Any:
        # One object a name and tag: equality is then mostly identity, which is what SymPy tests first.
        symbol = sympy.Symbol.__xnew__(cls, name, **assumptions)
        symbol.tag = tag
        # Sizes print alike that are not the same: an open one and what it turns out to be.
        key = tag if isinstance(tag, sympy.Basic) else str(tag)
        symbol._content = (*sympy.Symbol._hashable_content(symbol), cls.__name__, key)
        return symbol

    def _hashable_content(self) -> tuple[Any, ...]:
        return self._content

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.name, self.tag), {}


class Size(_Named):
    """The number of elements along an axis, such as ``N``; a positive integer."""

    __slots__ = ()

    def __new__(cls, name: str, tag: Any = None) -> Size:
        return cls._make(name, tag, integer=True, positive=True)


class Index(_Named):
    """An index letter with its range: ``Index("n", N)`` runs over 0 … N-1."""

    __slots__ = ()

    def __new__(cls, name: str, size: Expr | int) -> Index:
        return cls._make(name, sympy.sympify(size), integer=True, nonnegative=True)

    @property
    def size(self) -> Expr:
        """The length of the range: a ``Size``, an integer or an expression of them."""
        return self.tag


class Tensor(_Named):
    """The name of a tensor (of any rank), with the kind of its elements."""

    __slots__ = ()

    def __new__(cls, name: str, kind: Kind = Kind.REAL) -> Tensor:
        return cls._make(name, kind, **_ASSUMPTIONS[kind])

    @property
    def kind(self) -> Kind:
        """The kind of the elements."""
        return self.tag


class Hyper(_Named):
    """A hyper-parameter: a scalar constant to differentiation."""

    __slots__ = ()

    def __new__(cls, name: str, kind: Kind = Kind.REAL) -> Hyper:
        return cls._make(name, kind, **_ASSUMPTIONS[kind])

    @property
    def kind(self) -> Kind:
        """The kind of the value."""
        return self.tag


BATCH_SIZE = Size("...")
BATCH = Index("...", BATCH_SIZE)


class _Node(Expr):
    """A node whose value is a real number."""

    is_commutative = True

    def _eval_is_extended_real(self) -> bool | None:
        return True

    def _eval_is_finite(self) -> bool | None:
        return None

    def _sympystr(self, printer: Any) -> str:
        from derive.algebra.text import show

        return show(self)

    def diff(self, *symbols: Any, **assumptions: Any) -> Any:
        """Refuse: a derivative through an index is taken by ``derive.calculus``."""
        raise AssertionError("derivatives of index nodes are taken by derive.calculus")


class Element(_Node):
    """``x[i, j]``: ``Element(Tensor, *subscripts)``; a scalar has no subscripts.

    A subscript is an index, an element of an integer tensor (a gather), or an
    integer expression.
    """

    def __new__(cls, tensor: Tensor, *subscripts: Expr | int) -> Element:
        return Expr.__new__(cls, tensor, *map(sympy.sympify, subscripts))

    @property
    def tensor(self) -> Tensor:
        """The tensor that is read."""
        return self.args[0]

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.args[0].name

    @property
    def kind(self) -> Kind:
        """The kind of the value read."""
        return self.args[0].tag

    @property
    def subscripts(self) -> tuple[Expr, ...]:
        """The subscripts, one an axis."""
        return self.args[1:]

    def _eval_is_extended_positive(self) -> bool | None:
        return True if self.args[0].tag in (Kind.POSITIVE, Kind.UNIT) else None

    def _eval_is_integer(self) -> bool | None:
        return True if self.args[0].tag in (Kind.INT, Kind.BOOL) else None


class Padded(_Node):
    """``padded(x, fill)[f]``: the element where every subscript lies inside its axis, else ``fill``.

    ``args = (element, fill)``. An element that is not padded lies inside for
    certain (that was proved when the layer was read), except that the element
    of a recurrence one step before its first is its start.
    """

    def __new__(cls, element: Element, fill: Expr | int = 0) -> Padded:
        assert isinstance(element, Element), element
        return Expr.__new__(cls, element, sympy.sympify(fill))

    @property
    def element(self) -> Element:
        """What is read inside."""
        return self.args[0]

    @property
    def fill(self) -> Expr:
        """The value outside: a constant."""
        return self.args[1]


class Delta(_Node):
    """Kronecker's delta of two integer expressions; symmetric, 1 where they agree."""

    def __new__(cls, a: Expr, b: Expr) -> Expr:
        a, b = sorted((sympy.sympify(a), sympy.sympify(b)), key=sympy.default_sort_key)
        if a == b:
            return sympy.S.One
        if a.is_Integer and b.is_Integer:
            return sympy.S.Zero
        return Expr.__new__(cls, a, b)

    def _eval_is_extended_nonnegative(self) -> bool:
        return True


class Partial(_Node):
    """``∂of/∂wrt`` of two elements, as it stands in the steps of a derivation; nothing computes with it."""

    def __new__(cls, of: Element, wrt: Element) -> Partial:
        return Expr.__new__(cls, of, wrt)


class Reduction(_Node):
    """``op[i, j](body)``: ``args = (body, *bound indices)``; the indices are gone after it."""

    word = ""

    def __new__(cls, body: Expr, *indices: Index) -> Reduction:
        return Expr.__new__(cls, sympy.sympify(body), *indices)

    @property
    def body(self) -> Expr:
        """What is reduced."""
        return self.args[0]

    @property
    def indices(self) -> tuple[Index, ...]:
        """The bound indices."""
        return self.args[1:]

    @property
    def count(self) -> Expr:
        """How many elements are reduced: the product of the ranges."""
        return sympy.Mul(*(index.size for index in self.args[1:]))


class _KeepsSign(Reduction):
    def _eval_is_extended_positive(self) -> bool | None:
        return True if self.args[0].is_extended_positive else None

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return True if self.args[0].is_extended_nonnegative else None


class Sum(_KeepsSign):
    """The sum."""

    word = "sum"


class Mean(_KeepsSign):
    """The arithmetic mean."""

    word = "mean"


class Prod(_KeepsSign):
    """The product."""

    word = "prod"


class Max(_KeepsSign):
    """The largest element; its gradient is shared evenly among ties."""

    word = "max"


class Min(_KeepsSign):
    """The smallest element; its gradient is shared evenly among ties."""

    word = "min"


class _NonNegative(Reduction):
    def _eval_is_extended_nonnegative(self) -> bool:
        return True


class Var(_NonNegative):
    """The population's variance: the mean of the squared deviations."""

    word = "var"


class Std(_NonNegative):
    """The population's standard deviation."""

    word = "std"


class LogSumExp(Reduction):
    """The logarithm of the sum of exponentials."""

    word = "logsumexp"


class Norm(_NonNegative):
    """The Euclidean norm, the root of the sum of squares."""

    word = "norm"


class ArgMax(Reduction):
    """The place of the largest element, the first of equals; it passes no gradient."""

    word = "argmax"

    def _eval_is_integer(self) -> bool:
        return True


class KeepingReduction(_Node):
    """A reduction that keeps its index: ``args = (body, Tuple(bound), Tuple(at))``.

    ``body`` is written with the bound indices; the value is that at ``at``.
    ``softmax[c](z[n, c])`` is ``Softmax(z[n, c], (c,), (c,))``.
    """

    word = ""

    def __new__(cls, body: Expr, indices: Any, at: Any) -> KeepingReduction:
        return Expr.__new__(cls, sympy.sympify(body), Tuple(*indices), Tuple(*at))

    @property
    def body(self) -> Expr:
        """What is reduced, in terms of the bound indices."""
        return self.args[0]

    @property
    def indices(self) -> tuple[Index, ...]:
        """The bound indices."""
        return tuple(self.args[1])

    @property
    def at(self) -> tuple[Expr, ...]:
        """Where the result is read, one expression a bound index."""
        return tuple(self.args[2])


class Softmax(KeepingReduction):
    """``exp(body at) / sum(exp(body))``."""

    word = "softmax"

    def _eval_is_extended_positive(self) -> bool | None:
        return None

    def _eval_is_extended_nonnegative(self) -> bool:
        return True


class SafeSoftmax(Softmax):
    """The derivative of a logsumexp: a softmax that is 0 where all of ``body`` is -inf."""


class LogSoftmax(KeepingReduction):
    """``body at - log(sum(exp(body)))``."""

    word = "log_softmax"
