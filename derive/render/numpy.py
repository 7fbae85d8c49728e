"""An array program as the text of a NumPy module that stands alone.

The template ``templates/numpy/module.py.jinja`` has the layout; every
expression comes from :mod:`derive.render.numpy_text` as a finished string.
"""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sympy import Integer

import derive
from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.language.layer import Condition
from derive.lower.arrays import (
    ArrayFunction,
    ArrayProgram,
    Blocks,
    CallBackward,
    CallForward,
    Dtype,
    Dtypes,
    Field,
    Function,
    Part,
    Purpose,
    Room,
    SizeOf,
)
from derive.lower.passes import local_name
from derive.render import numpy_passes as passes
from derive.render.numpy_calls import import_lines, local_modules
from derive.render.numpy_conditions import at_least_one, derived_lines
from derive.render.numpy_docs import axes_text, docstring, formulas, memory, shapes, split_source, wrapped
from derive.render.numpy_lines import in_groups, tuple_lines, tuple_text
from derive.render.numpy_numbers import NumberText
from derive.render.numpy_text import WIDTH, FunctionText, call_lines
from derive.render.numpy_views import FieldView, FunctionView, InputView, RecordView
from derive.render.templates import environment

__all__ = ["render"]

_KINDS = {Kind.REAL: "f", Kind.POSITIVE: "f", Kind.UNIT: "f", Kind.INT: "iu", Kind.BOOL: "b"}
# Names that the text of a function itself uses.
_RESERVED = frozenset(
    {
        "np",
        "math",
        "cache",
        "dtype",
        "dtypes",
        "batch",
        "rows",
        "batch_axes",
        "count",
        "special",
        "forward",
        "backward",
        "Cache",
        "Gradients",
        "NamedTuple",
        "sliding_window_view",
    }
)


_DTYPE_FIELDS = {
    Dtypes.ARRAY: (),
    Dtypes.ONE: (FieldView("dtype", "np.dtype", ""),),
    Dtypes.EACH: (FieldView("dtypes", "tuple[np.dtype, ...]", ""),),
}


@dataclass(frozen=True, slots=True)
class ModuleView:
    """What the template shows; ``helpers`` are the names of further templates."""

    doc: str
    header: tuple[str, ...]
    imports: tuple[str, ...]
    modules: tuple[str, ...]
    cache: tuple[FieldView, ...]
    gradients: tuple[FieldView, ...]
    gradients_doc: str
    records: tuple[RecordView, ...]
    forward: FunctionView
    backward: FunctionView
    functions: tuple[FunctionView, ...]
    helpers: tuple[str, ...]
    inputs: tuple[InputView, ...]
    kinds: str
    nonempty: tuple[tuple[str, str], ...]
    scalars: bool
    batch: bool
    literals: bool
    pairwise: bool


def render(arrays: ArrayProgram) -> str:
    """Return the text of the module."""
    text = environment("numpy").get_template("module.py.jinja").render(view=_view(arrays))
    return text.rstrip("\n") + "\n"


def _renamer(names: Iterable[str], used: frozenset[str]) -> Callable[[str], str]:
    """Return a function that gives every name of a function of the program a Python name of its own."""
    names = list(dict.fromkeys(names))
    mapping: dict[str, str] = {}
    taken = set(map(local_name, names))
    for name in names:
        own = local = local_name(name)
        if own in used or own in _RESERVED or keyword.iskeyword(own) or own.startswith("_"):
            local = own.strip("_") + "_"
            while local in taken:
                local += "_"
            taken.add(local)
        mapping[name] = local
    return lambda name: mapping.get(name, local_name(name))


def _all_names(arrays: ArrayProgram) -> list[str]:
    names = [i.name for i in arrays.inputs] + [h for h, _ in arrays.hypers]
    names += [str(s.size.name) for s in (*arrays.forward_sizes, *arrays.backward_sizes) if s.size != BATCH_SIZE]
    names += [c.name for c in arrays.cotangents] + [f.name for f in arrays.cache if f.value != BATCH_SIZE]
    further = [i for f in arrays.functions for i in f.code]
    names += [s.size.name for f in arrays.functions for s in f.sizes if s.size != BATCH_SIZE]
    names += [given.name for f in arrays.functions for given, _ in f.given]
    for instruction in (*arrays.forward, *arrays.backward, *further):
        names += _assigned(instruction)
    return names


