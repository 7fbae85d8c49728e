"""Whole-array operations as NumPy text, and statements broken into lines.

Lines are broken as ``ruff format`` breaks them: a chain of operators in
parentheses, one operand a line. What has no such chain gets a line of its own
for its longest part: ``dx = <part>`` and then ``dx = <the rest>(dx)``.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import singledispatchmethod
from itertools import pairwise

from sympy import Expr

from derive.algebra.nodes import BATCH, BATCH_SIZE, Index
from derive.lower.arrays import (
    Accumulate,
    AddAt,
    Apply,
    Array,
    Assign,
    Axis,
    Binary,
    Blocks,
    Broadcast,
    CallBackward,
    CallForward,
    Cast,
    Contract,
    Copy,
    Delete,
    Dtype,
    Einsum,
    Empty,
    Entry,
    Expand,
    Fill,
    ForLoop,
    Function,
    Guarded,
    Helper,
    InPlace,
    Instruction,
    Into,
    Name,
    Number,
    Ones,
    Pad,
    PutAlong,
    Range,
    Reduce,
    Regroup,
    Reshape,
    Room,
    Rows,
    Span,
    Take,
    TakeAlong,
    Tensordot,
    Transpose,
    Unary,
    Update,
    Vecdot,
    Windows,
    values,
    walk,
)
from derive.lower.operations import ufunc
from derive.render.numpy_calls import backward_call, forward_call
from derive.render.numpy_numbers import (
    ADD,
    AND,
    ATOM,
    COMPARE,
    MUL,
    NEG,
    OR,
    POWER,
    TERNARY,
    NumberText,
    Text,
    inside,
    is_simple_operand,
    negated,
)

__all__ = ["WIDTH", "FunctionText", "call_lines"]

WIDTH = 120
_INDENT = "    "
_LEVELS = {
    "+": ADD, "-": ADD, "*": MUL, "/": MUL, "//": MUL, "%": MUL, "&": AND, "|": OR, "**": POWER,
    "<": COMPARE, "<=": COMPARE, ">": COMPARE, ">=": COMPARE, "==": COMPARE, "!=": COMPARE,
}  # fmt: skip


class FunctionText:
    """Prints the instructions of one function, and notes what they need.

    Attributes:
        modules: the names of the layers' modules that are called.
        scipy: the names of ``scipy.special`` that the text uses.
        in_place: whether a long statement may go on in the array that it has made.
        helpers: the module's small functions that it calls.
        dtype_used: whether the text says ``dtype``.
        batch_counts: for every sum over the batch axes, how many there are.
        batch_named: whether these have a name, because they occur more than once.
        passing: names that only the steps of a loop have.
        lasting: arrays with batch axes.
        bare_batch: whether the lengths of the batch axes alone are a shape, so that they must be a tuple.
        pairwise: whether an ``einsum`` of three or more arrays occurs.
    """

    def __init__(
        self,
        rename: Callable[[str], str],
        dtype: str,
        taken: set[str],
        sizes: Sequence[str],
        *,
        in_place: bool,
        special: frozenset[str] = frozenset(),
        modules: Mapping[str, str] | None = None,
    ) -> None:
        self.rename = rename
        self.modules = modules or {}
        self.dtype = dtype
        self.taken = taken
        self.in_place = in_place
        self.numbers = NumberText(self._local, sizes, special)
        self.scipy = self.numbers.scipy
        self.helpers: set[Function] = set()
        self.dtype_used = False
        self.pairwise = False
        self.bare_batch = False
        self.batch_counts: list[str] = []
        self.batch_named = False
        self.passing: set[str] = set()
        self.lasting: list[Name] = []

    def _local(self, symbol: Expr) -> str:
        return "count" if symbol == BATCH_SIZE else self.rename(symbol.name)

    # Arrays

    def expression(self, array: Array) -> str:
        """Return the text of an array."""
        return self._text(array)[0]

    @singledispatchmethod
    def _text(self, array: Array) -> Text:
        raise AssertionError(f"render: {array}")

    @_text.register
    def _(self, array: Name) -> Text:
        return self.rename(array.name), ATOM

    @_text.register
    def _(self, array: Number) -> Text:
        return self.numbers.text(array.value)

    @_text.register
    def _(self, array: Range) -> Text:
        return f"np.arange({self.numbers.text(array.size)[0]})", ATOM

    @_text.register
    def _(self, array: Unary) -> Text:
        text = self._text(array.args[0])
        return negated(text) if array.op == "-" else (f"{array.op}{inside(text, NEG)}", NEG)

    @_text.register
    def _(self, array: Binary) -> Text:
        level = _LEVELS[array.op]
        a, b = map(self._text, array.args)
        if array.op == "**":
            left, right = inside(a, ATOM), inside(b, NEG)
            tight = is_simple_operand(left) and is_simple_operand(right)
            return (f"{left}**{right}" if tight else f"{left} ** {right}"), POWER
        if level == COMPARE:
            return f"{inside(a, OR)} {array.op} {inside(b, OR)}", COMPARE
        left = inside(a, level)
        if array.op == "*" and isinstance(array.args[0], Contract):
            left = f"({a[0]})"
        return f"{left} {array.op} {inside(b, level + 1)}", level

    @_text.register
    def _(self, array: Apply) -> Text:
        if array.spelling.startswith("({1} if"):
            condition, a, b = (self._text(x) for x in array.args)
            return f"{inside(a, COMPARE)} if {inside(condition, COMPARE)} else {inside(b, COMPARE)}", TERNARY
        spelling = self.numbers.imported(array.spelling) if array.scipy else array.spelling
        one_call = array.spelling.endswith(")") and "(" in array.spelling and _is_one_call(array.spelling)
        if one_call:
            return spelling.format(*(self._text(a)[0] for a in array.args)), ATOM
        return spelling.format(*(inside(self._text(a), NEG) for a in array.args)), ADD

    @_text.register
    def _(self, array: Expand) -> Text:
        source = array.args[0]
        if isinstance(source, Take) and len(source.args) == 1 and not any(isinstance(w, int) for w in source.where):
            return self._taken_with_units(array, source), ATOM
        pieces = _absorbed(["None" if a is None else "..." if a == BATCH else ":" for a in array.axes])
        return f"{inside(self._text(array.args[0]), ATOM)}[{', '.join(pieces)}]", ATOM

    @_text.register
    def _(self, array: Transpose) -> Text:
        source = array.args[0]
        text = self._text(source)
        before, after = source.axes, array.axes
        if len(before) == 2 and BATCH not in before:
            return f"{inside(text, ATOM)}.T", ATOM
        moved = [k for k, (p, q) in enumerate(zip(before, after, strict=True)) if p != q]
        name = {axis: _axis_number(k, before) for k, axis in enumerate(before)}
        if len(moved) == 2 and BATCH not in (before[k] for k in moved):
            i, j = (name[before[k]] for k in moved)
            if (i, j) == (-2, -1):
                i, j = j, i
            return f"np.swapaxes({text[0]}, {i}, {j})", ATOM
        for axis in before:
            if axis != BATCH and [a for a in before if a != axis] == [a for a in after if a != axis]:
                return f"np.moveaxis({text[0]}, {name[axis]}, {_axis_number(after.index(axis), after)})", ATOM
        if BATCH in before:
            sources = tuple(name[axis] for axis in after if axis != BATCH)
            targets = tuple(_axis_number(k, after) for k, axis in enumerate(after) if axis != BATCH)
            return f"np.moveaxis({text[0]}, {sources}, {targets})", ATOM
        order = ", ".join(str(before.index(axis)) for axis in after)
        return f"{inside(text, ATOM)}.transpose({order})", ATOM

    @_text.register
    def _(self, array: Reshape) -> Text:
        first, *rest = ("1" if a is None else self.numbers.text(a.size)[0] for a in array.axes)
        rows = "-1" if array.indices[0].size.has(BATCH_SIZE) else first
        return f"{inside(self._text(array.args[0]), ATOM)}.reshape({', '.join([rows, *rest])})", ATOM

    @_text.register
    def _(self, array: Reduce) -> Text:
        source = array.args[0]
        arguments = self._axis(source, array.over, array.keep)
        return f"{inside(self._text(source), ATOM)}.{array.op}({', '.join(arguments)})", ATOM

    @_text.register
    def _(self, array: Helper) -> Text:
        self.helpers.add(array.function)
        source = array.args[0]
        arguments = [self._text(source)[0], *self._axis(source, array.over, array.keep)]
        return f"{array.function.value}({', '.join(arguments)})", ATOM

    @_text.register
    def _(self, array: Contract) -> Text:
        a, b = map(self._text, array.args)
        return f"{inside(a, MUL if isinstance(array.args[0], Contract) else NEG)} @ {inside(b, NEG)}", MUL

    @_text.register
    def _(self, array: Vecdot) -> Text:
        a, b = (self._text(x)[0] for x in array.args)
        if not array.keep:
            return f"np.vecdot({a}, {b})", ATOM
        units = "..., None" if BATCH in array.axes or len(array.axes) > 2 else ":, None"
        return f"np.vecdot({a}, {b})[{units}]", ATOM

    @_text.register
    def _(self, array: Ones) -> Text:
        text = inside(self._text(array.args[0]), ATOM)
        length = f"len({text})" if array.axes == array.args[0].axes[:1] else f"{text}.shape[-1]"
        return f"np.ones({length}, dtype={text}.dtype)", ATOM

    @_text.register
    def _(self, array: Tensordot) -> Text:
        a, b = (self._text(x)[0] for x in array.args)
        return f"np.tensordot({a}, {b}, axes={array.count})", ATOM

    @_text.register
    def _(self, array: Einsum) -> Text:
        source = array.args[0]
        if len(array.args) == 1 and len(source.axes) == 2 and len(array.axes) == 1 and BATCH not in source.axes:
            return f"np.diagonal({self._text(source)[0]})", ATOM
        letters = _letters([*(a.indices for a in array.args), array.indices])
        spec = ",".join("".join(letters[i] for i in a.indices) for a in array.args)
        spec += "->" + "".join(letters[i] for i in array.indices)
        arguments = [f'"{spec}"', *(self._text(a)[0] for a in array.args)]
        if array.optimize and len(array.args) > 2:
            self.pairwise = True
            arguments.append("optimize=_PAIRWISE")
        elif array.optimize:
            arguments.append("optimize=True")
        return f"np.einsum({', '.join(arguments)})", ATOM

    @_text.register
    def _(self, array: Take) -> Text:
        source, *places = array.args
        return f"{inside(self._text(source), ATOM)}[{self._brackets(source.axes, array.where, places)}]", ATOM

    @_text.register
    def _(self, array: Windows) -> Text:
        source = array.args[0]
        lengths = [self.numbers.text(n)[0] for n in array.lengths]
        places = [str(_axis_number(k, source.axes) if BATCH in source.axes else k) for k in array.along]
        one = len(lengths) == 1
        shape, axis = (lengths[0], places[0]) if one else (f"({', '.join(lengths)})", f"({', '.join(places)})")
        return f"sliding_window_view({self._text(source)[0]}, {shape}, axis={axis})", ATOM

    @_text.register
    def _(self, array: Pad) -> Text:
        self.helpers.add(Function.PAD)
        widths = [
            f"({self.numbers.text(a)[0]}, {self.numbers.text(b)[0]})"
            for axis, (a, b) in zip(array.axes, array.widths, strict=True)
            if axis != BATCH
        ]
        while len(widths) > 1 and widths[0] == "(0, 0)":
            del widths[0]
        fill = [] if array.fill == 0 else [f"fill={self.numbers.text(array.fill)[0]}"]
        return f"_pad({', '.join([self._text(array.args[0])[0], *widths, *fill])})", ATOM

    @_text.register
    def _(self, array: Regroup) -> Text:
        sizes = [
            "*batch" if i == BATCH else "-1" if i.size == BATCH_SIZE else self.numbers.text(i.size)[0]
            for i in array.indices
        ]
        return f"{inside(self._text(array.args[0]), ATOM)}.reshape({', '.join(sizes)})", ATOM

    def _taken_with_units(self, array: Expand, source: Take) -> str:
        """Return ``w[:, r, None]``, brackets and units in one."""
        inner = source.args[0]
        left = list(zip(inner.axes, source.where, strict=True))
        pieces: list[str] = []

        def numbers() -> None:
            while left and isinstance(left[0][1], Expr):
                pieces.append(self.numbers.text(left.pop(0)[1])[0])

        numbers()
        for axis in array.axes:
            if axis is None:
                pieces.append("None")
                continue
            own, entry = left.pop(0)
            pieces.append(self._slice(entry) if isinstance(entry, Span) else "..." if own == BATCH else ":")
            numbers()
        return f"{inside(self._text(inner), ATOM)}[{', '.join(_absorbed(pieces))}]"

    @_text.register
    def _(self, array: TakeAlong) -> Text:
        source, at = array.args
        text = f"np.take_along_axis({self._text(source)[0]}, {self._text(at)[0]}, "
        place = source.axes.index(array.over)
        text += f"axis={_axis_number(place, source.axes)})"
        if array.keep:
            return text, ATOM
        pieces = _absorbed(["..." if a == BATCH else "0" if k == place else ":" for k, a in enumerate(source.axes)])
        return f"{text}[{', '.join(pieces)}]", ATOM

    @_text.register
    def _(self, array: Cast) -> Text:
        source = array.args[0]
        self.dtype_used = True
        if isinstance(source, Range):
            return f"np.arange({self.numbers.text(source.size)[0]}, dtype={self.dtype})", ATOM
        return f"{inside(self._text(source), ATOM)}.astype({self.dtype})", ATOM

    @_text.register
    def _(self, array: Copy) -> Text:
        return f"{inside(self._text(array.args[0]), ATOM)}.copy()", ATOM

    @_text.register
    def _(self, array: Broadcast) -> Text:
        source = array.args[0]
        shape = self.shape([i.size for i in array.indices], array.like)
        if not source.axes:
            return f"np.full({shape}, {self._text(source)[0]})", ATOM
        return f"np.broadcast_to({self._text(source)[0]}, {shape}).copy()", ATOM

    @_text.register
    def _(self, array: Fill) -> Text:
        value = self.numbers.text(array.value)[0]
        self.dtype_used = True
        shape = self.shape([i.size for i in array.indices], array.like)
        if array.value == 0:
            return f"np.zeros({shape}, dtype={self.dtype})", ATOM
        return f"np.full({shape}, {value}, dtype={self.dtype})", ATOM

    @_text.register
    def _(self, array: Empty) -> Text:
        self.dtype_used = self.dtype_used or array.dtype is Dtype.REAL
        dtype = {Dtype.INT: "int", Dtype.BOOL: "bool"}.get(array.dtype, self.dtype)
        return f"np.empty({self.shape([i.size for i in array.indices], array.like)}, dtype={dtype})", ATOM

    @_text.register
    def _(self, array: Accumulate) -> Text:
        source = array.args[0]
        axis = _axis_number(source.axes.index(array.over), source.axes)
        return f"{array.spelling}({self._text(source)[0]}, axis={axis})", ATOM

    @_text.register
    def _(self, array: Rows) -> Text:
        source = array.args[0]
        own = f"{array.first or ''}:{-array.last if array.last else ''}"
        pieces = [own if a == array.over else "..." if a == BATCH else ":" for a in source.axes]
        return f"{inside(self._text(source), ATOM)}[{', '.join(_bare(pieces))}]", ATOM

    def shape(self, sizes: Sequence[Expr], like: str | None) -> str:
        """Return the text of a shape."""
        if like is not None:
            return f"{self.rename(like)}.shape"
        pieces = ["*batch" if s == BATCH_SIZE else self.numbers.text(s)[0] for s in sizes]
        if sizes == [BATCH_SIZE]:
            self.bare_batch = True
            return "batch"
        return f"({', '.join(pieces)}{',' if len(pieces) == 1 else ''})"

    def _brackets(self, axes: Sequence[Axis], where: Sequence[Entry], places: Sequence[Array]) -> str:
        return ", ".join(self._pieces(axes, where, places)) or "..."

    def _pieces(self, axes: Sequence[Axis], where: Sequence[Entry], places: Sequence[Array]) -> list[str]:
        pieces = []
        for axis, place in zip(axes, where, strict=True):
            if place is None:
                pieces.append("..." if axis == BATCH else ":")
            elif isinstance(place, Span):
                pieces.append(self._slice(place))
            elif isinstance(place, Expr):
                pieces.append(self.numbers.text(place)[0])
            else:
                pieces.append(self._text(places[place - 1])[0])
        return _bare(pieces)

    def _slice(self, span: Span) -> str:
        """Return ``a:b:c``, with spaces as a formatter puts them."""
        step = None if span.step == 1 else span.step
        ends = [None if e is None else self.numbers.text(e)[0] for e in (span.start, span.stop, step)]
        if all(e is None or re.fullmatch(r"-?\w+", e) for e in ends):
            first, last, by = (e or "" for e in ends)
            return f"{first}:{last}" + (f":{by}" if by else "")
        text = (f"{ends[0]} :" if ends[0] is not None else ":") + (f" {ends[1]}" if ends[1] is not None else "")
        if ends[2] is not None:
            text += (" :" if ends[1] is not None else ":") + f" {ends[2]}"
        return text

    def _axis(self, source: Array, over: Sequence[Index], keep: bool) -> list[str]:
        """Return the ``axis`` and ``keepdims`` arguments of a reduction."""
        places = [k for k, axis in enumerate(source.axes) if axis in over]
        keeping = ["keepdims=True"] if keep else []
        if len(places) == len(source.axes) and not keep:
            return []
        numbers = [_axis_number(k, source.axes) for k in places if source.axes[k] != BATCH]
        if len(numbers) > 1 and BATCH not in source.axes:
            numbers = places
        if BATCH not in over:
            text = str(numbers[0]) if len(numbers) == 1 else f"({', '.join(map(str, numbers))})"
            return [f"axis={text}", *keeping]
        leaves = [n for n in walk(source) if isinstance(n, Name) and BATCH in n.axes]
        leaf = next((n for n in (*leaves, *self.lasting) if n.name not in self.passing), leaves[0])
        after = len(leaf.axes) - 1
        count = f"{self.rename(leaf.name)}.ndim" + (f" - {after}" if after else "")
        self.batch_counts.append(count)
        if self.batch_named:
            text = f"(*batch_axes, {', '.join(map(str, numbers))})" if numbers else "batch_axes"
            return [f"axis={text}", *keeping]
        text = f"(*range({count}), {', '.join(map(str, numbers))})" if numbers else f"tuple(range({count}))"
        return [f"axis={text}", *keeping]

    # Statements

    def body(self, instructions: Sequence[Instruction]) -> list[str]:
        """Return the lines of the instructions, not indented; batch axes get a name if they are needed again."""
        taken = set(self.taken)
        loops = [i for i in instructions if isinstance(i, ForLoop)]
        outside = {i.name for i in instructions if isinstance(i, Assign)}
        self.passing = {i.name for loop in loops for i in loop.body if isinstance(i, Assign)} - outside
        nodes = [n for i in instructions for v in values(i) for n in walk(v)] if self.passing else []
        self.lasting = [n for n in nodes if isinstance(n, Name) and BATCH in n.axes]
        lines = self._all(instructions)
        if len(self.batch_counts) < 2:
            return lines
        self.taken, self.batch_counts, self.batch_named = taken, [], True
        return self._all(instructions)

    def _all(self, instructions: Sequence[Instruction]) -> list[str]:
        result: list[str] = []
        for instruction in instructions:
            before = len(self.batch_counts)
            lines = self._lines(instruction, WIDTH - len(_INDENT))
            if self.batch_named and before == 0 and self.batch_counts:
                result.append(f"batch_axes = tuple(range({self.batch_counts[0]}))")
            result += lines
        return result

    def _lines(self, instruction: Instruction, width: int) -> list[str]:
        match instruction:
            case Guarded(ignore=ignore, body=body):
                settings = ", ".join(f'{kind}="ignore"' for kind in ignore)
                inner = [line for s in body for line in self._lines(s, width - len(_INDENT))]
                return [f"with np.errstate({settings}):  # where() drops these values", *(_INDENT + i for i in inner)]
            case ForLoop(counter=counter, size=size, step=step, body=body):
                steps = f"range({self.numbers.text(size)[0]})"
                header = f"for {self.rename(counter)} in {steps if step == 1 else f'reversed({steps})'}:"
                return [header, *(_INDENT + line for s in body for line in self._lines(s, width - len(_INDENT)))]
            case Room():
                return self._room(instruction, width)
            case Into(name=name, value=value):
                return self._into(name, value, width)
            case Blocks():
                return self._blocks(instruction, width)
            case CallForward():
                module = self.modules[instruction.module]
                return call_lines(*forward_call(instruction, module, self.rename, self.expression), width)
            case CallBackward():
                module = self.modules[instruction.module]
                call, after = backward_call(instruction, module, self.rename, self.expression)
                lines = call_lines(*call, width - len(after))
                return [*lines[:-1], lines[-1] + after]
            case Assign(name=name, value=value):
                return self._assignment(name, "=", value, width)
            case Delete(name=name):
                return [f"del {self.rename(name)}"]
            case InPlace(name=name, op=("max" | "min") as op, value=value):
                own = self.rename(name)
                function = {"max": "np.maximum", "min": "np.minimum"}[op]
                room = width - len(f"{function}({own}, , out={own})")
                lines, value = self._shortened(value, room, {name})
                return [*lines, f"{function}({own}, {self.expression(value)}, out={own})"]
            case InPlace(name=name, op=op, value=value):
                return self._assignment(name, f"{op}=", value, width)
            case Update(name=name, axes=axes, where=where, places=places, op=op, value=value):
                target = f"{self._view(instruction)}[{self._brackets(axes, where, places)}]"
                lines = self._broken(target, f"{op}=", value, width, {name})
                if len(lines[-1]) <= width or not lines[-1].startswith(target):
                    return lines
                pieces = self._pieces(axes, where, places)
                left = [f"{self._view(instruction)}[", *(f"{_INDENT}{piece}," for piece in pieces)]
                return [*lines[:-1], *left, "]" + lines[-1][len(target) :]]
            case AddAt(flat=True):
                return self._add_flat(instruction)
            case AddAt(name=name, axes=axes, where=where, places=places, op=op, value=value):
                function = "np.add.at" if op == "+" else "np.subtract.at"
                own = self._view(instruction)
                at = self._brackets(axes, where, places)
                if len(places) > 1 or ", " in at:
                    at = f"({', '.join(_as_value(piece) for piece in _arguments(at))})"
                lines, value = self._shortened(value, width - len(function) - len(own) - len(at) - 6, {name})
                return [*lines, f"{function}({own}, {at}, {self.expression(value)})"]
            case PutAlong(name=name, axes=axes, over=over, at=at, op=op, value=value):
                axis = _axis_number(axes.index(over), axes)
                own, text = self.rename(name), self.expression(at)
                if op:
                    plus = inside(self._text(value), ADD + 1)
                    new = f"np.take_along_axis({own}, {text}, axis={axis}) {op} {plus}"
                else:
                    new = self.expression(value)
                return [f"np.put_along_axis({own}, {text}, {new}, axis={axis})"]
        raise AssertionError(f"render: {instruction}")

    def _add_flat(self, add: AddAt) -> list[str]:
        """Return the lines that add rows at places that may repeat, element by element: NumPy does that much faster."""
        own, at, value = self.rename(add.name), self.expression(add.places[0]), self.expression(add.value)
        width = f"{own}.shape[1]" if len(add.axes) == 2 else f"math.prod({own}.shape[1:])"
        name = self._fresh("places")
        places = f"{name} = {at}.reshape(-1, 1).astype(np.intp) * {width} + np.arange({width})"
        return [places, f"np.add.at({own}.reshape(-1), {name}.reshape(-1), {value}.reshape(-1))"]

    def _room(self, room: Room, width: int) -> list[str]:
        """Return the line that takes the caller's array for a gradient, or a new one."""
        self.dtype_used = True
        shape = self.shape(list(room.axes), room.like)
        field = f"d{room.parameter}"
        field += "_" * keyword.iskeyword(field)
        arguments = ["out", f'"{field}"', shape, self.dtype, *map(self.rename, room.reads)]
        return call_lines(f"{self.rename(room.name)} = _room", arguments, width)

    def _into(self, name: str, value: Array, width: int) -> list[str]:
        """Return the lines that write the result of one operation to an array."""
        target = self.rename(name)
        if isinstance(value, Name):
            return [f"np.copyto({target}, {self.expression(value)})"]
        call = ufunc(value)
        assert call is not None, f"render: {value}"
        if isinstance(value, Apply) and value.scipy:
            call = self.numbers.imported(call + ")")[:-1]
        function, _, places = call.partition("(")
        arguments = places.format(*(self._text(a)[0] for a in value.args))
        return call_lines(function, [*_arguments(arguments), f"out={target}"], width)

    def _blocks(self, blocks: Blocks, width: int) -> list[str]:
        """Return the loop over blocks of rows."""
        of = self.expression(blocks.of)
        names = [self.rename(n) for n in blocks.scratch]
        like = self.rename(blocks.like)
        given = [of, *([str(len(names))] if names else []), *([f"{like}.dtype"] if names and like != of else [])]
        header = f"for {', '.join([blocks.rows, *names])} in _blocks({', '.join(given)}):"
        targets = ", ".join(self.rename(n) for n, _ in blocks.parts)
        line = f"{targets} = {', '.join(f'{self.expression(a)}[{blocks.rows}]' for _, a in blocks.parts)}"
        lines = [line]
        if len(line) > width - len(_INDENT):
            lines = [f"{self.rename(n)} = {self.expression(a)}[{blocks.rows}]" for n, a in blocks.parts]
        inner = [line for s in blocks.body for line in self._lines(s, width - len(_INDENT))]
        return [header, *(_INDENT + line for line in (*lines, *inner))]

    def _view(self, update: Update | AddAt) -> str:
        """Return the array that is written to, its axes in the order of ``update.axes``."""
        name = Name(update.stored, Dtype.REAL, name=update.name)
        return self.expression(name if update.axes == update.stored else Transpose(update.axes, name.dtype, (name,)))

    def _assignment(self, name: str, op: str, value: Array, width: int) -> list[str]:
        return self._broken(self.rename(name), op, value, width, {name} if op != "=" else set(), name)

    def _broken(
        self, target: str, op: str, value: Array, width: int, busy: set[str], own: str | None = None
    ) -> list[str]:
        """Return ``target op value`` in lines of at most ``width``."""
        text = self.expression(value)
        line = f"{target} {op} {text}"
        if len(line) <= width:
            return [line]
        if isinstance(value, Binary):
            pieces = list(self._chain(value))
            if len(pieces) > 2:
                if len(_INDENT) + len(text) <= width:
                    return [f"{target} {op} (", _INDENT + text, ")"]
                if all(len(_INDENT) + len(piece) <= width for piece in pieces):
                    return [f"{target} {op} (", *(_INDENT + piece for piece in pieces), ")"]
        reads = {n.name for n in walk(value) if isinstance(n, Name)} | busy
        lines, shorter, part = self._hoisted(value, width, reads, own)
        if not lines and text.endswith(")"):
            name, _, arguments = text.partition("(")
            return call_lines(f"{target} {op} {name}", list(_arguments(arguments[:-1])), width)
        if not lines:
            return [line]
        made = isinstance(part, (Binary, Unary, Apply, Contract))
        if op == "=" and made and own is not None and own not in reads and self.in_place:
            line_in_place = self._in_place(own, shorter)
            if line_in_place is not None:
                return [*lines, *self._broken(target, *line_in_place, width, {own})]
        return [*lines, *self._broken(target, op, shorter, width, reads, None if own in reads else own)]

    @staticmethod
    def _in_place(own: str, value: Array) -> tuple[str, Array] | None:
        """Return operator and operand where ``value`` is ``own op operand`` and changes no shape."""
        if not isinstance(value, Binary) or value.op not in ("+", "-", "*", "/"):
            return None
        left, right = value.args
        for mine, other in ((left, right), (right, left)):
            commutes = value.op in ("+", "*")
            if (
                isinstance(mine, Name)
                and mine.name == own
                and mine.dtype is Dtype.REAL
                and mine.axes == value.axes
                and (commutes or mine is left)
            ):
                return f"{value.op}=", other
        return None

    def _chain(self, value: Binary) -> Iterator[str]:
        """Give the operands of a chain of operators of equal precedence, each with the operator before it."""
        level = _LEVELS[value.op]
        left, right = value.args
        same = isinstance(left, Binary) and _LEVELS[left.op] == level and level in (ADD, MUL)
        if same and isinstance(left, Binary):
            yield from self._chain(left)
        else:
            text = self._text(left)
            if value.op == "*" and isinstance(left, Contract):
                yield f"({text[0]})"
            elif text[1] == level:
                yield from _operands(text[0], "*/%@" if level == MUL else "+-")
            else:
                yield inside(text, level)
        yield f"{value.op} {inside(self._text(right), level + 1)}"

    def _shortened(self, value: Array, room: int, busy: set[str]) -> tuple[list[str], Array]:
        """Return lines that compute ``value`` under a name if its text is longer than ``room``."""
        if len(self.expression(value)) <= room:
            return [], value
        name = self._fresh("term")
        lines = self._broken(name, "=", value, WIDTH - len(_INDENT), busy)
        return lines, Name(value.axes, value.dtype, name=name)

    def _hoisted(self, value: Array, width: int, reads: set[str], own: str | None) -> tuple[list[str], Array, Array]:
        """Return lines for the longest part of ``value``, ``value`` with its name instead, and the part."""
        path = self._longest(value)
        if path is None:
            return [], value, value
        part = value.args[path[0]]
        # What does not fit a line of its own either is gone into, unless it can be broken at its operators.
        while len(self.expression(part)) + 12 > width and not (isinstance(part, Binary) and self._breaks(part, width)):
            further = self._longest(part)
            if further is None:
                break
            path = (*path, *further)
            part = part.args[further[0]]
        if own is not None and own not in reads:
            name, target = own, self.rename(own)
        else:
            name = target = self._fresh("term")
        lines = self._broken(target, "=", part, width, reads, None if name in reads else own)
        return lines, _replaced(value, path, Name(part.axes, part.dtype, name=name)), part

    def _longest(self, value: Array) -> tuple[int, ...] | None:
        """Return which argument has the longest text, or None where none is worth a line."""
        lengths = [(len(self.expression(a)), -k) for k, a in enumerate(value.args) if not isinstance(a, (Name, Number))]
        if not lengths or max(lengths)[0] < 12:
            return None
        return (-max(lengths)[1],)

    def _breaks(self, value: Binary, width: int) -> bool:
        pieces = list(self._chain(value))
        return len(pieces) > 2 and all(len(_INDENT) + len(piece) <= width for piece in pieces)

    def _fresh(self, stem: str) -> str:
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}{number}", number + 1
        self.taken.add(name)
        return name


