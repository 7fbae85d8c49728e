"""What sizes and hyper-parameters have to fulfil, verified before anything is computed with them.

    _at_least_one(stride=stride)
    P = (H + 2 * pad - R) // stride + 1
    _at_least_one(P=P)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sympy import Expr

from derive.language.layer import Condition
from derive.lower.arrays import SizeOf
from derive.render.numpy_numbers import ADD, NumberText, inside
from derive.render.numpy_text import call_lines

__all__ = ["at_least_one", "derived_lines"]


def at_least_one(lines: Iterable[str]) -> bool:
    """Return whether the helper of that name is called."""
    return any(line.startswith("_at_least_one(") for line in lines)


def _least_one(condition: Condition) -> Expr | None:
    """Return the symbol that has to be at least 1, where that is the condition."""
    symbol = condition.expr + 1
    return symbol if symbol.is_Symbol else None


def derived_lines(
    sizes: Sequence[SizeOf], conditions: Iterable[Condition], numbers: NumberText, rename: Callable[[str], str]
) -> list[str]:
    """Return the lines that compute sizes, with each condition before the first size that relies on it."""
    lines: list[str] = []
    derived = [s for s in sizes if s.value is not None]
    waiting = _by_name(conditions, derived)
    unknown = {s.size for s in derived}
    for size in derived:
        assert size.value is not None
        ready = [c for c in waiting if not c.expr.free_symbols & unknown]
        if any(c.expr.free_symbols & size.value.free_symbols for c in ready):
            lines += _verified(ready, numbers)
            waiting = [c for c in waiting if c not in ready]
        lines.append(f"{rename(size.size.name)} = {numbers.text(size.value)[0]}")
        unknown.remove(size.size)
    return lines + _verified(waiting, numbers)


def _by_name(conditions: Iterable[Condition], derived: Iterable[SizeOf]) -> list[Condition]:
    """Return the conditions, those of a computed size with its name instead of its formula."""
    formulas: dict[Expr, Expr] = {}
    for size in derived:
        value = size.value
        assert value is not None
        for other, formula in [(s, f) for f, s in formulas.items()]:
            value = value.xreplace({other: formula})
        formulas[value.expand()] = size.size
    found: list[Condition] = []
    for condition in conditions:
        name = None if _least_one(condition) is not None else formulas.get((condition.expr + 1).expand())
        found.append(condition if name is None else replace(condition, expr=name - 1))
    return found


def _verified(conditions: Iterable[Condition], numbers: NumberText) -> list[str]:
    lines: list[str] = []
    simple: list[str] = []
    for condition in conditions:
        symbol = _least_one(condition)
        if symbol is not None:
            simple.append(f"{symbol.name}={numbers.text(symbol)[0]}")
            continue
        least = re.search(r"is at least (\d+)$", condition.text)
        bound = int(least[1]) if least is not None else 0
        text = numbers.text((condition.expr + bound).expand())
        message = f"expected that {condition.text}".replace("{", "{{").replace("}", "}}")
        got = f", got {{{text[0]}}}" if least is not None else ""
        error = f'{"f" if got else ""}"{message if got else message.replace("{{", "{")}{got}"'
        raised = call_lines("raise ValueError", [error], 112)
        lines += [f"if {inside(text, ADD)} < {bound}:", *(f"    {line}" for line in raised)]
    return ([f"_at_least_one({', '.join(simple)})"] if simple else []) + lines