def _assigned(instruction: object) -> list[str]:
    body = getattr(instruction, "body", None)
    if body is not None:
        counter = getattr(instruction, "counter", None)
        inside = [n for i in body for n in _assigned(i)]
        if isinstance(instruction, Blocks):
            inside += [instruction.rows, *instruction.scratch, *(name for name, _ in instruction.parts)]
        return [*([counter] if counter else []), *inside]
    if isinstance(instruction, CallForward):
        return [*filter(None, [*instruction.results, instruction.cache])]
    if isinstance(instruction, CallBackward):
        return [*filter(None, instruction.results)]
    return [instruction.name]  # type: ignore[attr-defined]


# Builtins that generated functions may call.
_CALLED = frozenset(
    ["tuple", "range", "map", "abs", "float", "min", "max", "round", "slice", "Ellipsis", "reversed", "int", "bool"],
)
_SCIPY = frozenset({"erf", "erfc", "expit", "log_expit", "gammaln", "digamma", "zeta", "xlogy", "polygamma"})
assert all(hasattr(builtins, name) for name in _CALLED)


def _view(arrays: ArrayProgram) -> ModuleView:
    helpers = {"_expect", "_cotangent", "_labels", "_norm", "_logsumexp", "_described", "_pad", "_at_least_one"}
    helpers |= {"out", "_into", "_arrays", "_room", "_blocks"}
    helpers |= passes.RESERVED if arrays.functions else set()
    everything = _all_names(arrays)
    fixed = {i.name for i in arrays.inputs} | {h for h, _ in arrays.hypers}
    modules = local_modules(arrays.modules, fixed | _RESERVED | _CALLED | _SCIPY | helpers)
    rename = _renamer(everything, frozenset(_CALLED | helpers | set(modules.values())))
    taken = {rename(n) for n in everything}
    reals = [rename(i.name) for i in arrays.inputs if i.kind.differentiable]
    forward_dtype = f"{reals[0]}.dtype" if len(reals) == 1 else "dtype"
    sizes = list(dict.fromkeys(str(axis) for i in arrays.inputs for axis in i.axes))
    sizes += [str(size) for size, _ in arrays.derived]
    backward_dtype = f"{rename(arrays.cotangents[0].name)}.dtype"
    special = _SCIPY.intersection(taken)
    first = FunctionText(
        rename, forward_dtype, set(taken), sizes, in_place=len(reals) == 1, special=special, modules=modules
    )
    second = FunctionText(rename, backward_dtype, set(taken), sizes, in_place=True, special=special, modules=modules)
    third = [_function_text(arrays, f, rename, set(taken), sizes, special) for f in arrays.functions]
    forward = _forward(arrays, first, reals)
    backward = _backward(arrays, second)
    functions = tuple(_further(arrays, f, text) for f, text in zip(arrays.functions, third, strict=True))
    texts = (first, second, *third)
    scipy = set().union(*(t.scipy for t in texts))
    used = set().union(*(t.helpers for t in texts))
    lines = [line for f in (forward, backward, *functions) for line in f.body]
    kinds = dict.fromkeys(i.kind for i in arrays.inputs)
    known = {axis for i in arrays.inputs for axis in i.axes}
    names = ["expect", "cotangent", *passes.helpers(arrays.functions)] + ["labels"] * bool(arrays.labels)
    names += ["into"] * takes_out(arrays)
    names += ["room"] * any(isinstance(i, Room) for i in arrays.backward)
    names += ["blocks"] * any(isinstance(i, Blocks) for i in arrays.backward)
    names += ["at_least_one"] * at_least_one(forward.body) + ["pad"] * (Function.PAD in used)
    names += ["norm"] * (Function.NORM in used) + ["logsumexp"] * (Function.LOGSUMEXP in used)
    return ModuleView(
        doc=docstring(_module_doc(arrays), ""),
        header=_header(arrays),
        imports=_imports(lines, scipy - special, bool(scipy & special)),
        modules=import_lines(modules),
        cache=tuple(_cache_field(f, rename, modules) for f in arrays.cache) + _DTYPE_FIELDS[arrays.dtypes],
        gradients=(*(_gradient_field(arrays, p) for p, _ in arrays.gradients), *_stage_fields(arrays)),
        gradients_doc="The gradient of each input, of its shape and dtype"
        + ("; then the adjoint of every intermediate result." if arrays.stages else "."),
        records=passes.records(arrays),
        forward=forward,
        backward=backward,
        functions=functions,
        helpers=tuple(names),
        inputs=tuple(InputView(i.name, i.kind.value, _axes_literal(i.axes)) for i in arrays.inputs),
        kinds="{" + ", ".join(f'"{k.value}": "{_KINDS[k]}"' for k in kinds) + "}",
        nonempty=tuple(
            ("..." if size == BATCH_SIZE else size.name, why)
            for size, why in arrays.nonempty
            if size in known and size.is_Symbol
        ),
        scalars=any(i.kind.differentiable and set(i.axes) <= {BATCH_SIZE} for i in arrays.inputs),
        batch=any(BATCH_SIZE in i.axes for i in arrays.inputs),
        literals=any(isinstance(a, Integer) for i in arrays.inputs for a in i.axes),
        pairwise=any(t.pairwise for t in texts),
    )


