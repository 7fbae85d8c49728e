"""The sizes of one layer while it is read: which are equal, which are computed, what is taken for granted.

Two names of one length are one size (``Q = 1 + N`` after ``P = N + 1`` is P).
The axes of a recurrence are there before its equation tells how long they are;
until then such an axis has an *open* size, which the first place that knows
better binds.
"""

from __future__ import annotations

from sympy import Add, Expr, Mul, Pow, S

from derive.algebra.functions import FloorDiv, Mod
from derive.algebra.indices import substitute
from derive.algebra.nodes import Index, Size
from derive.algebra.text import show
from derive.errors import ShapeError, Span
from derive.language.bounds import Bounds
from derive.language.layer import Condition, DerivedSize

__all__ = ["Lengths"]


class Lengths:
    """What is known of the sizes of a layer.

    Attributes:
        sizes: by name.
        derived: the computed sizes, in order.
        conditions: what the sizes and hyper-parameters of a run have to fulfil, in order.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, Expr] = {}
        self.derived: list[DerivedSize] = []
        self.conditions: list[Condition] = []
        self._values: dict[Expr, Expr] = {}
        self._by_value: dict[Expr, Expr] = {}
        self._roots: dict[Expr, Expr] = {}
        self._open: set[Expr] = set()
        self._bounds = Bounds()

    # Equal lengths

    def known_size(self, expr: Expr) -> Expr | None:
        """Return the size that has this value: a number, or one defined before; None where there is none."""
        value = self.unfolded(expr).expand()
        if value.is_Integer:
            return value
        if value in self._by_value:
            return self._by_value[value]
        return value if isinstance(value, Size) else None

    def unfolded(self, size: Expr) -> Expr:
        """Return a size in terms of plain sizes and hyper-parameters."""
        return substitute(size, self._values) if self._values else size

    def define(self, name: str, expr: Expr, at: Span) -> Expr:
        """Define a computed size; one that is there already gets a second name only while the layer is read."""
        known = self.known_size(expr)
        if known is None:
            known = Size(name)
            self.derived.append(DerivedSize(known, expr, at))
            self._assume_divisors(expr, at)
            self._values[known] = self.unfolded(expr)
            self._by_value[self._values[known].expand()] = known
            self.assume(known, at, f"{name} = {show(expr)} is at least 1")
        self.sizes[name] = known
        return known

    def length(self, expr: Expr, at: Span) -> Expr:
        """Return the range that an index of that many values has.

        Raises:
            ShapeError: it has none, or too many.
        """
        known = self.known_size(expr)
        if known is None:
            self._assume_divisors(expr, at)
            self.assume(expr, at)
            return expr
        if known.is_Integer and not 0 < known < 2**31:
            raise ShapeError(f"a range of {known} values", at, "a range has at least one value, and at most 2**31 - 1")
        return known

    def quotient(self, above: Expr, below: Expr) -> Expr:
        """Return ``above // below``, what is divisible taken out: ``(H*s - 1)//s`` is H - 1; below is at least 1."""
        whole: Expr = S.Zero
        rest: Expr = S.Zero
        for term in Add.make_args(self.unfolded(above).expand()):
            times = (term / self.unfolded(below)).cancel()
            if times.is_polynomial() and all(number.is_Integer for number in times.as_coefficients_dict().values()):
                whole += times
            else:
                rest += term
        if self.at_least(rest) and self.at_least(below - rest, 1):
            return whole
        if self.at_least(-rest, 1) and self.at_least(rest + below):
            return whole - 1
        return whole + FloorDiv(rest, below)

    # Open lengths

    def open_size(self, letter: str) -> Size:
        """Return the size of an axis of which only the letter is known yet; its name is no other size's."""
        size = Size(f"{letter.upper()}'{len(self._open)}")
        self._open.add(size)
        return size

    def is_open(self, size: Expr) -> bool:
        """Return whether nothing has told yet what an open size is."""
        return size in self._open and size not in self._roots

    def bind(self, size: Expr, value: Expr) -> None:
        """Let an open size be another."""
        self._roots[size] = value

    def root(self, size: Expr) -> Expr:
        """Return what a size is, as far as it is known."""
        while size in self._roots:
            size = self._roots[size]
        return size

    def closed(self, expr: Expr) -> Expr:
        """Return an expression with what is known of open sizes put in."""
        if not self._roots:
            return expr
        known: dict[Expr, Expr] = {size: self.root(size) for size in self._roots}
        sizes = dict(known)
        for index in expr.atoms(Index):
            size = index.size.xreplace(sizes)
            if size != index.size:
                known[index] = Index(index.name, size)
        return expr.xreplace(known)

    # What is proved, and what is taken for granted

    def at_least(self, expr: Expr, bound: int = 0) -> bool:
        """Return whether an expression of sizes is at least ``bound``, for every run that fulfils the conditions."""
        return self._bounds.at_least(self.unfolded(expr), bound)

    def sign(self, expr: Expr) -> int:
        """Return 1 for an expression that is at least 0, -1 for one that is at most 0, 0 where neither is certain."""
        value = self.unfolded(expr)
        for test in (self._bounds.plainly, self._bounds.at_least):
            for sign in (1, -1):
                if test(sign * value):
                    return sign
        return 0

    def assume(self, value: Expr, at: Span, text: str = "") -> None:
        """Take as a condition that a value is at least 1, where that is not plain to see.

        Raises:
            ShapeError: it is not, in any run.
        """
        plain = self.unfolded(value)  # in this form it can be verified before a computed size is divided by it
        factors = [_base(factor) for factor in Mul.make_args(plain)]
        if (
            factors != [plain]
            and plain.as_coeff_Mul()[0].is_positive
            and all(f.is_number or f.is_Symbol for f in factors)
        ):
            for factor in factors:  # a product is at least 1 where each factor is
                self.assume(factor, at)
            return
        text = text or f"{show(value)} is at least 1"
        if not self.adopt(Condition((value if plain.has(FloorDiv, Mod) else plain) - 1, text)):
            raise ShapeError(f"{show(value)} is not at least 1", at, "divisors, strides and ranges are at least 1")

    def assume_stride(self, factor: Expr, at: Span) -> None:
        """Take as a condition that the factor of an index is not zero, and of the sign it is written with."""
        self._assume_divisors(factor, at)
        _, rest = factor.as_coeff_Mul()
        if not rest.is_number:
            self.assume(rest, at)

    def adopt(self, condition: Condition) -> bool:
        """Take over a condition; False where it can't be fulfilled."""
        rest = self.unfolded(condition.expr).expand()
        if rest.is_number:
            return bool(rest >= 0)
        if not self._bounds.plainly(rest):
            self._bounds.assume(rest)
            self.conditions.append(condition)
        return True

    def _assume_divisors(self, expr: Expr, at: Span) -> None:
        for part in sorted(expr.atoms(FloorDiv, Mod), key=show):
            self.assume(part.args[1], at)


def _base(factor: Expr) -> Expr:
    return factor.base if isinstance(factor, Pow) and factor.exp.is_Integer and factor.exp > 0 else factor
