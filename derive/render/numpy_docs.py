"""Docstrings of generated code: formulas, shapes, and text that anyone may have written."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence

from sympy import Add, Expr, Mul

from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.algebra.text import show

__all__ = ["axes_text", "docstring", "formulas", "memory", "shapes", "split_source", "wrapped"]

_WIDTH = 110
_FIXED = "\N{NO-BREAK SPACE}"
_ALTERNATIVES = 3  # more numbers of elements than these are written as one that none exceeds


def docstring(lines: Sequence[str], indent: str) -> str:
    """Return a docstring, quotes included, that reads back as ``lines`` whatever they hold."""
    lines = [line.expandtabs(4).rstrip() for line in lines]
    lines = [*lines[:1], *textwrap.dedent("\n".join(lines[1:])).splitlines()]
    safe = [_escaped(line) for line in lines]
    while safe and not safe[-1]:
        safe.pop()
    if safe and safe[0].startswith('"'):
        safe[0] = "\\" + safe[0]
    if len(safe) == 1:
        text = safe[0]
        if text.endswith('"') and not text.endswith('\\"'):
            text = text[:-1] + '\\"'
        return f'{indent}"""{text}"""'
    body = "\n".join([safe[0], *((indent + line) if line else "" for line in safe[1:])])
    return f'{indent}"""{body}\n{indent}"""'


def _escaped(line: str) -> str:
    """Return text as it stands in a triple-quoted string."""
    line = line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def formulas(equations: Iterable[str], indent: str = "    ") -> list[str]:
    """Return ``left = right`` lines with the equals signs in one column, long ones broken at a sum or product."""
    pairs = [tuple(e.split(" = ", 1)) for e in equations]
    width = max((len(left) for left, _ in pairs if "[" in left or ", " not in left), default=0)  # no call's names
    result = []
    for left, right in pairs:
        first = f"{indent}{left.ljust(width)} = "
        room = max(_WIDTH - len(first), 40)
        parts = _wrapped(right, room)
        result.append(first + parts[0])
        result += [" " * len(first) + part for part in parts[1:]]
    return result


# How much deeper a bracket leads, and the words before which a formula may be broken, with what they count more.
_DEPTHS = {"(": 1, ")": -1, "[": 8, "]": -8}
_BREAKS = {"+": 0, "-": 0, "and": 0, "or": 0} | dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 2)


def _wrapped(text: str, room: int) -> list[str]:
    """Break a formula before `` + ``, `` - ``, `` == `` and ``/``, after ``;`` and ``*``, outermost places first.

    A subscript is broken last of all.
    """
    if len(text) <= room:
        return [text]
    depth = 0
    places: list[tuple[int, int]] = []
    for k, character in enumerate(text):
        depth += _DEPTHS.get(character, 0)
        word = text[k + 1 :].split(" ", 1)[0] if k and character == " " else ""
        if word in _BREAKS:
            places.append((depth + _BREAKS[word], k))
        elif character == ";":
            places.append((depth - 1, k + 1))
        elif character == "/" and text[k - 1] in ")]" and text[k + 1 : k + 2].isalpha():
            places.append((depth, k))
        elif character == "*" and text[k - 1] != "*" and text[k + 1 : k + 2] not in ("*", ""):
            places.append((depth, k + 1))
        elif character == "," and text[k + 1 : k + 2] == " ":
            places.append((depth + 1, k + 1))
    fitting = [(d, k) for d, k in places if 12 <= k <= room]
    if not fitting:
        return [text]
    least = min(d for d, _ in fitting)
    cut = max(k for d, k in fitting if d == least)
    return [text[:cut].rstrip(), *_wrapped(text[cut:].lstrip(), room)]


def wrapped(line: str) -> list[str]:
    """Break a line of text that is too long for a docstring; its further lines keep its indentation."""
    indent = line[: len(line) - len(line.lstrip())]
    if len(line) <= _WIDTH:
        return [line.replace(_FIXED, " ")]
    lines = textwrap.wrap(line, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_FIXED, " ") for line in lines]


def axes_text(axes: Sequence[Expr]) -> str:
    """Return ``[..., D]``, or ``scalar``."""
    if not axes:
        return "scalar"
    return f"[{', '.join('...' if a == BATCH_SIZE else show(a) for a in axes)}]"


_WORDS = {Kind.INT: " integers", Kind.BOOL: " booleans", Kind.POSITIVE: " above 0", Kind.UNIT: " between 0 and 1"}


def memory(forward: Sequence[Expr], backward: Sequence[Expr], text: Callable[[Expr], str]) -> str:
    """Return a sentence about the largest numbers of elements that the functions hold; ``text`` prints a product."""

    def amount(sizes: Sequence[Expr]) -> str:
        few = sizes if len(sizes) <= _ALTERNATIVES else [_bound(sizes)]
        texts = [_sum(size, text) for size in few if size != 0]
        if not texts:
            return "nothing"
        if len(texts) == 1:
            return texts[0]
        return f"the larg{'er' if len(texts) == 2 else 'est'} of {', '.join(texts[:-1])} and {texts[-1]}"

    first, second = amount(forward), amount(backward)
    if any(size != 0 for size in forward):
        held = f"forward holds up to about {first} elements, backward {second}"
    else:
        held = f"forward holds nothing, backward up to about {second} elements"
    return f"Memory beside arguments, results and cache: {held}."


def _bound(sizes: Sequence[Expr]) -> Expr:
    """Return one sum that is at least as large as each of many: every product as often as the one that has most."""
    most: dict[Expr, Expr] = {}
    for size in sizes:
        for term in Add.make_args(size):
            number, product = term.as_coeff_Mul()
            most[product] = max(most.get(product, number), number)
    return Add(*(number * product for product, number in most.items()))


def _sum(size: Expr, text: Callable[[Expr], str]) -> str:
    """Return the text of a sum, the longest products first; no product is broken over lines."""
    terms = sorted(Add.make_args(size), key=lambda t: (-len(Mul.make_args(t.as_coeff_Mul()[1])), text(t)))
    return " + ".join(text(term).replace(" * ", "*").replace(" ", _FIXED) for term in terms)


def shapes(tensors: Iterable[tuple[str, Sequence[Expr], Kind]]) -> list[str]:
    """Return ``x, y: [..., D]; gamma, beta: [D]``, in lines."""
    groups: dict[str, list[str]] = {}
    for name, axes, kind in tensors:
        word = _WORDS.get(kind, "")
        groups.setdefault(axes_text(axes) + word, []).append(name)
    text = "; ".join(f"{', '.join(names)}: {shape}" for shape, names in groups.items())
    return textwrap.wrap(text + ".", 88, break_long_words=False, break_on_hyphens=False)


def split_source(doc: str) -> tuple[list[str], list[str]]:
    """Split a layer's docstring into its text and the paragraph that gives the source."""
    paragraphs = doc.strip().split("\n\n")
    if len(paragraphs) > 1 and paragraphs[-1].lstrip().lower().startswith("source"):
        return "\n\n".join(paragraphs[:-1]).splitlines(), paragraphs[-1].splitlines()
    return doc.strip().splitlines(), []
