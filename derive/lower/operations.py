"""Which operations write their result into an array that is there: ``np.multiply(a, b, out=c)``."""

from __future__ import annotations

import re

from derive.lower.arrays import Apply, Array, Binary, Contract, Dtype, Unary

__all__ = ["UFUNCS", "ufunc"]

UFUNCS = {"+": "np.add", "-": "np.subtract", "*": "np.multiply", "/": "np.divide", "**": "np.power"}
_CALL = re.compile(r"^(np\.)?(\w+)\(((\{\d\})(, \{\d\})*)\)$")
_NO_UFUNCS = frozenset({"where", "clip", "zeta", "polygamma", "round", "full_like", "zeros_like", "nan_to_num"})


def ufunc(array: Array) -> str | None:
    """Return the ufunc (or ``np.matmul``) that computes an operation, with ``{0}`` … for the arguments, or None."""
    if array.dtype is not Dtype.REAL:
        return None
    if isinstance(array, Binary) and array.op in UFUNCS:
        return f"{UFUNCS[array.op]}({{0}}, {{1}}"
    if isinstance(array, Unary) and array.op == "-":
        return "np.negative({0}"
    if isinstance(array, Contract) and len(array.axes) > 1:
        return "np.matmul({0}, {1}"
    if isinstance(array, Apply):
        call = _CALL.match(array.spelling)
        if call is not None and call[2] not in _NO_UFUNCS and (call[1] or array.scipy):
            return array.spelling[:-1]
    return None
