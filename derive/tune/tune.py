"""The backward of an array program rewritten for speed: operations written into arrays that are there, rows in blocks.

    def backward(dy, cache, out=None):
        …
        dx = _room(out, "x", xhat.shape, dy.dtype, dy, gamma, rstd, xhat)
        dgamma = np.zeros(gamma.shape, dtype=dy.dtype)
        for rows, scratch in _blocks(dy, 1):
            dy_rows, xhat_rows, dx_rows = dy[rows], xhat[rows], dx[rows]
            dgamma += np.einsum("nd,nd->d", dy_rows, xhat_rows)
            np.multiply(gamma, dy_rows, out=dx_rows)
            …

The mathematics is that of the array program it is given; :mod:`derive.tune.rows`
says what may be done by rows, :mod:`derive.tune.storage` where results go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from sympy import Expr, S

from derive.algebra.nodes import BATCH, BATCH_SIZE, Index
from derive.lower.arrays import (
    Apply,
    Array,
    ArrayProgram,
    Assign,
    Axis,
    Binary,
    Blocks,
    CallBackward,
    Copy,
    Dtype,
    Empty,
    Fill,
    InPlace,
    Instruction,
    Into,
    Name,
    Reshape,
    Room,
    transform,
    values,
    walk,
)
from derive.lower.operations import ufunc
from derive.lower.sharing import descriptive_name
from derive.lower.sizes import find_sizes, same_shape, shaped
from derive.lower.steps import mapped
from derive.tune.idioms import respelled
from derive.tune.rows import ROWS, Go, Role, goes, one_axis, role, row_size
from derive.tune.sequences import as_product, fewer_passes
from derive.tune.storage import Storage, overwritten
from derive.tune.tape import Tape, is_large, large_rank, names_in, written

__all__ = ["Worth", "tuned"]

Worth = Callable[[Sequence[Instruction]], bool]
"""Whether a go over the rows is worth being done in blocks."""


def tuned(arrays: ArrayProgram, worth: Worth) -> ArrayProgram | None:
    """Return the program with its backward rewritten for speed, or None where there is nothing to rewrite.

    Args:
        arrays: as lowered.
        worth: decides for each go over the rows whether it is done in blocks.
    """
    if arrays.modules or arrays.stages or any(isinstance(i, CallBackward) for i in arrays.backward):
        return None
    for merged in (True, False):
        found = _Tuning(arrays, worth).run(merged=merged)
        if found is not None:
            return found
    return None


class _Tuning:
    """Rewrites one backward."""

    def __init__(self, arrays: ArrayProgram, worth: Worth) -> None:
        self.arrays, self.worth = arrays, worth
        self.held = {f.name: f.axes for f in arrays.cache if f.axes is not None}
        self.gradients = {name: parameter for parameter, name in arrays.gradients}
        self.taken = {
            *self.held,
            *(n for i in arrays.backward for n in written(i)),
            *(c.name for c in arrays.cotangents),
        }
        self.taken |= {f.name for f in arrays.cache} | {h for h, _ in arrays.hypers} | {i.name for i in arrays.inputs}
        self.taken |= {str(axis) for i in arrays.inputs for axis in i.axes} | {str(s) for s, _ in arrays.derived}
        self.taken |= {"rows", "cache", "out", "dtypes", "dtype", "batch", "count"}
        self.sizes = {axis.size for axes in self.held.values() for axis in axes if axis is not None}
        self.sizes |= {s.size for s in arrays.backward_sizes}

    def fresh(self, stem: str) -> str:
        """Return a name that means nothing else."""
        name, number = stem, 2
        while name in self.taken:
            name, number = f"{stem}{number}", number + 1
        self.taken.add(name)
        return name

    def known(self, size: Expr) -> bool:
        """Return whether a size can be written as a number."""
        return size in self.sizes and size != BATCH_SIZE

    def run(self, *, merged: bool) -> ArrayProgram | None:
        """Return the program; ``merged``: with the leading batch axes as one."""
        arrays = self.arrays
        given = {c.name: tuple(_letter(s) for s in c.axes) for c in arrays.cotangents}
        starts = {**self.held, **given}
        code: Sequence[Instruction] | None = arrays.backward
        batched = [name for name, axes in starts.items() if BATCH in axes]
        if merged and batched:
            code = one_axis(arrays.backward)
            if code is None:
                return None
        elif merged:
            return self.run(merged=False)
        assert code is not None
        code = fewer_passes([self._respelled(i) for i in code])
        tape = Tape(large_rank(code), self.fresh)
        tape.add(code)
        code = tape.code
        rank = tape.rank
        roomy = self._roomy(code, rank, merged=bool(merged and batched))
        if roomy is None:
            return None
        row = row_size(code, rank)
        row = None if row == BATCH else row
        flat = {name: self.fresh(f"{name}_flat") for name in roomy if BATCH_SIZE in self._axes(name)} if merged else {}
        result = self._emitted(code, row, rank, roomy, flat)
        if result is None:
            return None
        read = {n for i in result for v in values(i) for n in names_in(v)}
        opening: list[Instruction] = []
        reads = tuple(name for name in starts if name in read)
        for name in roomy:
            axes = self._axes(name)
            like = same_shape(axes, {**self.held, **given})
            opening.append(Room(name, self.gradients[name], axes, like, reads))
        if merged:
            for name in batched:
                if name in read:
                    axes_ = tuple(ROWS if axis == BATCH else axis for axis in starts[name])
                    source = Name(starts[name], Dtype.REAL, name=name)
                    opening.append(Assign(name, Reshape(axes_, Dtype.REAL, (source,))))
            for name, own in flat.items():
                axes_ = tuple(_letter(s) if s != BATCH_SIZE else ROWS for s in self._axes(name))
                source = Name(axes_, Dtype.REAL, name=name)
                opening.append(Assign(own, Reshape(axes_, Dtype.REAL, (source,))))
        final = [*opening, *(shaped_in(i, self.held) for i in result)]
        sizes, missing = find_sizes(final, self.held, arrays.cotangents, ())
        known_fields = {f.value for f in arrays.cache if f.axes is None}
        if any(m.size not in known_fields for m in missing):
            return None
        return replace(arrays, backward=tuple(final), backward_sizes=sizes)

    def _respelled(self, instruction: Instruction) -> Instruction:
        if isinstance(instruction, (Assign, InPlace)):
            return mapped(instruction, self._spelling)
        return instruction

    def _spelling(self, value: Array) -> Array:
        return transform(respelled(value, self.known), lambda array: as_product(array, self.known))

    def _axes(self, gradient: str) -> tuple[Expr, ...]:
        parameter = self.gradients[gradient]
        return next(i.axes for i in self.arrays.inputs if i.name == parameter)

    def _roomy(self, code: Sequence[Instruction], rank: int, *, merged: bool) -> list[str] | None:
        """Return the gradients that get an array before they are computed; None where others need batch axes."""
        first: dict[str, Instruction] = {}
        for instruction in code:
            for name in written(instruction):
                first.setdefault(name, instruction)
        found = []
        for name in self.gradients:
            start = first.get(name)
            fits = (
                isinstance(start, Assign)
                and name not in dict(self.arrays.views)
                and is_large(start.value, rank)
                and (ufunc(start.value) is not None or _is_copy(start.value))
                and len(start.value.axes) == len(self._axes(name))
                and tuple(_plain_size(a) for a in start.value.axes) == self._axes(name)
            )
            if fits:
                found.append(name)
            elif merged and BATCH_SIZE in self._axes(name):
                return None
        return found

    def _emitted(
        self, code: Sequence[Instruction], row: Index | None, rank: int, roomy: Sequence[str], flat: dict[str, str]
    ) -> list[Instruction] | None:
        """Return the code of the goes one after the other."""
        whole_names: set[str] = set()
        while True:
            plan = goes(code, row, whole_names) if row is not None else [Go(tuple(code), ())]
            in_blocks = [bool(go.rows) and self.worth(go.rows) for go in plan]
            home = {
                name: number
                for number, go in enumerate(plan)
                for instruction in (go.rows if in_blocks[number] else ())
                for name in written(instruction)
            }
            crossing, homeless = self._crossing(plan, home, roomy)
            if not homeless:
                break
            whole_names |= homeless
        order = [i for go in plan for i in (*go.before, *go.rows)]
        last, made = self._uses(order)
        over = {i.name: overwritten(i.value) for i in reversed(order) if isinstance(i, Assign) and i.name in roomy}
        over |= {i.name: overwritten(i.value) for i in order if isinstance(i, Assign) and i.name in crossing}
        several = _changed(order)
        whole_results = {n: _sizes_of(self, n) for n in roomy if n not in home}
        pinned = frozenset({*several, *self.gradients, *crossing})
        whole = Storage(rank, whole_results, last, made, over, pinned, lambda axes: None)
        result: list[Instruction] = [
            Assign(name, Empty(tuple(a for a in axes if a is not None), Dtype.REAL)) for name, axes in crossing.items()
        ]
        place = 0
        for number, go in enumerate(plan):
            numbered = list(enumerate(go.before, place))
            place += len(go.before)
            result += whole.run(numbered)
            numbered = list(enumerate(go.rows, place))
            place += len(go.rows)
            if not in_blocks[number]:
                result += whole.run(numbered)
                continue
            assert row is not None
            roomed = {n: _sizes_of(self, n) for n in roomy if home.get(n) == number}
            roomed |= {n: tuple(_size(a) for a in axes) for n, axes in crossing.items() if home[n] == number}
            loop = self._blocks(numbered, row, rank, roomed, last, made, over, pinned, whole.arrays)
            if loop is None:
                return None
            result += loop
        return [_renamed(i, flat) for i in result] if flat else result

    def _uses(self, order: Sequence[Instruction]) -> tuple[dict[str, int], dict[str, int]]:
        """Return where each name is read last, and where each gradient is first computed."""
        last: dict[str, int] = {}
        made: dict[str, int] = {}
        for k, instruction in enumerate(order):
            for value in values(instruction):
                last |= dict.fromkeys(names_in(value), k)
            if isinstance(instruction, InPlace):
                last[instruction.name] = k
            for name in written(instruction):
                made.setdefault(name, k)
        return last | dict.fromkeys(self.gradients, len(order)), made

    def _crossing(
        self, plan: Sequence[Go], home: dict[str, int], roomy: Collection[str]
    ) -> tuple[dict[str, tuple[Axis, ...]], set[str]]:
        """Return what is computed in blocks and read elsewhere, with its axes, and what has no array for that.

        Sums over the rows are whole anyway; a gradient has its own array.
        """
        needed = set(self.gradients)
        for number, go in enumerate(plan):
            inside = {n for i in go.rows for v in values(i) for n in names_in(v)}
            needed |= {n for n in inside if home.get(n, number) != number}
            needed |= {n for i in go.before for v in values(i) for n in names_in(v)}
        found: dict[str, tuple[Axis, ...]] = {}
        homeless: set[str] = set()
        for go in plan:
            for instruction in go.rows:
                if not isinstance(instruction, Assign) or instruction.name not in needed & home.keys():
                    continue
                name, value = instruction.name, instruction.value
                if not value.axes or not _is_local_value(instruction, value.axes[0]) or name in roomy:
                    continue
                plain = not {None, ROWS}.intersection(value.axes) and ufunc(value) is not None and is_large(value, 2)
                if plain and name not in self.gradients:
                    found[name] = value.axes
                else:
                    homeless.add(name)
        return found, homeless

    def _blocks(
        self,
        numbered: Sequence[tuple[int, Instruction]],
        row: Index,
        rank: int,
        roomed: dict[str, tuple[object, ...]],
        last: dict[str, int],
        made: dict[str, int],
        over: dict[str, frozenset[str]],
        pinned: frozenset[str],
        arrays: dict[str, str],
    ) -> list[Instruction] | None:
        """Return one go over the rows in blocks."""
        letters = {k: role(i, row) for k, i in numbered}
        inside = {n for _, i in numbered for n in written(i)}
        of = _widest(numbered, letters, inside, [c.name for c in self.arrays.cotangents])
        if of is None:
            return None
        of = replace(of, name=arrays.get(of.name, of.name))
        spare: list[str] = []

        def new(axes: tuple[Axis, ...]) -> str | None:
            if tuple(map(_size, axes)) != tuple(map(_size, of.axes)):
                return None
            spare.append(self.fresh("scratch"))
            return spare[-1]

        storage = Storage(rank, roomed, last, made, over, pinned, new, dict(arrays))
        placed = storage.run(numbered)
        local = {i.name for i in placed if isinstance(i, Assign) and i.name not in roomed} | set(spare)
        parts: dict[str, tuple[str, Array]] = {}
        body: list[Instruction] = []
        before: list[Instruction] = []
        constants: dict[Array, str] = {}
        written_here = {n for _, i in numbered for n in written(i)}

        def part(name: str, axes: tuple[Axis, ...]) -> str:
            if name not in parts:
                parts[name] = (self.fresh(f"{name}_rows"), Name(axes, Dtype.REAL, name=name))
            return parts[name][0]

        def in_parts(letter: Index, value: Array) -> Array:
            def change(array: Array) -> Array:
                if isinstance(array, Name) and array.axes[:1] == (letter,) and array.name not in local:
                    return replace(array, name=part(array.name, array.axes))
                return array

            return transform(value, change)

        for (k, original), instruction in zip(numbered, placed, strict=True):
            kind, letter = letters[k]
            assert isinstance(original, Assign)

            moved = mapped(instruction, partial(in_parts, letter))
            inner = written_here | local | {n for n, _ in parts.values()}
            outside = partial(self._constants, inner, before, constants, top=isinstance(moved, (Assign, Into)))
            moved = mapped(moved, outside)
            if kind is Role.SUM:
                assert isinstance(moved, Assign)
                axes = tuple(a for a in moved.value.axes if a is not None)
                before.append(Assign(moved.name, Fill(axes, Dtype.REAL, value=S.Zero)))
                moved = InPlace(moved.name, "+", moved.value)
            elif isinstance(moved, (Into, InPlace)) and moved.name not in local:
                moved = replace(moved, name=part(moved.name, original.value.axes))
            elif isinstance(moved, Assign) and original.name in roomed:
                moved = Into(part(original.name, original.value.axes), moved.value)
            body.append(moved)
        like = next((c.name for c in self.arrays.cotangents), of.name if isinstance(of, Name) else "")
        return [*before, Blocks("rows", of, like, tuple(spare), tuple(parts.values()), tuple(body))]

    def _constants(
        self, inner: Collection[str], before: list[Instruction], known: dict[Array, str], value: Array, *, top: bool
    ) -> Array:
        """Return a value with what no row changes under a name, computed ``before`` the loop."""
        if isinstance(value, (Binary, Apply)) and value.indices and not names_in(value) & set(inner) and not top:
            if value not in known:
                known[value] = descriptive_name(value, self.taken)
                before.append(Assign(known[value], value))
            return Name(value.axes, value.dtype, name=known[value])
        args = tuple(self._constants(inner, before, known, a, top=False) for a in value.args)
        return replace(value, args=args) if args != value.args else value


def _widest(
    numbered: Sequence[tuple[int, Instruction]],
    letters: dict[int, tuple[Role, Index]],
    inside: set[str],
    cotangents: Collection[str],
) -> Name | None:
    """Return an array of the size that most operations have, of those that are read by rows and are there before."""
    votes: Counter[object] = Counter()
    found: dict[str, Name] = {}
    for k, instruction in numbered:
        for value in values(instruction):
            votes[tuple(map(_size, value.axes))] += 1
            for node in walk(value):
                if isinstance(node, Name) and node.axes[:1] == (letters[k][1],) and node.name not in inside:
                    found.setdefault(node.name, node)

    def rank(name: Name) -> tuple[bool, int, int, bool]:
        plain = None not in name.axes
        return plain, votes[tuple(map(_size, name.axes))], len(name.indices), name.name in cotangents

    return max(found.values(), key=rank, default=None)


def _renamed(instruction: Instruction, names: dict[str, str]) -> Instruction:
    def change(array: Array) -> Array:
        return replace(array, name=names.get(array.name, array.name)) if isinstance(array, Name) else array

    if isinstance(instruction, Blocks):
        body = tuple(_renamed(i, names) for i in instruction.body)
        parts = tuple((name, transform(array, change)) for name, array in instruction.parts)
        return replace(instruction, of=transform(instruction.of, change), parts=parts, body=body)
    if isinstance(instruction, Into):
        return Into(names.get(instruction.name, instruction.name), transform(instruction.value, change))
    changed = mapped(instruction, lambda value: transform(value, change))
    if isinstance(changed, InPlace):
        return replace(changed, name=names.get(changed.name, changed.name))
    return changed


def shaped_in(instruction: Instruction, arrays: dict[str, tuple[Axis, ...]]) -> Instruction:
    """Return the instruction with new arrays shaped like one that is at hand."""
    plain = {name: axes for name, axes in arrays.items() if BATCH not in axes}
    return instruction if isinstance(instruction, (Blocks, Into, Room)) else shaped(instruction, plain)


def _changed(order: Sequence[Instruction]) -> set[str]:
    """Return the names that something else than an assignment gives a value or changes, and what several write."""
    seen: dict[str, int] = {}
    found: set[str] = set()
    for instruction in order:
        for name in written(instruction):
            seen[name] = seen.get(name, 0) + 1
            if not isinstance(instruction, (Assign, InPlace)) or seen[name] > 1:
                found.add(name)
    return found


def _is_local_value(instruction: Assign, lead: Axis) -> bool:
    return lead is not None and role(instruction, lead)[0] is Role.LOCAL


def _sizes_of(tuning: _Tuning, gradient: str) -> tuple[object, ...]:
    return tuple(ROWS.size if s == BATCH_SIZE else s for s in tuning._axes(gradient))


def _is_copy(value: Array) -> bool:
    return isinstance(value, Copy) and isinstance(value.args[0], Name)


def _plain_size(axis: Axis) -> Expr | None:
    return None if axis is None else axis.size


_size = _plain_size


def _letter(size: Expr) -> Index:
    return BATCH if size == BATCH_SIZE else Index("i", size)