def _function_text(
    arrays: ArrayProgram,
    function: ArrayFunction,
    rename: Callable[[str], str],
    taken: set[str],
    sizes: Sequence[str],
    special: frozenset[str],
) -> FunctionText:
    dtype = f"{rename(function.given[0][0].name)}.dtype" if function.given else _working_dtype(arrays, rename)
    return FunctionText(rename, dtype, taken, sizes, in_place=True, special=special)


def _further(arrays: ArrayProgram, function: ArrayFunction, text: FunctionText) -> FunctionView:
    """Return a further function as finished lines."""
    dtype = _working_dtype(arrays, text.rename)
    signature, doc, body = passes.further_function(
        arrays, function, text, dtype, lambda: _size_lines(function.sizes, text)
    )
    return FunctionView(signature, doc, (*passes.unpacked(_fields(arrays, text.rename), body), *body))


def _fields(arrays: ArrayProgram, rename: Callable[[str], str]) -> list[str]:
    """Return the names of the cache's fields."""
    return [_field_name(f, rename) for f in arrays.cache] + [f.name for f in _DTYPE_FIELDS[arrays.dtypes]]


def _working_dtype(arrays: ArrayProgram, rename: Callable[[str], str]) -> str:
    """Return the text of the dtype in which the functions that read the cache compute."""
    return {
        Dtypes.ARRAY: f"{rename(arrays.precision or '')}.dtype",
        Dtypes.ONE: "dtype",
        Dtypes.EACH: "np.result_type(*dtypes)",
    }[arrays.dtypes]


def _axes_literal(axes: Sequence[object]) -> str:
    pieces = [str(int(a)) if isinstance(a, Integer) else f'"{a}"' for a in axes]
    return f"({', '.join(pieces)}{',' if len(pieces) == 1 else ''})"


def _header(arrays: ArrayProgram) -> tuple[str, ...]:
    return (
        f"Made by derive {derive.__version__} from {arrays.source}. Do not edit: change the layer file and run",
        f"`derive generate {arrays.name}{_options(arrays)}`.",
    )


def _options(arrays: ArrayProgram) -> str:
    """Return the options that the module was generated with."""
    functions = {f.name for f in arrays.functions}
    options = [
        (f"--for {arrays.purpose.value}", arrays.purpose is not Purpose.READING),
        ("--calls", arrays.modules),
        ("--stages", arrays.stages),
        ("--jvp", "jvp" in functions),
        ("--second", "double_backward" in functions),
    ]
    return "".join(f" {option}" for option, given in options if given)


def _imports(lines: Sequence[str], scipy: set[str], special: bool) -> tuple[str, ...]:
    text = "\n".join(lines)
    result = ["import math"] * ("math." in text) + ["from typing import NamedTuple", "", "import numpy as np"]
    if "sliding_window_view(" in text:
        result.append("from numpy.lib.stride_tricks import sliding_window_view")
    if special:
        result.append("from scipy import special")
    if scipy:
        result.append(f"from scipy.special import {', '.join(sorted(scipy))}  # NumPy has none")
    return tuple(result)


def _module_doc(arrays: ArrayProgram) -> list[str]:
    text, source = split_source("\n".join(line for long in arrays.doc.splitlines() for line in wrapped(long)))
    lines = text or [f"The layer {arrays.name}, forward and backward."]
    lines = [*lines, "", *formulas(arrays.forward_formulas)]
    if arrays.memory is not None:
        order = [str(axis) for i in arrays.inputs for axis in i.axes] + [str(size) for size, _ in arrays.derived]
        numbers = NumberText(lambda s: "|...|" if s == BATCH_SIZE else s.name, list(dict.fromkeys(order)))
        lines += ["", *wrapped(memory(*arrays.memory, lambda size: numbers.text(size)[0]))]
    return [*lines, "", *source] if source else lines


def _field_name(field: Field, rename: Callable[[str], str]) -> str:
    return "batch" if field.value == BATCH_SIZE else rename(field.name)


