"""The shape in which a user's code wants a tensor: ``w=O,I`` a transpose, ``wx=I,4*H`` two axes in one.

layout = Layout.parse("gamma=1,D", axes)
layout.given(array, instance)      # [D] to [1, D]
layout.taken(gradient, instance)   # and back
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from sympy import Expr

from derive.algebra.nodes import BATCH_SIZE
from derive.algebra.text import show
from derive.check.instance import Instance
from derive.diagnosis.dense import Values
from derive.errors import DeriveError

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor's axes lie in the user's array.

    Attributes:
        text: as it was given.
        axes: the tensor's own.
        groups: for every axis of the user's array the places of the axes that it holds, none for a length of 1.
    """

    text: str
    axes: tuple[Expr, ...]
    groups: tuple[tuple[int, ...], ...]

    @staticmethod
    def parse(text: str, axes: Sequence[Expr]) -> Layout:
        """Return the layout that ``O,I`` or ``I,4*H`` or ``1,D`` says.

        Raises:
            DeriveError: it does not name every axis once.
        """
        left = {place: show(axis) for place, axis in enumerate(axes)}
        groups: list[tuple[int, ...]] = []
        for word in (w.strip() for w in text.split(",")):
            group = []
            for atom in (a.strip() for a in word.split("*")):
                place = next((p for p, name in left.items() if name == atom), None)
                if place is not None:
                    del left[place]
                    group.append(place)
                elif atom != "1":
                    raise DeriveError(
                        f"no axis {atom!r} is left for the shape {text!r}",
                        hint=f"the tensor's axes are {', '.join(map(show, axes))}; each is named once, 4*H joins two",
                    )
            groups.append(tuple(group))
        if left:
            raise DeriveError(
                f"the shape {text!r} leaves out the axis {', '.join(left.values())}",
                hint=f"the tensor's axes are {', '.join(map(show, axes))}; each is named once, 4*H joins two",
            )
        return Layout(text, tuple(axes), tuple(groups))

    def given(self, array: Values, instance: Instance) -> Values:
        """Return the tensor, its batch axes in one, as the user's code wants it."""
        order = [place for group in self.groups for place in group]
        return np.ascontiguousarray(array.transpose(order)).reshape(self.shape(instance))

    def shape(self, instance: Instance) -> tuple[int, ...]:
        """Return the shape of the user's array."""
        lengths: list[int] = []
        for group in self.groups:
            if len(group) == 1 and self.axes[group[0]] == BATCH_SIZE:
                lengths += instance.batch
            else:
                lengths.append(prod(instance.extent(self.axes[p]) for p in group))
        return tuple(lengths)

    def taken(self, array: Values, instance: Instance) -> Values:
        """Return a gradient of the user's shape with the tensor's own axes, the batch's in one."""
        order = [place for group in self.groups for place in group]
        spread = array.reshape([instance.extent(self.axes[p]) for p in order])
        return spread.transpose([order.index(p) for p in range(len(order))])
