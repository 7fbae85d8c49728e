"""What is wrong with a backward pass that somebody wrote by hand.

    found = diagnose("batchnorm", backward, forward=forward)
    found.right, found.first, found.explanations, str(found)

The user's gradients are compared with the derivation's at random inputs
(:mod:`derive.diagnosis.compare`). For what is wrong, guesses are made from the
derivation: a factor, a sum, a path or a name that is another one
(:mod:`derive.diagnosis.edits`, :mod:`derive.diagnosis.wholes`). A guess that
accounts for the wrong numbers at one input has to do so at others, of other
sizes, before it is reported (:mod:`derive.diagnosis.search`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from derive.diagnosis.causes import Cause, Explanation
from derive.diagnosis.code import UserCode
from derive.diagnosis.compare import examine, examine_arrays
from derive.diagnosis.forms import derivation
from derive.diagnosis.given import GivenArrays, given_experiment
from derive.diagnosis.layout import Layout
from derive.diagnosis.report import Diagnosis, Result
from derive.errors import DeriveError, UnknownNameError
from derive.language import load
from derive.language.layer import Layer, Statement

__all__ = ["Cause", "Diagnosis", "Explanation", "Result", "diagnose"]


def diagnose(
    layer: Layer | str,
    backward: Callable[..., Any] | Mapping[str, Any] | Sequence[Any],
    *,
    forward: Callable[..., Any] | None = None,
    args: Sequence[str] | None = None,
    returns: Sequence[str] | None = None,
    forward_args: Sequence[str] | None = None,
    shapes: Mapping[str, str] | None = None,
    torch: bool = False,
    batch: int | None = None,
    owner: type | None = None,
    title: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    cotangents: Mapping[str, Any] | None = None,
    hypers: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Diagnosis:
    """Compare a backward pass with the derivation, and say what is wrong with it.

    Args:
        layer: a layer, or its name in the catalogue.
        backward: the function; its arguments and results are known by their names. Or
            the gradients themselves, as arrays by name or in order, at ``inputs``.
        forward: makes the cache that ``backward`` takes; may return ``(y, cache)`` or the cache.
        args: what the arguments of ``backward`` stand for, in order, where their names do not say it.
        returns: what its results are (``dx``, ``dgamma``; ``_`` for none), in order.
        forward_args: as ``args``, of ``forward``.
        shapes: the shape in which the code wants a tensor: ``{"w": "O, I"}`` a
            transpose, ``"4*H"`` two axes in one, ``"1, D"`` an axis more.
        torch: whether the code works on PyTorch tensors.
        batch: the number of batch axes, where the layer has ``...``; None for one
            that the code takes.
        owner: a class of which the two functions are methods.
        title: the name of the function in messages.
        inputs: the parameters at which the gradients were computed, where they are arrays.
        cotangents: the same of the results' cotangents, by name (``dy``).
        hypers: values of hyper-parameters: those that the arrays were computed with, or
            that the code has built in where they are not the layer's defaults.
        seed: of the random inputs.

    Raises:
        DeriveError: an argument or a result stands for nothing that the layer has.
    """
    if isinstance(layer, str):
        layer = load(layer)
    derived = derivation(layer)
    if not callable(backward):
        if inputs is None:
            raise DeriveError("gradients that are arrays need the inputs they were computed at", hint="inputs={'x': …}")
        experiment = given_experiment(derived, inputs, cotangents, hypers)
        return examine_arrays(derived, GivenArrays(derived, backward, title or "the gradients"), experiment)
    layouts = {name: _layout(derived.layer, name, text, derived.forward) for name, text in (shapes or {}).items()}
    name = title or str(getattr(backward, "__name__", "backward"))
    for wrong in (hypers or {}).keys() - {h.name for h in layer.hypers}:
        known = ", ".join(h.name for h in layer.hypers) or "none"
        raise UnknownNameError(f"'{wrong}' is no hyper-parameter of layer '{layer.name}'", hint=f"it has: {known}")
    code = UserCode(
        derived, backward, forward, name, args, returns, forward_args, layouts, torch, owner, dict(hypers or {})
    )
    return examine(derived, code, seed=seed, batch=batch)


def _layout(layer: Layer, name: str, text: str, forward: Sequence[Statement]) -> Layout:
    owner = layer.parameter(name) or next((s for s in forward if s.name == name), None)
    if owner is None:
        hint = "a shape is of a parameter, an output or an intermediate result"
        raise UnknownNameError(f"'{name}' is no tensor of layer '{layer.name}'", hint=hint)
    return Layout.parse(text, owner.axes)
