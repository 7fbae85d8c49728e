"""What the array libraries have in common, under one set of names.

A library is a :class:`Namespace`: the elementwise functions by the class of
their node (:data:`~derive.algebra.functions.FUNCTIONS`), and the few whole-array
operations that a layer's formulas need. NumPy, ``autograd.numpy`` and
``jax.numpy`` share a spelling; PyTorch has its own. Libraries are imported when
their namespace is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import sympy

from derive.algebra import functions as f

__all__ = ["Namespace", "autograd_namespace", "jax_namespace", "numpy_namespace", "torch_namespace"]

Function = Callable[..., Any]


class Namespace:
    """NumPy, or a library that spells like it.

    Args:
        np: the module with the array functions.
        special: with ``erf, erfc, gammaln, psi, polygamma, expit``.
        dtype: of real arrays, as the library names it.
        stop_gradient: the identity that passes no gradient.
    """

    def __init__(self, np: Any, special: Any, dtype: Any, stop_gradient: Function) -> None:
        self.np, self.special, self.dtype = np, special, dtype
        self.stop_gradient = stop_gradient
        self.functions: dict[type, Function] = {
            sympy.exp: np.exp, f.Expm1: np.expm1, sympy.log: np.log, f.Log1p: np.log1p, sympy.Abs: np.abs,
            f.Sign: np.sign, sympy.sin: np.sin, sympy.cos: np.cos, sympy.tan: np.tan, sympy.asin: np.arcsin,
            sympy.acos: np.arccos, sympy.atan: np.arctan, sympy.sinh: np.sinh, sympy.cosh: np.cosh,
            sympy.tanh: np.tanh, f.Floor: np.floor, f.Ceil: np.ceil, f.Round: np.round,
            f.Sigmoid: special.expit, f.LogSigmoid: lambda x: -np.logaddexp(0.0 * x, -x),
            f.Softplus: lambda x: np.logaddexp(0.0 * x, x), f.Relu: lambda x: np.maximum(x, 0.0),
            f.LogCosh: lambda x: np.abs(x) + np.log1p(np.expm1(-2 * np.abs(x)) / 2),
            sympy.erf: special.erf, f.Erfc: special.erfc, f.Lgamma: special.gammaln, sympy.digamma: special.psi,
            sympy.polygamma: lambda n, x: special.polygamma(int(n), x),
            f.Maximum: np.maximum, f.Minimum: np.minimum,
            f.Clip: lambda x, low, high: np.minimum(np.maximum(x, low), high),
            f.StopGradient: stop_gradient,
        }  # fmt: skip

    def constant(self, array: Any) -> Any:
        """Return a NumPy array as one of the library's, to which no gradient goes."""
        return self.np.asarray(array)

    def real(self, array: Any) -> Any:
        """Return labels, truth values or numbers as real ones."""
        return array.astype(self.dtype) if hasattr(array, "astype") else array

    def whole(self, array: Any) -> Any:
        """Return whole numbers as integers, to which no gradient goes."""
        return self.stop_gradient(array).astype("int64") if hasattr(array, "astype") else int(array)

    def arange(self, stop: int) -> Any:
        """Return 0 … stop - 1."""
        return self.np.arange(stop)

    def full(self, shape: Sequence[int], value: Any) -> Any:
        """Return a real array filled with one value."""
        return self.np.full(tuple(shape), value, self.dtype)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a where the condition holds, else b."""
        return self.np.where(condition, a, b)

    def einsum(self, subscripts: str, arrays: Sequence[Any]) -> Any:
        """Return the contraction, pairwise where there are three or more."""
        if len(arrays) > 2:
            return self.np.einsum(subscripts, *arrays, optimize=True)
        return self.np.einsum(subscripts, *arrays)

    def reduce(self, name: str, array: Any, axes: tuple[int, ...]) -> Any:
        """Return ``sum``, ``mean``, ``max``, ``min`` or ``prod`` over some axes, which are gone after it."""
        return getattr(self.np, name)(array, axis=axes)

    def argmax(self, array: Any, axis: int) -> Any:
        """Return the place of the largest element along an axis."""
        return self.np.argmax(self.stop_gradient(array), axis=axis)

    def permute(self, array: Any, order: Sequence[int]) -> Any:
        """Return the array with its axes in another order."""
        return self.np.transpose(array, tuple(order))

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        """Return the array in another shape."""
        return self.np.reshape(array, tuple(shape))

    def broadcast(self, array: Any, shape: Sequence[int]) -> Any:
        """Return the array stretched to a shape."""
        return self.np.broadcast_to(array, tuple(shape))

    def stack(self, arrays: Sequence[Any], axis: int) -> Any:
        """Return the arrays side by side along a new axis."""
        return self.np.stack(list(arrays), axis=axis)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        """Return the arrays one after the other along an axis."""
        return self.np.concatenate(list(arrays), axis=axis)

    def pad(self, array: Any, axis: int, before: int, after: int, value: float) -> Any:
        """Return the array with a constant before and after it along an axis."""
        parts = [array]
        for count, at in ((before, 0), (after, len(parts))):
            if count:
                shape = list(array.shape)
                shape[axis] = count
                parts.insert(0 if at == 0 else len(parts), self.full(shape, value))
        return self.concatenate(parts, axis) if len(parts) > 1 else array

    def sqrt(self, array: Any) -> Any:
        """Return the square root."""
        return self.np.sqrt(array)

    def softmax(self, array: Any, axis: int) -> Any:
        """Return exponentials over their sum along an axis."""
        np = self.np
        e = np.exp(array - np.max(array, axis=axis, keepdims=True))
        return e / np.sum(e, axis=axis, keepdims=True)

    def log_softmax(self, array: Any, axis: int) -> Any:
        """Return the logarithm of the softmax along an axis."""
        np = self.np
        shifted = array - np.max(array, axis=axis, keepdims=True)
        return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))

    def logsumexp(self, array: Any, axes: tuple[int, ...]) -> Any:
        """Return the logarithm of the sum of exponentials over some axes."""
        np = self.np
        top = self.stop_gradient(np.max(array, axis=axes, keepdims=True))
        return np.log(np.sum(np.exp(array - top), axis=axes)) + np.max(self.stop_gradient(array), axis=axes)


def numpy_namespace(dtype: Any) -> Namespace:
    """Return NumPy's own: what the others are tried against."""
    import numpy as np
    import scipy.special as special

    return Namespace(np, special, dtype, lambda x: x)


