"""The range of every index of a statement, and whether its names fit.

An index ranges over the axis at whose place it stands alone. In

    y[n, d] = gamma[d] * sum[k](x[n, k] * w[k, d])

``n`` and ``d`` belong to the statement, ``k`` to its sum. Every read is
visited once, in reading order; the first place gives an index its range, each
further one has to agree. A reduction's letter hides the statement's; one that
keeps its index (``softmax[c]``) shares it.
"""

from __future__ import annotations

from derive.algebra.functions import BY_NAME
from derive.algebra.nodes import BATCH_SIZE
from derive.algebra.text import show
from derive.errors import DerivationError, LayerSyntaxError, ShapeError, UnknownNameError
from derive.language.calls import Layers
from derive.language.letters import Letter, Letters, axis_count, example, only_right
from derive.language.scope import KEEPING, POWERS, REDUCTIONS, Scope, count, nearest
from derive.language.sizes import is_size, size_value
from derive.language.subscripts import Subscripts, mentions
from derive.language.tree import Call, Dots, Expression, Name, Operation, Pad, Read, Reduce, Truth, written

__all__ = ["Ranges"]


class Ranges:
    """The ranges of one statement's letters.

    Attributes:
        bound: for every reduction (by identity) the letters it introduces.
    """

    def __init__(self, scope: Scope, layers: Layers) -> None:
        self.scope = scope
        self.layers = layers
        self.bound: dict[int, dict[str, Letter]] = {}
        self.subscripts = Subscripts(scope)

    def visit(self, node: Expression, letters: Letters) -> None:
        """Visit an expression in which ``letters`` are bound.

        Raises:
            UnknownNameError, ShapeError, LayerSyntaxError: what is wrong with it first.
        """
        match node:
            case Read():
                self.subscripts.read(node, letters)
            case Pad():
                self._padded(node, letters)
            case Reduce():
                self._reduce(node, letters)
            case Call():
                self._call(node, letters)
            case Operation():
                for operand in node.operands:
                    self.visit(operand, letters)
            case Name():
                self._name(node, letters)
            case Truth():
                raise LayerSyntaxError(
                    f"{node.value} in a formula", node.at, f"write {int(node.value)}; a condition is a comparison"
                )

    def letter(self, node: Name | Dots) -> Letter:
        """Return a new letter; the range of ``...`` is known."""
        if isinstance(node, Dots):
            if not self.scope.batched:
                raise ShapeError("'...' without batch axes", node.at, "no tensor of the layer has '...'")
            return Letter("...", node.at, BATCH_SIZE)
        self.scope.check_letter(node)
        return Letter(node.id, node.at)

    # Names

    def _name(self, node: Name, letters: Letters) -> None:
        if node.id in letters:
            return
        known = self.scope.tensors.get(node.id)
        if known is not None:
            self.scope.used.add(node.id)
            if known.axes:
                raise ShapeError(
                    f"'{node.id}' has {axis_count(known)} and is read without subscripts",
                    node.at,
                    f"write {example(known)}",
                )
            return
        if self.scope.scalar(node) is None:
            raise self._unknown_name(node)

    def _unknown_name(self, node: Name) -> UnknownNameError | DerivationError:
        scope = self.scope
        if node.id == scope.current:
            return DerivationError(
                f"'{node.id}' reads itself",
                node.at,
                "each name is assigned once; a recurrence runs along an index: h[t] = … h[t - 1] …",
            )
        if node.id in ("True", "False", "None"):
            return UnknownNameError(f"unknown name '{node.id}'", node.at)
        if len(node.id) == 1 and node.id.islower() and node.id not in scope.later:
            return only_right(node)
        return scope.unknown(node, "name", (*scope.tensors, *scope.hypers, *scope.sizes))

    # Padded reads, reductions and calls

    def _padded(self, node: Pad, letters: Letters) -> None:
        if node.fill is not None:
            if isinstance(node.fill, Name) and node.fill.id in letters:
                raise ShapeError(
                    f"the value outside, '{node.fill.id}', is an index", node.fill.at, "it is one constant: 0 or -inf"
                )
            self.check_constant(node.fill, "the value outside takes numbers, inf, sizes and hyper-parameters")
        name = node.read.name
        known = self.scope.tensors.get(name.id)
        if name.id in self.scope.hypers or (known is not None and not known.axes):
            raise ShapeError(f"'{name.id}' is a scalar and is not padded", name.at, f"read it alone: {name.id}")
        self.subscripts.read(node.read, letters, padded=True)

    def _reduce(self, node: Reduce, letters: Letters) -> None:
        word = node.word.id
        if word not in REDUCTIONS:
            if word in BY_NAME or word in POWERS:
                raise LayerSyntaxError(f"'{word}' takes no index", node.word.at, f"write {word}(…) of an element")
            near = nearest(word, REDUCTIONS)
            raise UnknownNameError(
                f"unknown reduction '{word}'", node.word.at,
                f"did you mean '{near}'?" if near else f"the reductions are {', '.join(REDUCTIONS)}",
            )  # fmt: skip
        names = [letter.id if isinstance(letter, Name) else "..." for letter in node.letters]
        for position, letter in enumerate(node.letters):
            if names[position] in names[:position]:
                raise LayerSyntaxError(f"index '{names[position]}' stands twice", letter.at, "name each index once")
        if word == "argmax" and (len(names) != 1 or names == ["..."]):
            raise LayerSyntaxError("'argmax' runs over one index", node.word.at, "write argmax[c](z[n, c])")
        if word in KEEPING:
            for size in node.ranges:
                if size is not None:
                    raise LayerSyntaxError(
                        f"'{word}' keeps its index, whose range is that of the left", size.at,
                        f"write {word}[{', '.join(names)}](…) and declare the left side's shape",
                    )  # fmt: skip
            for letter, name in zip(node.letters, names, strict=True):
                if name not in letters:
                    raise UnknownNameError(
                        f"'{word}' keeps its index '{name}', which is not bound here", letter.at,
                        f"put '{name}' on the left, or reduce over it outside",
                    )  # fmt: skip
            self.visit(node.body, letters)
            return
        own = {name: self.letter(letter) for name, letter in zip(names, node.letters, strict=True)}
        if "..." in own and "..." in letters:
            raise LayerSyntaxError(
                f"'{word}[...]' stands where '...' is in use already",
                own["..."].at,
                f"give it a name in an equation of its own: s = {written(node.at)}",
            )
        for introduced, size in zip(own.values(), node.ranges, strict=True):
            if size is not None:
                self._give_range(introduced, size, letters)
        self.bound[id(node)] = own
        self.visit(node.body, {**letters, **own})
        for name, introduced in own.items():
            if introduced.size is None:
                likely = self.subscripts.likely(introduced)
                values = show(likely) if likely is not None else "K"
                raise ShapeError(
                    f"index '{name}' has no range", introduced.at,
                    f"inside {word}[…] it stands alone on no axis; give it one: {word}[{name}: {values}](…)",
                )  # fmt: skip

    def _give_range(self, letter: Letter, node: Expression, letters: Letters) -> None:
        """Give a letter the range of ``sum[r: k](…)``."""
        text = written(node.at)
        if not is_size(node, self.scope):
            if mentions(node, letters):
                raise ShapeError(
                    f"the range '{text}' depends on an index", node.at,
                    f"run over all values and choose: where({letter.name} < …, …, 0)",
                )  # fmt: skip
            self.check_constant(node, "a range is made of sizes, integers and Int hyper-parameters")
            raise ShapeError(
                f"the range '{text}' is not an integer", node.at,
                "a range is made of sizes, integers and Int hyper-parameters",
            )  # fmt: skip
        size = self.scope.length(size_value(node, self.scope), node.at)
        letter.size, letter.place, letter.declared = size, f"its range on line {node.at.line}", True

    def _call(self, node: Call, letters: Letters) -> None:
        word = node.name.id
        layer = self.layers.on_elements(node.name, self.scope.layer)
        if layer is None:
            self._check_function(node)
        else:
            self.layers.check_elementwise(layer, node)
        for argument in node.arguments:
            if isinstance(argument, Name) and argument.id not in letters and layer is None:
                known = self.scope.tensors.get(argument.id)
                if known is not None and known.axes:
                    raise ShapeError(
                        f"'{word}' is a function of elements, and '{argument.id}' has {axis_count(known)}",
                        argument.at,
                        f"write {word}({example(known)})",
                    )
            self.visit(argument, letters)
        for _, value in node.keywords:
            self.check_constant(value)

    def _check_function(self, node: Call) -> None:
        word, given = node.name.id, len(node.arguments)
        row = BY_NAME.get(word)
        arity = 1 if word in POWERS else row.arity if row is not None and not row.infix else None
        if arity is None:
            raise self._unknown_function(node)
        if node.keywords:
            raise LayerSyntaxError(
                f"'{word}' takes no keyword",
                node.keywords[0][0].at,
                f"'{word}' is a function of {count(arity, 'argument')}",
            )
        if given != arity:
            raise LayerSyntaxError(
                f"'{word}' takes {count(arity, 'argument')}, got {given}", node.at,
                f"{word}: {row.meaning}" if row is not None else None,
            )  # fmt: skip

    def _unknown_function(self, node: Call) -> Exception:
        word = node.name.id
        if word in REDUCTIONS:
            other = {"max": "; of two numbers: maximum(a, b)", "min": "; of two numbers: minimum(a, b)"}.get(word, "")
            return LayerSyntaxError(
                f"'{word}' does not say over which index it runs", node.name.at, f"write {word}[i](…){other}"
            )
        if word in self.scope.tensors:
            return LayerSyntaxError(
                f"'{word}' is a tensor, not a function", node.name.at, "its elements are read as x[n]"
            )
        functions = [name for name, row in BY_NAME.items() if not row.infix]
        near = nearest(word, (*functions, *POWERS, *REDUCTIONS, *self.layers.names()))
        return UnknownNameError(
            f"unknown function '{word}'",
            node.name.at,
            f"did you mean '{near}'?" if near else "a new one is a layer of its own",
        )

    def check_constant(
        self, node: Expression, hint: str = "a hyper-parameter takes numbers, sizes and hyper-parameters"
    ) -> None:
        """Refuse a value that is not a constant to the layer."""
        match node:
            case Read() | Reduce() | Pad():
                raise ShapeError(f"'{written(node.at)}' is not a constant", node.at, hint)
            case Name() if node.id in self.scope.tensors:
                raise ShapeError(f"'{node.id}' is a tensor, not a constant", node.at, hint)
            case Name():
                self._name(node, {})
            case Call():
                self._check_function(node)
                for argument in node.arguments:
                    self.check_constant(argument, hint)
            case Operation():
                for operand in node.operands:
                    self.check_constant(operand, hint)
            case Truth():
                pass