def _cache_field(field: Field, rename: Callable[[str], str], modules: Mapping[str, str]) -> FieldView:
    name = _field_name(field, rename)
    if field.module is not None:
        return FieldView(name, f"{modules[field.module]}.Cache", "")
    if field.axes is None:
        if field.value == BATCH_SIZE:
            return FieldView(name, "tuple[int, ...]", "")
        whole = field.value is not None and field.value.is_integer
        return FieldView(name, "int" if whole else "float", "")
    shape = [Integer(1) if axis is None else axis.size for axis in field.axes]
    return FieldView(name, "np.ndarray", axes_text(shape))


def _gradient_field(arrays: ArrayProgram, parameter: str) -> FieldView:
    axes = next(i.axes for i in arrays.inputs if i.name == parameter)
    name = f"d{parameter}"
    return FieldView(name + "_" * keyword.iskeyword(name), "np.ndarray", axes_text(axes))


def _stage_fields(arrays: ArrayProgram) -> Iterator[FieldView]:
    """Yield the fields of the adjoints of intermediate results."""
    for _, name, axes in arrays.stages:
        yield FieldView(name, "np.ndarray", axes_text(axes))


def _size_lines(sizes: Sequence[SizeOf], text: FunctionText, conditions: Sequence[Condition] = ()) -> list[str]:
    """Return the lines that name sizes: ``N, D = x.shape`` where all of an array's are wanted."""
    lines: list[str] = []
    groups: dict[str, list[SizeOf]] = {}
    for size in sizes:
        if size.source is not None:
            groups.setdefault(size.source, []).append(size)
    for source, members in groups.items():
        axes = members[0].axes
        name = text.rename(source)
        wanted = {m.size: m for m in members}
        batch = axes[:1] == (BATCH_SIZE,)
        whole = all(a in wanted for a in axes) and len(set(axes)) == len(axes) > 1
        if whole and not text.bare_batch and all(m.part is not Part.COUNT for m in members):
            targets = ["*batch" if a == BATCH_SIZE else text.rename(str(a)) for a in axes]
            lines.append(f"{', '.join(targets)} = {name}.shape")
            continue
        if not batch and len(members) > 1 and len({m.size for m in members}) == len(members):
            targets = [text.rename(str(a)) if k == axes.index(a) and a in wanted else "_" for k, a in enumerate(axes)]
            lines.append(f"{', '.join(targets)} = {name}.shape")
            continue
        for member in sorted(members, key=lambda m: axes.index(m.size)):
            place = axes.index(member.size)
            if member.size == BATCH_SIZE:
                shape = f"{name}.shape[:{place - len(axes) + 1}]" if len(axes) > 1 else f"{name}.shape"
                if member.part is Part.COUNT:
                    counted = f"{name}.size" if len(axes) == 1 else f"math.prod({shape})"
                    lines.append(f"count = {counted}")
                else:
                    lines.append(f"batch = {shape}")
            else:
                number = place - len(axes) if batch else place
                lines.append(f"{text.rename(member.size.name)} = {name}.shape[{number}]")
    lines += derived_lines(sizes, conditions, text.numbers, text.rename)
    if any(s.value is None and s.source is None and s.part is Part.COUNT for s in sizes):
        lines.append("count = math.prod(batch)")
    return lines


def _forward(arrays: ArrayProgram, text: FunctionText, reals: Sequence[str]) -> FunctionView:
    rename = text.rename
    inputs = [i.name for i in arrays.inputs]  # the signature has the user's own names, whatever they are in the body
    arguments = list(inputs)
    if arrays.hypers:
        arguments += ["*", *(f"{h}={default!r}" for h, default in arrays.hypers)]
    body = _checked(list(map(rename, inputs)), inputs)
    body += [f"{rename(h)} = {h}" for h, _ in arrays.hypers if rename(h) != h]
    statements = text.body(arrays.forward)
    if any(field.axes is None and field.value == BATCH_SIZE for field in arrays.cache):
        text.bare_batch = True  # the cache's is a tuple
    if text.dtype_used and text.dtype == "dtype":
        body += call_lines("dtype = np.result_type", reals)
    body += _size_lines(arrays.forward_sizes, text, arrays.conditions)
    for label in arrays.labels:
        body.append(f'_labels("{label.name}", {rename(label.name)}, {text.numbers.text(label.size)[0]})')
    body += statements
    fields = [_field_name(f, rename) for f in arrays.cache]
    if arrays.dtypes is Dtypes.ONE:
        fields.append(f"{reals[0]}.dtype")
    elif arrays.dtypes is Dtypes.EACH:
        body += tuple_lines("dtypes", [f"{rename(p)}.dtype" for p, _ in arrays.gradients])
        fields.append("dtypes")
    outputs = [rename(name) for name, _, _ in arrays.outputs]
    views = dict(arrays.views)
    values = [text.expression(views[name]) if name in views else rename(name) for name, _, _ in arrays.outputs]
    result = values[0] if len(values) == 1 else f"({', '.join(values)})"
    body += call_lines(f"return {result}, Cache", fields)
    tensors = [(i.name, i.axes, i.kind) for i in arrays.inputs]
    tensors += [(name, tuple(i.size for i in indices), _kind(dtype)) for name, indices, dtype in arrays.outputs]
    doc = [f"Return ({_result(outputs)}).", "", *shapes(tensors)]
    doc.append("Raises ValueError for another shape or kind" + (" or an empty axis" if arrays.nonempty else "")
               + (", IndexError for a label out of range." if arrays.labels else "."))  # fmt: skip
    return FunctionView(tuple(_signature("forward", arguments)), docstring(doc, "    "), tuple(body))


