"""The further functions of a NumPy module: ``jvp``, ``double_backward``, ``hvp``.

Each reads the cache of a call of forward and is written as backward is. What
is handed in per parameter may be None, which is zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from derive.algebra.nodes import Kind
from derive.lower.arrays import ArrayFunction, ArrayProgram, Dtypes
from derive.lower.passes import local_name
from derive.render.numpy_docs import axes_text, docstring, formulas, shapes, wrapped
from derive.render.numpy_lines import in_groups, tuple_lines, tuple_text
from derive.render.numpy_text import WIDTH, FunctionText, call_lines
from derive.render.numpy_views import FieldView, RecordView

__all__ = ["RESERVED", "further_function", "helpers", "records", "unpacked"]

RESERVED = frozenset(
    {
        "tangents",
        "vectors",
        "shapes",
        "directions",
        "gradients",
        "jvp",
        "hvp",
        "double_backward",
        "Tangents",
        "SecondGradients",
        "Products",
        "_optional",
        "_directions",
    }
)
"""Names that the text of these functions itself uses."""

_DIRECTION = {"jvp": "tangents", "hvp": "vectors"}
"""The functions that take a direction of the parameters, and what it is called there."""

_PAIRING = 55
"""Characters of a sum of products that leave room for the rest of a docstring's line."""


def helpers(functions: Sequence[ArrayFunction]) -> list[str]:
    """Return the templates of the small functions that these call."""
    directions = any(f.name in _DIRECTION for f in functions)
    return ["optional"] * bool(functions) + ["directions"] * directions


def records(arrays: ArrayProgram) -> tuple[RecordView, ...]:
    """Return the NamedTuples that these functions take and return."""
    found: dict[str, RecordView] = {}
    for function in arrays.functions:
        given = {like: axes_text(cotangent.axes) for cotangent, like in function.given}
        if function.name in _DIRECTION:
            fields = tuple(FieldView(_field(p), "np.ndarray | None = None", text) for p, text in given.items())
            doc = "A direction of the parameters; None is zero."
            found["Tangents"] = RecordView("Tangents", doc, fields)
        if function.name == "double_backward":
            doc = f"The gradient of {_pairing(arrays)} by each cotangent and each parameter."
            found["SecondGradients"] = RecordView("SecondGradients", doc, _results(function, given))
        if function.name == "hvp":
            doc = "The Hessian times a vector: the derivative of each gradient along it."
            found["Products"] = RecordView("Products", doc, _results(function, given))
    return tuple(found.values())


def _results(function: ArrayFunction, axes: Mapping[str, str]) -> tuple[FieldView, ...]:
    """Return a field for each result; it has the shape of what is handed in for the tensor it belongs to."""
    return tuple(FieldView(_field(local_name(name)), "np.ndarray", axes[of]) for of, name in function.results)


def further_function(
    arrays: ArrayProgram, function: ArrayFunction, text: FunctionText, dtype: str, size_lines: Callable[[], list[str]]
) -> tuple[tuple[str, ...], str, list[str]]:
    """Return the signature, the docstring and the body without the lines that unpack the cache.

    Args:
        arrays: the module.
        function: one of its further functions.
        text: prints the function's instructions.
        dtype: the text of the working precision.
        size_lines: gives the lines that name the sizes, once the instructions are printed.
    """
    statements = text.body(function.code)
    views = dict(function.views)
    values = [text.expression(views[n]) if n in views else text.rename(n) for _, n in function.results]
    names = [text.rename(given.name) for given, _ in function.given]
    shape = [text.shape(list(given.axes), given.like) for given, _ in function.given]
    if function.name in _DIRECTION:
        word = _DIRECTION[function.name]
        read = _words([*statements, *values])
        checks = _directions(word, [n if n in read else "_" for n in names], shape, dtype)
        arguments = [word, "cache"]
    else:
        checks = []
        for k, (given, _) in enumerate(function.given):
            check = "_optional" if k < len(arrays.gradients) else "_cotangent"
            checks.append(f'{names[k]} = {check}("{local_name(given.name)}", {names[k]}, {shape[k]}, {dtype})')
        arguments = [*names, "cache"]
    lines = call_lines(f"def {function.name}", arguments, WIDTH - 1)
    signature = (*lines[:-1], lines[-1] + ":")
    body = [*size_lines(), *checks, *statements, *_returned(arrays, function, values)]
    return signature, docstring(_doc(arrays, function), "    "), body


