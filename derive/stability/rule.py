"""What a rewrite rule is: a small named function on one node, whose docstring is its identity.

The first line of the docstring is the identity in the layer language, the
paragraph after ``Why:`` is what goes wrong without it, that after ``Holds:``
its domain. ``--steps`` prints them, and a test parses both sides of every
identity and compares them at random points, so they cannot go stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from sympy import Expr

__all__ = ["Phase", "Rewrite", "Rule", "rule"]

Rewrite = Callable[[Expr], Expr | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewriting of one node.

    Attributes:
        name: the function's name: what it matches or does.
        heads: classes of the nodes it looks at.
        apply: the function: the new node, or None where the rule doesn't apply.
        identity: ``left = right`` in the layer language.
        why: what goes wrong without it, one sentence without a full stop.
        holds: where the identity holds.
    """

    name: str
    heads: tuple[type[Expr], ...]
    apply: Rewrite
    identity: str
    why: str
    holds: str


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """Rules that are applied together until none fires; each lowers the phase's measure.

    Attributes:
        name: what the phase does.
        rules: in the order in which they are tried on a node.
        needs: classes of nodes without which no rule of the phase can fire.
    """

    name: str
    rules: tuple[Rule, ...]
    needs: tuple[type[Expr], ...]
    _at: dict[type[Expr], tuple[Rule, ...]] = field(default_factory=dict, repr=False)

    def at(self, head: type[Expr]) -> tuple[Rule, ...]:
        """Return the rules that look at nodes of the class ``head``, in order."""
        if head not in self._at:
            self._at[head] = tuple(r for r in self.rules if issubclass(head, r.heads))
        return self._at[head]


def rule(*heads: type[Expr]) -> Callable[[Rewrite], Rule]:
    """Make a rule of a function on nodes of the classes ``heads``; the docstring is read as said above."""

    def make(function: Rewrite) -> Rule:
        text = inspect.getdoc(function) or ""
        identity, _, rest = text.partition("\n")
        why, holds = _paragraph("Why", rest), _paragraph("Holds", rest)
        assert " = " in identity and why and holds, function.__name__
        return Rule(function.__name__, heads, function, identity.strip(), why, holds)

    return make


def _paragraph(word: str, text: str) -> str:
    """The text after ``word:`` up to the next such word, on one line, without the full stop."""
    found = re.search(rf"^{word}:(.*?)(?=^\w+:|\Z)", text, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()).rstrip(".") if found else ""