def _result(outputs: Sequence[str]) -> str:
    return f"{outputs[0]}, cache" if len(outputs) == 1 else f"({', '.join(outputs)}), cache"


def _kind(dtype: Dtype) -> Kind:
    return {Dtype.INT: Kind.INT, Dtype.BOOL: Kind.BOOL}.get(dtype, Kind.REAL)


def _checked(names: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Return ``x, w = _expect(x, w)``; of very many, a few at a time get their names."""
    targets = ", ".join(names)
    if len(targets) < WIDTH - 20:
        return call_lines(f"{targets} = _expect", inputs)
    return [*call_lines("arrays = _expect", inputs), *in_groups(names, "arrays")]


def _signature(name: str, arguments: Sequence[str]) -> list[str]:
    lines = call_lines(f"def {name}", arguments, 119)
    return [*lines[:-1], lines[-1] + ":"]


OUT = [
    "out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not",
    "share memory with one another; what they share with a cotangent or the cache is read before it is written.",
]


def takes_out(arrays: ArrayProgram) -> bool:
    """Return whether backward takes arrays for its results."""
    return not arrays.stages


def _returned(arrays: ArrayProgram, gradients: Sequence[str], stages: Sequence[str]) -> list[str]:
    """Return the lines that return the gradients, each of its parameter's dtype, in the caller's arrays."""
    before, after = ("_into(out, ", ")") if takes_out(arrays) else ("", "")
    if arrays.dtypes is Dtypes.EACH:
        if stages:
            return [
                *tuple_lines("gradients", gradients),
                *call_lines("return Gradients", ["*map(np.asarray, gradients, dtypes)", *stages], WIDTH - 4),
            ]
        line = f"return {before}Gradients(*map(np.asarray, {tuple_text(gradients)}, dtypes)){after}"
        if len(line) <= WIDTH - 4:
            return [line]
        return [
            *tuple_lines("gradients", gradients),
            f"return {before}Gradients(*map(np.asarray, gradients, dtypes)){after}",
        ]
    lines = call_lines(f"return {before}Gradients", [*gradients, *stages], WIDTH - 4 - len(after))
    return [*lines[:-1], lines[-1] + after]


def _backward(arrays: ArrayProgram, text: FunctionText) -> FunctionView:
    rename = text.rename
    fields = _fields(arrays, rename)
    checks: list[str] = []
    dtype = _working_dtype(arrays, rename)
    for cotangent in arrays.cotangents:
        shape = text.shape(list(cotangent.axes), cotangent.like)
        name = rename(cotangent.name)
        checks.append(f'{name} = _cotangent("{cotangent.name}", {name}, {shape}, {dtype})')
    statements = text.body(arrays.backward)
    body = [*_size_lines(arrays.backward_sizes, text), *checks, *statements]
    views = dict(arrays.views)
    def value(name: str) -> str:
        return text.expression(views[name]) if name in views else rename(name)

    stages = [value(name) for _, name, _ in arrays.stages]
    body += _returned(arrays, [value(name) for _, name in arrays.gradients], stages)
    given = shapes((c.name, c.axes, Kind.REAL) for c in arrays.cotangents)
    returned = [*(f"d{p}" for p, _ in arrays.gradients), *(name for _, name, _ in arrays.stages)]
    doc = [*wrapped(f"Return Gradients({', '.join(returned)})."), ""]
    doc += formulas(arrays.backward_formulas)
    doc += ["", *given]
    arguments = [*(rename(c.name) for c in arrays.cotangents), "cache"]
    if takes_out(arrays):
        arguments.append("out=None")
        doc += OUT
    doc.append("Raises ValueError for another shape.")
    body = [*passes.unpacked(fields, body), *body]
    return FunctionView(tuple(_signature("backward", arguments)), docstring(doc, "    "), tuple(body))
