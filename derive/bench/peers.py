"""Other libraries' backward passes of a layer: its formulas, differentiated by them.

A peer is a library and how it is asked for a gradient of a forward pass that
has run before: what is timed is the backward alone. Each gets the layer's own
formulas (:mod:`derive.bench.formulas`), one operation of the library an
operation of the formula, and not the library's hand-written kernel where it
happens to have one.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PEERS", "Backward", "Peer", "Prepared", "single_threaded"]

Arrays = Mapping[str, NDArray[Any]]
Function = Callable[..., tuple[Any, ...]]
Backward = Callable[[], Any]

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What the libraries of linear algebra read when they are loaded."""


def single_threaded() -> None:
    """Ask every library for one thread; takes hold of those that are loaded later, and of those that can be told."""
    for name in THREADS:
        os.environ.setdefault(name, "1")
    flags = os.environ.get("XLA_FLAGS", "")
    if "multi_thread_eigen" not in flags:
        more = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["XLA_FLAGS"] = f"{flags} {more}".strip()
    if importlib.util.find_spec("threadpoolctl") is not None:
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A backward pass that only waits to be called.

    Attributes:
        run: the backward; what it returns is kept by the library.
        gradients: of the last result of ``run``, as NumPy arrays, in order.
    """

    run: Backward
    gradients: Callable[[Any], list[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A library that differentiates by itself.

    Attributes:
        name: on the command line and in tables.
        package: what is imported, and installed with pip.
        title: what a table says.
        prepare: ``(forward, arrays, wanted, cotangents) -> Prepared``: makes the library's arrays, runs the
            forward pass, and returns what runs the backward. ``forward`` takes a dtype's name and gives the
            function of the library's arrays.
    """

    name: str
    package: str
    title: str
    prepare: Callable[[Callable[[Any], Function], Arrays, Sequence[str], Arrays], Prepared]

    @property
    def installed(self) -> bool:
        """Whether the package can be imported."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """The installed version."""
        from importlib.metadata import version

        return version(self.package)


def _dtype(cotangents: Arrays) -> str:
    return str(next(iter(cotangents.values())).dtype)


def _zeros(gradients: Sequence[Any], arrays: Arrays, wanted: Sequence[str]) -> list[NDArray[Any]]:
    """Return the gradients as NumPy arrays, those that a library leaves out being zero."""
    return [
        np.zeros_like(arrays[name]) if gradient is None else np.asarray(gradient)
        for name, gradient in zip(wanted, gradients, strict=True)
    ]


def _torch(
    forward: Callable[[Any], Function], arrays: Arrays, wanted: Sequence[str], cotangents: Arrays, *, compiled: bool
) -> Prepared:
    import torch

    torch.set_num_threads(1)
    function = forward(getattr(torch, _dtype(cotangents)))
    if compiled:
        import torch._functorch.config

        # The forward's buffers serve many backward calls here, so the first must not take them.
        torch._functorch.config.donated_buffer = False
        torch._dynamo.reset()
        function = torch.compile(function, dynamic=False)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    leaves = [tensors[name].requires_grad_() for name in wanted]
    given = [torch.from_numpy(array) for array in cotangents.values()]
    results = function(*tensors.values())
    pairs = [(y, dy) for y, dy in zip(results, given, strict=True) if y.requires_grad]
    outputs, seeds = [y for y, _ in pairs], [dy for _, dy in pairs]

    def run() -> Any:
        return torch.autograd.grad(outputs, leaves, seeds, retain_graph=True, allow_unused=True)

    return Prepared(run, lambda found: _zeros([g if g is None else g.numpy() for g in found], arrays, wanted))


def _torch_eager(*args: Any) -> Prepared:
    return _torch(*args, compiled=False)


def _torch_compiled(*args: Any) -> Prepared:
    return _torch(*args, compiled=True)


def _autograd(
    forward: Callable[[Any], Function], arrays: Arrays, wanted: Sequence[str], cotangents: Arrays
) -> Prepared:
    from autograd import make_vjp
    from autograd.builtins import tuple as traced

    function = forward(_dtype(cotangents))
    names = list(arrays)

    def of(*values: Any) -> Any:
        full = {**arrays, **dict(zip(wanted, values, strict=True))}
        results = function(*(full[name] for name in names))
        return results[0] if len(results) == 1 else traced(results)

    def whole(values: tuple[Any, ...]) -> Any:
        return of(*values)

    vjp, _ = make_vjp(whole)(tuple(arrays[name] for name in wanted))
    seeds = tuple(cotangents.values())
    seed = seeds[0] if len(seeds) == 1 else seeds
    return Prepared(lambda: vjp(seed), lambda found: _zeros(found, arrays, wanted))


def _jax(forward: Callable[[Any], Function], arrays: Arrays, wanted: Sequence[str], cotangents: Arrays) -> Prepared:
    import jax

    jax.config.update("jax_enable_x64", _dtype(cotangents) == "float64")
    function = forward(_dtype(cotangents))
    names = list(arrays)
    constants = {name: jax.numpy.asarray(array) for name, array in arrays.items() if name not in wanted}

    def of(values: Any) -> Any:
        full = {**constants, **dict(zip(wanted, values, strict=True))}
        return function(*(full[name] for name in names))

    values = tuple(jax.numpy.asarray(arrays[name]) for name in wanted)
    seeds = tuple(jax.numpy.asarray(array) for array in cotangents.values())
    _, pullback = jax.jit(lambda v: jax.vjp(of, v))(values)
    backward = jax.jit(lambda pull, seed: pull(seed)[0])
    return Prepared(
        lambda: jax.block_until_ready(backward(pullback, seeds)), lambda found: _zeros(found, arrays, wanted)
    )


PEERS: tuple[Peer, ...] = (
    Peer("autograd", "autograd", "autograd", _autograd),
    Peer("torch", "torch", "PyTorch", _torch_eager),
    Peer("torch.compile", "torch", "torch.compile", _torch_compiled),
    Peer("jax", "jax", "JAX jit", _jax),
)
"""The libraries that a layer can be timed beside, in the order of tables."""
