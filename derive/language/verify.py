"""What holds of every resolved layer; the tests run it on whatever they resolve."""

from __future__ import annotations

from sympy import Expr

from derive.algebra.indices import elements, free_indices
from derive.algebra.nodes import BATCH_SIZE, Element, Hyper, Index, KeepingReduction, Kind, Reduction, Size, Tensor
from derive.language.kinds import kind_of
from derive.language.layer import Layer
from derive.language.loops import Loop, flat, loops

__all__ = ["verify"]


def verify(layer: Layer) -> Layer:
    """Return the layer.

    - A name is one thing: a tensor, a hyper-parameter or a size, defined once.
    - A tensor is read after it was defined, with one subscript an axis; an index that stands alone on an axis
      has its size.
    - The statements stand in an order of computation; those of a loop have one letter for its steps, and read one
      another at this step or, of a recurrence, at the step before. The start of a recurrence reads none of its loop.
    - The free indices of an equation are on its left, each once; a bound letter hides none that is in sight.
    - Every size is one of the layer's, or a number; a range is made of them and of integer hyper-parameters, and so
      is a subscript, with indices and labels. The kind of a result is that of its formula.
    - A condition speaks of the layer's sizes and hyper-parameters.
    - What is returned is computed, and differentiable.

    Raises:
        AssertionError: one of these does not hold.
    """
    known: dict[str, tuple[Expr, ...]] = {}
    names = [p.name for p in layer.parameters] + [h.name for h in layer.hypers]
    names += [s.name for s in (*layer.sizes, *(d.size for d in layer.derived))] + [s.name for s in layer.statements]
    assert len(set(names)) == len(names), f"language: a name is defined twice in {names}"
    sizes = {BATCH_SIZE, *layer.sizes}
    hypers = {hyper.symbol for hyper in layer.hypers}
    for parameter in layer.parameters:
        assert all(axis in sizes or axis.is_Integer for axis in parameter.axes), f"language: unknown size, {parameter}"
        known[parameter.name] = parameter.axes
    for derived in layer.derived:
        assert derived.expr.free_symbols <= sizes | hypers, f"language: unknown name, {derived}"
        sizes.add(derived.size)
    symbols = sizes | hypers
    pieces = loops(layer.statements)
    assert flat(pieces) == layer.statements, "language: the statements are not in an order of computation"
    for piece in pieces:
        together = piece.statements if isinstance(piece, Loop) else (piece,)
        for statement in together:
            if statement.carry is not None:
                where = f"language: the start of {statement.name}"
                others = set(statement.indices) - {statement.carry.index}
                assert free_indices(statement.carry.start) <= others, where
                _verify(statement.carry.start, known, {i.name for i in statement.indices}, symbols, where)
        if isinstance(piece, Loop):
            _verify_steps(piece)
            known |= {s.name: s.axes for s in together}
        for statement in together:
            where = f"language: {statement}"
            assert len(set(statement.indices)) == len(statement.indices), where
            assert free_indices(statement.expr) <= set(statement.indices), where
            assert kind_of(statement.expr) is statement.kind, where
            _verify(statement.expr, known, {i.name for i in statement.indices}, symbols, where)
            assert all(axis in sizes or axis.is_Integer for axis in statement.axes), where
        known |= {s.name: s.axes for s in together}
    for condition in layer.conditions:
        assert condition.expr.free_symbols <= symbols, f"language: unknown name in the condition {condition.text}"
    for name in layer.returns:
        result = layer.statement(name)
        assert result is not None, f"language: {name} is returned and not computed"
        assert result.kind is Kind.REAL, f"language: {name} is returned and not differentiable"
    return layer


def _verify(expr: Expr, known: dict[str, tuple[Expr, ...]], letters: set[str], symbols: set[Expr], where: str) -> None:
    match expr:
        case Element():
            axes = known.get(expr.name)
            assert axes is not None, f"{where}: {expr.name} is read before it is defined"
            assert len(axes) == len(expr.subscripts), f"{where}: rank of {expr.name}"
            for axis, subscript in zip(axes, expr.subscripts, strict=True):
                assert subscript.is_integer, f"{where}: subscript {subscript}"
                longer = isinstance(subscript, Index) and subscript.size != axis
                assert not longer or BATCH_SIZE not in (subscript.size, axis), f"{where}: range of {subscript}"
        case Reduction():
            assert expr.indices, f"{where}: a reduction over nothing"
            bound = {index.name for index in expr.indices}
            assert len(bound) == len(expr.indices), f"{where}: a letter is bound twice"
            assert all(i.size.free_symbols <= symbols for i in expr.indices), f"{where}: a range"
            assert not bound & letters, f"{where}: {bound & letters} hides another index"
            letters = letters | bound
        case KeepingReduction():
            assert expr.indices == expr.at, f"{where}: a softmax read elsewhere"
        case Size() | Hyper():
            assert expr in symbols, f"{where}: unknown name {expr}"
    for arg in expr.args:
        if not isinstance(arg, Tensor):
            _verify(arg, known, letters, symbols, where)


def _verify_steps(loop: Loop) -> None:
    recurrent = {s.name for s in loop.statements if s.carry is not None}
    assert all(s.carry.index == loop.index for s in loop.statements if s.carry), f"language: the letter of {loop}"
    places = {s.name: s.indices.index(loop.index) for s in loop.statements}
    for statement in loop.statements:
        for element in elements(statement.expr):
            if element.name in places:
                lag = loop.index - element.subscripts[places[element.name]]
                earlier = element.name in recurrent and lag == loop.step
                assert lag == 0 or earlier, f"language: {element} in {statement}"
