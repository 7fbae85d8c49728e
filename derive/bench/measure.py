"""One layer at one choice of sizes: every way to its backward pass, compared and then timed side by side."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.bench.formulas import NotRun
from derive.bench.inputs import Sizes, cotangents, sized_inputs
from derive.bench.machine import Machine
from derive.bench.peers import PEERS, Peer, Prepared
from derive.bench.staged import staged_module
from derive.bench.timing import interleaved
from derive.bench.work import compulsory_bytes, product_flops
from derive.check.module import GeneratedModule, require_compiler
from derive.errors import DeriveError
from derive.language.layer import Layer
from derive.pipeline import build_compiled, build_module, derive_program

__all__ = ["AGAINST", "Case", "Row", "measured"]

AGAINST = ("numpy", *(peer.name for peer in PEERS))
"""What the generated modules can be timed beside; ``numpy`` is their staged form."""

TITLES = {"numpy": "derive NumPy", "c": "derive C"}
TOLERANCE = {"float32": 2e-3, "float64": 1e-7}
"""How far a gradient may be from that in double precision, as a share of its largest element, to be timed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to the backward pass.

    Attributes:
        name: of the way: ``derive NumPy``, ``staged NumPy``, ``PyTorch``.
        ours: whether it is a generated module.
        seconds: the median of a call; None where it was not timed.
        spread: half the distance between the quartiles, as a share of the median.
        busy: processor seconds a second: above 1, several threads worked.
        peak: bytes that one call has at its peak beyond what it began with, its results included; as NumPy
            and Python report them, so None for libraries with memory of their own.
        error: largest deviation from the gradients in double precision, as a share of the largest element.
        why: why it was not timed; "" where it was.
    """

    name: str
    ours: bool
    seconds: float | None = None
    spread: float = 0.0
    busy: float = 0.0
    peak: int | None = None
    error: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A layer at one choice of sizes.

    Attributes:
        layer: its name.
        sizes: lengths by name; those of ``...`` are a list.
        dtype: of all real numbers.
        nbytes: what any backward pass reads and writes.
        flops: of the backward's products.
        limit: seconds that these take at the least.
        rows: one a way.
    """

    layer: str
    sizes: Mapping[str, int | list[int]]
    dtype: str
    nbytes: int
    flops: int
    limit: float
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """Return the row of that name, or None."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def title(self) -> str:
        """``batchnorm, N = 8192, D = 512``."""
        parts = [f"{name} = {'×'.join(map(str, n)) if isinstance(n, list) else n}" for name, n in self.sizes.items()]
        return ", ".join([self.layer, *parts])


@dataclass(frozen=True, slots=True)
class _Way:
    row: Row
    prepared: Prepared | None


def measured(
    layer: Layer,
    sizes: Sizes,
    *,
    machine: Machine,
    targets: Sequence[str] = ("numpy",),
    against: Sequence[str] = ("numpy",),
    purpose: str = "reading",
    dtype: str = "float32",
    runs: int = 15,
    budget: float = 10.0,
    seed: int = 0,
) -> Case:
    """Compare every way's gradients with those in double precision, and time those that agree.

    Args:
        layer: from ``load`` or ``parse``.
        sizes: those that are not likely ones (:func:`~derive.bench.inputs.instance_at`).
        machine: whose limits times are held against.
        targets: of the generated modules: ``numpy``, ``c``.
        against: names of ``AGAINST``.
        purpose: what the NumPy module is written for: ``reading``, ``speed`` or ``memory``.
        dtype: ``float32`` or ``float64``.
        runs: measurements of each way.
        budget: seconds for all of them.
        seed: of the inputs and of the order.

    Raises:
        DeriveError: sizes that do not fit, inputs without finite results, or no C compiler for the target ``c``.
    """
    if not layer.differentiable:
        raise DeriveError(f"{layer.name} has no parameter with a gradient", layer.span)
    instance, arrays = sized_inputs(layer, sizes, dtype, seed)
    given = cotangents(layer, instance, dtype, seed + 1)
    program = derive_program(layer)
    wanted = [name for name, _ in program.gradients]
    text = build_module(layer)
    expected = _exact(layer, text, arrays, given, instance.hypers)

    def generated(module: str | Mapping[str, str]) -> Prepared:
        names = GeneratedModule(layer, module).names
        backward: Callable[..., Any] = names["backward"]
        _, cache = names["forward"](*arrays.values(), **instance.hypers)
        return Prepared(lambda: backward(*given.values(), cache), list)

    ways: list[_Way] = []
    for target in targets:
        module = build_module(layer, purpose=purpose) if target == "numpy" else _compiled(layer)
        ways.append(_way(TITLES[target], True, lambda m=module: generated(m), expected, dtype))  # type: ignore[misc]
    if "numpy" in against:
        ways.append(_way("staged NumPy", False, lambda: generated(staged_module(layer)), expected, dtype))
    for peer in PEERS:
        if peer.name in against:
            ways.append(_peer(peer, lambda p=peer: p.prepare(layer, instance, arrays, wanted, given), expected, dtype))  # type: ignore[misc]
    ready = {way.row.name: way.prepared.run for way in ways if way.prepared is not None}
    peaks = {name: _peak(run) for name, run in ready.items() if "NumPy" in name or name in ("derive C", "autograd")}
    times = interleaved(ready, runs, budget, seed)
    rows = []
    for way in ways:
        row, found = way.row, times.get(way.row.name)
        if found is not None:
            row = replace(
                row, seconds=found.median, spread=found.spread, busy=found.busy, peak=peaks.get(row.name)
            )
        rows.append(row)
    nbytes, flops = compulsory_bytes(program, arrays, given), product_flops(program, instance)
    lengths: dict[str, int | list[int]] = {"...": list(instance.batch)} if instance.batch else {}
    return Case(
        layer.name, {**lengths, **instance.sizes}, dtype, nbytes, flops, machine.limit(nbytes, flops), tuple(rows)
    )


def _compiled(layer: Layer) -> Mapping[str, str]:
    files = build_compiled(layer)
    require_compiler(files)
    return files


def _exact(layer: Layer, text: str, arrays: Mapping[str, Any], given: Mapping[str, Any], hypers: Any) -> list[Any]:
    """Return the gradients in double precision."""

    def double(array: NDArray[Any]) -> NDArray[Any]:
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    names = GeneratedModule(layer, text).names
    _, cache = names["forward"](*map(double, arrays.values()), **hypers)
    return list(names["backward"](*map(double, given.values()), cache))


def _way(name: str, ours: bool, prepare: Callable[[], Prepared], expected: Sequence[Any], dtype: str) -> _Way:
    """Run a way once, and keep it where its gradients are right."""
    row = Row(name, ours)
    try:
        prepared = prepare()
        found = [np.asarray(g) for g in prepared.gradients(prepared.run())]
    except NotRun as reason:
        return _Way(replace(row, why=f"not run: {reason}"), None)
    error = 0.0
    for value, right in zip(found, expected, strict=True):
        if value.shape != right.shape:
            return _Way(replace(row, why=f"not timed: a gradient has shape {value.shape}, not {right.shape}"), None)
        if right.size:
            difference = float(np.abs(value - right).max())
            error = max(error, difference / (float(np.abs(right).max()) or 1.0)) if difference == difference else np.inf
    row = replace(row, error=error)
    if not error <= TOLERANCE[dtype]:
        what = f"differ by {error:.1e} of the largest element" if np.isfinite(error) else "are not finite"
        return _Way(replace(row, why=f"not timed: its gradients {what}"), None)
    return _Way(row, prepared)


def _peer(peer: Peer, prepare: Callable[[], Prepared], expected: Sequence[Any], dtype: str) -> _Way:
    """Run a library's way once; whatever it does not take is said, not raised."""
    if not peer.installed:
        return _Way(Row(peer.title, False, why=f"not installed: pip install {peer.package}"), None)
    try:
        return _way(peer.title, False, prepare, expected, dtype)
    except Exception as error:  # of a library that is not ours
        lines = f"{type(error).__name__}: {error}".rstrip(": ").splitlines()
        return _Way(Row(peer.title, False, why=f"not run: {lines[0][:120]}"), None)


def _peak(run: Callable[[], Any]) -> int:
    """Return the bytes that a call has at its peak, beyond those before."""
    run()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        kept = run()
        _, peak = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return peak - before