def autograd_namespace(dtype: Any) -> Namespace:
    """Return that of ``autograd.numpy``."""
    import autograd.numpy as np
    import autograd.scipy.special as special
    from autograd.tracer import getval

    def value(x: Any) -> Any:
        while (inner := getval(x)) is not x:
            x = inner
        return x

    found = Namespace(np, special, dtype, value)
    plain = found.where

    def where(condition: Any, a: Any, b: Any) -> Any:
        # The gradient of autograd's own has the shape of the result, not of what was stretched to it.
        shape = np.broadcast_shapes(np.shape(condition), np.shape(a), np.shape(b))
        whole = [x if np.shape(x) == shape else x + np.zeros(shape, dtype) for x in (a, b)]
        return plain(condition, *whole)

    found.where = where  # type: ignore[method-assign]
    # np.stack of autograd calls NumPy with boxes where the arrays mix them with plain ones.
    found.stack = lambda arrays, axis: np.concatenate(  # type: ignore[method-assign]
        [np.expand_dims(a, axis) for a in arrays], axis=axis
    )
    return found


class _Jax(Namespace):
    def softmax(self, array: Any, axis: int) -> Any:
        """Return JAX's own."""
        import jax

        return jax.nn.softmax(array, axis=axis)

    def log_softmax(self, array: Any, axis: int) -> Any:
        """Return JAX's own."""
        import jax

        return jax.nn.log_softmax(array, axis=axis)


