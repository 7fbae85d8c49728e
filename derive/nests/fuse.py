"""Pieces in common loops, outermost loop first.

    s[n] = 0                    for n:
    s[n] += x[n, d]*y[n, d]         s = 0
    z[n, d] = x[n, d] - s[n]        for d: s += x[n, d]*y[n, d]
                                    for d: z[n, d] = x[n, d] - s

Pieces are taken in order. One joins a loop if whatever it shares with the
pieces there, and one of them writes, is indexed by the loop's letter in the
same place: then iteration n needs nothing of other iterations. A piece that
joins none gets a loop of its own, as early as what it reads allows, so that
zeros come before the loop that adds to them. Inside a loop the same is done
with the letters that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sympy import Expr

from derive.algebra.nodes import Index
from derive.nests.pieces import Letters, Piece, Temporary

__all__ = ["Leaf", "Nest", "Tree", "fused"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A piece whose loops are all around it."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class Nest:
    """A loop; ``step`` is not 0 where its iterations have to be taken in order."""

    index: Index
    children: tuple[Tree, ...]
    step: int = 0


Tree = Leaf | Nest


@dataclass(slots=True)
class _Item:
    piece: Piece
    rest: Letters


@dataclass(slots=True)
class _Group:
    index: Index | None
    items: list[_Item] = field(default_factory=list)
    step: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class _Access:
    """``name[subscripts]`` in a piece; ``op`` is empty for a read."""

    subscripts: tuple[Expr, ...]
    op: str


def fused(pieces: Sequence[Piece], tensors: dict[str, Temporary]) -> tuple[Tree, ...]:
    """Return the pieces as nests of loops, in an order of computation."""
    return _Fusion(tensors).level([_Item(p, p.loops) for p in pieces], ())


@dataclass(slots=True)
class _Fusion:
    tensors: dict[str, Temporary]

    def level(self, items: Sequence[_Item], around: tuple[Index, ...]) -> tuple[Tree, ...]:
        """Return the loops that the items need, and what is in them."""
        groups: list[_Group] = []
        place = 0
        while place < len(items):
            item = items[place]
            number = item.piece.group
            if number and item.piece.loops[0] not in around:
                together = [i for i in items[place:] if i.piece.group == number]
                self._recurrence(groups, together, around)
                place += len(together)
                continue
            place += 1
            if place < len(items) and _is_start(item.piece, items[place].piece):
                self._put_both(groups, item, items[place], around)
                place += 1
                continue
            self._put(groups, item, around)
        if around:
            self._sink(groups, around)
        result: list[Tree] = []
        for group in groups:
            if group.index is None:
                result += [Leaf(i.piece) for i in group.items]
            else:
                result.append(Nest(group.index, self.level(group.items, (*around, group.index)), group.step))
        return tuple(result)

    def _sink(self, groups: list[_Group], around: tuple[Index, ...]) -> None:
        """Move column sums, which nobody around waits for, to the last loop that reads the same: the work is spread."""
        for place, group in enumerate(groups[:-1]):
            index = group.index
            if index is None or group.step:
                continue
            for item in list(group.items):
                piece = item.piece
                if item.rest or piece.op != "+=" or piece.product is not None or index not in piece.subscripts:
                    continue
                if any(name in around for name in piece.subscripts) or len(group.items) == 1:
                    continue
                others = [g for g in groups[place:] if any(i is not item for i in g.items)]
                if any(
                    self._shared(piece, i.piece, around) for g in others for i in g.items if i is not item
                ):
                    continue
                for later in reversed(groups[place + 1 :]):
                    if later.index is None or later.index.size != index.size or later.step:
                        continue
                    moved = piece.renamed(index, later.index)
                    reads = {e.name for e in moved.reads}
                    own = {e.name for i in later.items for e in i.piece.reads}
                    if reads <= own and not any(i.rest for i in later.items):
                        group.items.remove(item)
                        later.items.append(_Item(moved, ()))
                        break

    def _recurrence(self, groups: list[_Group], items: list[_Item], around: tuple[Index, ...]) -> None:
        """Put all pieces of a recurrence into a loop of their own."""
        low = max((k for k, g in enumerate(groups) for i in items if self._depends(i.piece, g, around)), default=-1)
        first = items[0]
        index = first.rest[0]
        assert all(i.rest[0] == index for i in items), "nests: a recurrence with two letters"
        outer = self._outside(items, index)
        if outer is not None:
            apart = [_Item(i.piece, tuple(k for k in i.rest if k != outer)) for i in items]
            groups.insert(low + 1, _Group(outer, apart))
            return
        group = _Group(index, [_Item(i.piece, i.rest[1:]) for i in items], first.piece.step, first.piece.group)
        groups.insert(low + 1, group)

    def _outside(self, items: Sequence[_Item], step: Index) -> Index | None:
        """Return a letter of which the recurrence reads one value at a time, and that comes before its own in memory.

        ``y[b, t] = y[b, t - 1] + x[b, t]`` is computed row by row.
        """
        written = {i.piece.name for i in items}
        for letter in items[0].rest[1:]:
            if not all(letter in i.rest for i in items):
                continue
            fine = True
            for item in items:
                for name, accesses in _accesses(item.piece).items():
                    for access in accesses if name in written else ():
                        places = [k for k, s in enumerate(access.subscripts) if s == letter]
                        steps = [k for k, s in enumerate(access.subscripts) if step in s.free_symbols]
                        fine = fine and bool(places) and places[0] == 0 and (not steps or places[0] < steps[0])
            if fine:
                return letter
        return None

    def _put_both(self, groups: list[_Group], start: _Item, item: _Item, around: tuple[Index, ...]) -> None:
        """Put an accumulation, and right before it what it starts from: in the same loop where that is no sum's."""
        group = self._put(groups, item, around, self._lowest(groups, start, around))
        place = groups.index(group)
        index = group.index
        if index is None or not any(s == index for s in group.items[-1].piece.subscripts):
            before = groups[:place]
            self._put(before, start, around)
            groups[:place] = before
            return
        update = group.items[-1].piece
        axis = next(k for k, s in enumerate(update.subscripts) if s == index)
        letter = start.piece.subscripts[axis]
        assert isinstance(letter, Index)
        piece = start.piece.renamed(letter, index)
        group.items.insert(-1, _Item(piece, tuple(i for i in start.rest if i != letter)))

    def _lowest(self, groups: Sequence[_Group], item: _Item, around: tuple[Index, ...]) -> int:
        return max((k for k, g in enumerate(groups) if self._depends(item.piece, g, around)), default=-1)

    def _put(self, groups: list[_Group], item: _Item, around: tuple[Index, ...], least: int = -1) -> _Group:
        """Put a piece into a loop, or into one of its own; return the group."""
        low = max(least, self._lowest(groups, item, around))
        if not item.rest:
            group = _Group(None, [item])
            groups.insert(low + 1, group)
            return group
        for place in range(max(low, 0), len(groups)):
            group = groups[place]
            if group.index is None:
                continue
            for position, letter in enumerate(item.rest):
                if position and position == len(item.rest) - 1:
                    break
                if letter.size != group.index.size or self._clashes(item, letter, group.index):
                    continue
                piece = item.piece.renamed(letter, group.index)
                if not self._joins(piece, group, around) or not (place == low or self._near(piece, group)):
                    continue
                rest = tuple(i for i in item.rest if i != letter)
                group.items.append(_Item(piece, rest))
                return group
        group = _Group(item.rest[0], [_Item(item.piece, item.rest[1:])])
        groups.insert(low + 1, group)
        return group

    def _clashes(self, item: _Item, letter: Index, index: Index) -> bool:
        """Return whether the piece has the loop's letter for something else."""
        return letter != index and index in item.piece.loops

    def _shared(self, a: Piece, b: Piece, around: tuple[Index, ...]) -> list[tuple[_Access, _Access]]:
        """Return the pairs of accesses to the same tensor of which at least one writes."""
        result: list[tuple[_Access, _Access]] = []
        accesses = _accesses(a)
        for name, theirs in _accesses(b).items():
            for one in accesses.get(name, ()):
                for other in theirs:
                    earlier = self._earlier(name, one, around) or self._earlier(name, other, around)
                    if (one.op or other.op) and not earlier:
                        result.append((one, other))
        return result

    def _earlier(self, name: str, access: _Access, around: tuple[Index, ...]) -> bool:
        """Return whether an access is to an earlier step of a recurrence that is being computed."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.carry is None or access.op:
            return False
        place = access.subscripts[tensor.indices.index(tensor.carry.index)]
        return any(place == index - tensor.carry.step for index in around)

    def _depends(self, piece: Piece, group: _Group, around: tuple[Index, ...]) -> bool:
        return any(self._shared(piece, item.piece, around) for item in group.items)

    def _joins(self, piece: Piece, group: _Group, around: tuple[Index, ...]) -> bool:
        """Return whether an iteration of the group's loop needs nothing of the others with the piece in it."""
        index = group.index
        inside = (*around, index) if index is not None else around
        for item in group.items:
            for one, other in self._shared(piece, item.piece, inside if group.step else around):
                if one.op == other.op and one.op in ("+=", "max", "min"):
                    continue
                if not any(a == index and b == index for a, b in zip(one.subscripts, other.subscripts, strict=True)):
                    return False
        return True

    def _near(self, piece: Piece, group: _Group) -> bool:
        """Return whether the piece reads what is read in the loop, or is as simple as what is there."""
        own = _accesses(piece)
        for item in group.items:
            theirs = _accesses(item.piece)
            if not item.piece.reads and not piece.reads and len(item.rest) == len(piece.loops) - 1:
                return True
            for name in own.keys() & theirs.keys():
                for one in own[name]:
                    for other in theirs[name]:
                        if any(a == group.index == b for a, b in zip(one.subscripts, other.subscripts, strict=True)):
                            return True
        return False


def _is_start(piece: Piece, following: Piece) -> bool:
    """Return whether a piece only sets what the following one accumulates to."""
    return (
        piece.name == following.name
        and piece.op == "="
        and following.op in ("+=", "max", "min")
        and piece.product is None
        and not piece.reads
        and all(isinstance(s, Index) for s in piece.subscripts)
        and piece.group == following.group
    )


def _accesses(piece: Piece) -> dict[str, list[_Access]]:
    """Return every access of a piece, by tensor."""
    found: dict[str, list[_Access]] = {}
    for element in piece.reads:
        found.setdefault(element.name, []).append(_Access(element.subscripts, ""))
    found.setdefault(piece.name, []).append(_Access(piece.subscripts, piece.op))
    return found