def _returned(arrays: ArrayProgram, function: ArrayFunction, values: Sequence[str]) -> list[str]:
    if function.name == "jvp":
        return [f"return {values[0]}"] if len(values) == 1 else call_lines("return ", values)
    record = {"double_backward": "SecondGradients", "hvp": "Products"}[function.name]
    if arrays.dtypes is not Dtypes.EACH:
        return call_lines(f"return {record}", values)
    own = len(values) - len(arrays.gradients)  # by the cotangents: of the working precision already
    lines = call_lines(f"return {record}", [*values[:own], f"*map(np.asarray, {tuple_text(values[own:])}, dtypes)"])
    if len(lines) == 1 or all(len(line) < 90 for line in lines):
        return lines
    lines = call_lines(f"return {record}", [*values[:own], "*map(np.asarray, gradients, dtypes)"])
    return [*tuple_lines("gradients", values[own:]), *lines]


def _directions(word: str, names: Sequence[str], shape: Sequence[str], dtype: str) -> list[str]:
    """Return the lines that check a direction of the parameters and name its parts."""
    target = tuple_text(names) if len(names) == 1 else ", ".join(names)
    lines = call_lines(f"{target} = _directions", [word, tuple_text(shape), dtype])
    if all(len(line) <= WIDTH - 4 for line in lines):
        return lines
    lines = [*tuple_lines("shapes", shape), *call_lines("directions = _directions", [word, "shapes", dtype])]
    return [*lines, *in_groups(names, "directions")]


def _doc(arrays: ArrayProgram, function: ArrayFunction) -> list[str]:
    parameters = ", ".join(_field(like) for _, like in function.given[: len(arrays.gradients)])
    results = ", ".join(local_name(name) for _, name in function.results)
    given = [(local_name(cotangent.name), cotangent.axes, Kind.REAL) for cotangent, _ in function.given]
    direction = f"Tangents({parameters}) or any sequence in this order, each of its parameter's shape; None is zero"
    direction += ", and a single one may stand by itself." if len(arrays.gradients) == 1 else "."
    formula = ["", *formulas(function.formulas), ""]
    if function.name == "jvp":
        outputs = ", ".join(name for name, _, _ in arrays.outputs)
        doc = wrapped(f"Return {results}: the derivative of {outputs} along the tangents.")
        return [*doc, *formula, *wrapped(f"tangents: {direction}"), "Raises ValueError for another shape."]
    if function.name == "hvp":
        doc = wrapped(f"Return Products({results}): the Hessian of {arrays.outputs[0][0]} times the vectors.")
        return [*doc, *formula, *wrapped(f"vectors: {direction}"), "Raises ValueError for another shape."]
    cotangents = ", ".join(name for name, _, _ in given[: len(arrays.gradients)])
    doc = [*wrapped(f"Return SecondGradients({results}), the gradient of {_pairing(arrays)}."), *formula]
    note = f"{cotangents}: what multiplies the gradients; None is zero."
    return [*doc, *shapes(given), *wrapped(note), "Raises ValueError for another shape."]


def _field(name: str) -> str:
    """Return the name of a field of a NamedTuple, which begins with no underscore."""
    return name.strip("_") + "_" if name.startswith("_") else name


def _words(lines: Sequence[str]) -> frozenset[str]:
    """Return the words of some code, those of its texts left out."""
    return frozenset(re.findall(r"\w+", re.sub(r'"[^"]*"', "", "\n".join(lines))))


def unpacked(fields: Sequence[str], body: Sequence[str]) -> list[str]:
    """Return the lines that give names to the fields of the cache that a body reads."""
    words = _words(body)
    used = [f for f in fields if f in words]
    if len(used) == len(fields) > 1:
        line = f"{', '.join(used)} = cache"
    else:
        line = f"{', '.join(used)} = {', '.join(f'cache.{f}' for f in used)}"
    if not used or len(line) <= WIDTH - 4:
        return [line] * bool(used)
    return [f"{f} = cache.{f}" for f in used]


def _pairing(arrays: ArrayProgram) -> str:
    """``sum(ddx*dx) + sum(ddw*dw)``, what a double backward differentiates; shortened where it is long."""
    gradients = [f"d{p}" for p, _ in arrays.gradients]
    terms = [f"sum(d{g}*{g})" for g in gradients]
    for shown in (terms if len(terms) <= 3 else [*terms[:2], "…"], [*terms[:2], "…"], [terms[0], "…"]):
        if len(text := " + ".join(shown)) <= _PAIRING:
            return text
    return "sum(ddx*dx) over the parameters x"
