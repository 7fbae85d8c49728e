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

from derive.bench.formulas import Forward, NotRun
from derive.bench.namespaces import Namespace, autograd_namespace, jax_namespace, torch_namespace
from derive.bench.threads import THREADS
from derive.check.instance import Instance
from derive.language.layer import Layer

__all__ = ["PEERS", "Backward", "Peer", "Prepared", "versions"]

Arrays = Mapping[str, NDArray[Any]]
Function = Callable[..., tuple[Any, ...]]
Backward = Callable[[], Any]
STEPS = 128
"""The longest loop that is left to a library that compiles each of its steps."""


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
        space: makes the library's namespace for a dtype of its own.
        compiles: whether it compiles the whole pass, every step of a loop anew.
        differentiated: ``(forward, arrays, wanted, cotangents) -> Prepared``: makes the library's arrays, runs
            the forward pass, and returns what runs the backward. ``forward`` takes a dtype and gives the
            function of the library's arrays.
    """

    name: str
    package: str
    title: str
    space: Callable[[Any], Namespace]
    differentiated: Callable[[Callable[[Any], Function], Arrays, Sequence[str], Arrays], Prepared]
    compiles: bool = False

    def prepare(
        self, layer: Layer, instance: Instance, arrays: Arrays, wanted: Sequence[str], cotangents: Arrays
    ) -> Prepared:
        """Run the layer's forward pass in the library, and return what runs its backward pass.

        Args:
            layer: whose formulas are run.
            instance: the sizes and hyper-parameters.
            arrays: the inputs by name, in the layer's order.
            wanted: the inputs whose gradients are asked for.
            cotangents: one an output, in order; their dtype is that of all real numbers.

        Raises:
            NotRun: the library has no counterpart of an operation, or would compile a long loop; or an error of the
                library's own.
        """
        if self.compiles:
            steps = max((instance.extent(s.carry.index.size) for s in layer.statements if s.carry), default=0)
            if steps > STEPS:
                raise NotRun(f"a loop of {steps} steps would be compiled step by step")

        def forward(dtype: Any) -> Function:
            return Forward(layer, instance, self.space(dtype))

        return self.differentiated(forward, arrays, wanted, cotangents)

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

    torch.set_num_threads(int(os.environ.get(THREADS[0]) or 1))
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
    Peer("autograd", "autograd", "autograd", autograd_namespace, _autograd),
    Peer("torch", "torch", "PyTorch", torch_namespace, _torch_eager),
    Peer("torch.compile", "torch", "torch.compile", torch_namespace, _torch_compiled, True),
    Peer("jax", "jax", "JAX jit", jax_namespace, _jax, True),
)
"""The libraries that a layer can be timed beside, in the order of tables."""


def versions(against: Sequence[str]) -> dict[str, str]:
    """Return the versions of NumPy and of the libraries of these names that are installed."""
    from importlib.metadata import version

    found = {"numpy": version("numpy")}
    for peer in PEERS:
        if peer.name in against and peer.installed:
            found[peer.package] = peer.version
    return found