def jax_namespace(dtype: Any) -> Namespace:
    """Return that of ``jax.numpy``."""
    import jax
    import jax.numpy as np
    from jax.scipy import special

    names = SimpleNamespace(
        expit=jax.nn.sigmoid, erf=special.erf, erfc=special.erfc, gammaln=special.gammaln,
        psi=special.digamma, polygamma=special.polygamma,
    )  # fmt: skip
    return _Jax(np, names, dtype, jax.lax.stop_gradient)


class _Torch(Namespace):
    """PyTorch, where its spelling is another one."""

    def __init__(self, torch: Any, dtype: Any) -> None:
        def both(function: Function) -> Function:
            return lambda a, b: function(self._tensor(a), self._tensor(b))

        def each(function: Function) -> Function:
            return lambda a: function(self._tensor(a))

        one = "exp expm1 log log1p abs sign sin cos tan arcsin arccos arctan sinh cosh tanh floor ceil round"
        names = SimpleNamespace(
            **{name: each(getattr(torch, name)) for name in one.split()},
            maximum=both(torch.maximum), minimum=both(torch.minimum), logaddexp=both(torch.logaddexp),
        )  # fmt: skip
        special = SimpleNamespace(
            expit=each(torch.sigmoid), erf=each(torch.erf), erfc=each(torch.erfc), gammaln=each(torch.lgamma),
            psi=each(torch.digamma), polygamma=torch.polygamma,
        )  # fmt: skip
        super().__init__(names, special, dtype, lambda x: x.detach() if hasattr(x, "detach") else x)
        self.torch = torch
        self.functions[f.Relu] = each(torch.relu)
        self.functions[f.Softplus] = each(lambda x: torch.nn.functional.softplus(x, threshold=1e9))
        self.functions[f.LogSigmoid] = each(torch.nn.functional.logsigmoid)

    def _tensor(self, value: Any) -> Any:
        return value if hasattr(value, "detach") else self.torch.tensor(float(value), dtype=self.dtype)

    def constant(self, array: Any) -> Any:
        return self.torch.from_numpy(array)

    def real(self, array: Any) -> Any:
        return array.to(self.dtype) if hasattr(array, "detach") else array

    def whole(self, array: Any) -> Any:
        return array.detach().to(self.torch.int64) if hasattr(array, "detach") else int(array)

    def arange(self, stop: int) -> Any:
        return self.torch.arange(stop)

    def full(self, shape: Sequence[int], value: Any) -> Any:
        return self.torch.full(tuple(shape), float(value), dtype=self.dtype)

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        if not hasattr(condition, "detach"):
            condition = self.torch.tensor(bool(condition))
        return self.torch.where(condition, self._tensor(a), self._tensor(b))

    def einsum(self, subscripts: str, arrays: Sequence[Any]) -> Any:
        return self.torch.einsum(subscripts, *arrays)

    def reduce(self, name: str, array: Any, axes: tuple[int, ...]) -> Any:
        if name == "prod":
            for axis in sorted(axes, reverse=True):
                array = self.torch.prod(array, axis)
            return array
        return getattr(self.torch, {"max": "amax", "min": "amin"}.get(name, name))(array, axes)

    def argmax(self, array: Any, axis: int) -> Any:
        return self.torch.argmax(array.detach(), axis)

    def permute(self, array: Any, order: Sequence[int]) -> Any:
        return array.permute(tuple(order))

    def reshape(self, array: Any, shape: Sequence[int]) -> Any:
        return array.reshape(tuple(shape))

    def broadcast(self, array: Any, shape: Sequence[int]) -> Any:
        return array.expand(tuple(shape))

    def stack(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.torch.stack(list(arrays), axis)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return self.torch.cat(list(arrays), axis)

    def sqrt(self, array: Any) -> Any:
        return self.torch.sqrt(self._tensor(array))

    def softmax(self, array: Any, axis: int) -> Any:
        return self.torch.softmax(array, axis)

    def log_softmax(self, array: Any, axis: int) -> Any:
        return self.torch.log_softmax(array, axis)

    def logsumexp(self, array: Any, axes: tuple[int, ...]) -> Any:
        return self.torch.logsumexp(array, axes)


def torch_namespace(dtype: Any) -> Namespace:
    """Return PyTorch's."""
    import torch

    return _Torch(torch, dtype)