def call_lines(prefix: str, arguments: Sequence[str], width: int = WIDTH - len(_INDENT)) -> list[str]:
    """Return ``prefix(arguments)``, broken as a formatter does where it is too long."""
    line = f"{prefix}({', '.join(arguments)})"
    if len(line) <= width:
        return [line]
    hugging = _INDENT + ", ".join(arguments)
    if len(hugging) <= width:
        return [f"{prefix}(", hugging, ")"]
    return [f"{prefix}(", *(f"{_INDENT}{a}," for a in arguments), ")"]


def _replaced(value: Array, path: Sequence[int], part: Array) -> Array:
    """Return the value with the argument at the end of the path replaced."""
    if not path:
        return part
    args = list(value.args)
    args[path[0]] = _replaced(args[path[0]], path[1:], part)
    return replace(value, args=tuple(args))


def _operands(text: str, operators: str) -> Iterator[str]:
    """Split text at the operators outside all brackets; each piece starts with its operator."""
    depth = start = 0
    for k, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in operators and text[k - 1] == " " and text[k + 1 : k + 2] in (" ", "/"):
            yield text[start : k - 1]
            start = k
    yield text[start:]


def _arguments(text: str) -> Iterator[str]:
    """Split the arguments of a call at the commas outside all brackets."""
    depth = start = 0
    for k, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character == ",":
            yield text[start:k].strip()
            start = k + 1
    yield text[start:].strip()


def _as_value(subscript: str) -> str:
    """Return a subscript as it stands outside brackets: ``slice(1, None)`` for ``1:``, ``tags[1:]`` as it is."""
    if subscript == "...":
        return "Ellipsis"
    depth = 0
    places = []
    for k, character in enumerate(subscript):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character == ":":
            places.append(k)
    if not places:
        return subscript
    ends = [subscript[a + 1 : b].strip() or "None" for a, b in pairwise([-1, *places, len(subscript)])]
    return f"slice({', '.join(ends[1:] if ends[0] == 'None' and len(ends) == 2 else ends)})"


def _is_one_call(spelling: str) -> bool:
    """Return whether the whole spelling is ``name(…)``."""
    depth = 0
    for k, character in enumerate(spelling):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character == ")" and k + 1 < len(spelling):
            return False
    return True


def _absorbed(pieces: list[str]) -> list[str]:
    """Drop the whole axes that come right after ``...``, which takes them as well."""
    if pieces[:1] != ["..."]:
        return pieces
    rest = pieces[1:]
    while rest and rest[0] == ":":
        del rest[0]
    return ["...", *rest]


def _bare(pieces: list[str]) -> list[str]:
    """Drop the whole axes that need not be written."""
    pieces = _absorbed(pieces)
    if "..." not in pieces:
        while pieces and pieces[-1] == ":":
            pieces.pop()
    return pieces


def _axis_number(place: int, axes: Sequence[Axis]) -> int:
    """Return the number of an axis: from the end behind batch axes, and for the last axis."""
    if BATCH in axes:
        return place if place < axes.index(BATCH) else place - len(axes)
    if place == len(axes) - 1 and place > 0:
        return place - len(axes)
    return place


def _letters(groups: Sequence[Sequence[Index]]) -> dict[Index, str]:
    """Return a letter for every index, its own where that is one letter and free."""
    letters: dict[Index, str] = {BATCH: "..."}
    indices = [i for i in dict.fromkeys(i for group in groups for i in group) if i != BATCH]
    for index in indices:
        if (
            len(index.name) == 1
            and index.name.isascii()
            and index.name.isalpha()
            and index.name not in letters.values()
        ):
            letters[index] = index.name
    spare = iter("bijklmnopqrstuvwxyzacdefghABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for index in indices:
        if index not in letters:
            letters[index] = next(c for c in spare if c not in letters.values())
    return letters
