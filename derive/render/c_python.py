"""The Python module of a layer in C: the NumPy module's interface, computed by ``NAME.c``.

    y, cache = forward(x, gamma, beta, eps=1e-5)
    dx, dgamma, dbeta = backward(dy, cache)

The module holds what differs between layers: the records, the two signatures,
the shapes, and a table of what the C functions take, made from their
:class:`~derive.nests.nodes.Argument` lists. What all layers share, compiling,
checking and calling, is in ``templates/c/_compiled.py`` and ``_compiled.c``,
which are written beside it as they stand.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sympy import Expr, Integer

import derive
from derive.algebra.nodes import BATCH_SIZE, Kind
from derive.language.layer import Layer
from derive.lower.arrays import Part, SizeOf
from derive.nests.nodes import Argument, CProgram, Function, Role
from derive.nests.nodes import Kind as Number
from derive.render.numpy_conditions import at_least_one, derived_lines
from derive.render.numpy_docs import axes_text, docstring, formulas, shapes, split_source, wrapped
from derive.render.numpy_lines import tuple_text
from derive.render.numpy_numbers import NumberText
from derive.render.numpy_text import call_lines
from derive.render.numpy_views import FieldView, FunctionView
from derive.render.templates import environment, source_text

__all__ = ["SHARED", "module_name", "python_module", "shared_files"]

SHARED = ("_compiled.py", "_compiled.c")
"""The files that all layers of a folder share."""

_KINDS = {Number.REAL: "Real", Number.INT: "Int", Number.BOOL: "Bool"}
_MOST = 118  # columns of a line
_OUT = (
    "out: Gradients, a sequence or a dict of arrays to write the gradients to, None for a new one. They must not",
    "share memory with one another; what they share with a cotangent or the cache is read before it is written.",
)


@dataclass(frozen=True, slots=True)
class CModuleView:
    """What the template shows: finished lines."""

    doc: str
    header: tuple[str, ...]
    math: bool
    cache: tuple[FieldView, ...]
    gradients: tuple[FieldView, ...]
    forward: FunctionView
    backward: FunctionView
    shapes: FunctionView
    layer: tuple[str, ...]


def module_name(layer: str) -> str:
    """Return the name of the Python module of a layer in C: another than the NumPy module's, which may stand beside."""
    return f"{layer}_c"


def shared_files() -> dict[str, str]:
    """Return the files that all layers of a folder share, by name."""
    return {name: source_text("c", name) for name in SHARED}


def python_module(program: CProgram, layer: Layer) -> str:
    """Return the text of ``NAME_c.py``."""
    text = environment("c").get_template("module.py.jinja").render(view=_view(program, layer))
    return text.rstrip("\n") + "\n"


class _Names:
    """What the text calls sizes, hyper-parameters and fields."""

    def __init__(self, program: CProgram, layer: Layer) -> None:
        self.axes = list(dict.fromkeys(a for p in layer.parameters for a in p.axes if not isinstance(a, Integer)))
        self.whole = [h.name for h in layer.hypers if not h.kind.differentiable]
        self.real = [h.name for h in layer.hypers if h.kind.differentiable]
        plain = [a.name for a in self.axes if a != BATCH_SIZE]
        sizes = [*plain, *(d.size.name for d in layer.derived)]
        self.batch = _free("batch", {*sizes, *self.whole})
        self.local = {name: _free(name, ("math", "_compiled")) for name in (*sizes, *self.whole)}
        self.numbers = NumberText(self._number, sizes)
        names = {p.name for p in layer.parameters} | {h.name for h in layer.hypers}
        self.layer = _free("_layer", names)
        again = [a for a in program.backward.arguments if a.role in (Role.INPUT, Role.CACHE)]
        self.saved = [a.source for a in again] + self.real
        self.sizes = _free("sizes", set(self.saved))
        self.dtypes = _free("dtypes", set(self.saved))

    def _number(self, symbol: Expr) -> str:
        if symbol == BATCH_SIZE:
            return f"math.prod({self.batch})"
        name: str = symbol.name
        return self.local.get(name, name)

    def axis(self, axis: Expr) -> str:
        """Return an axis as the tables name it."""
        return str(int(axis)) if isinstance(axis, Integer) else f'"{axis}"'

    def shape(self, axes: Iterable[Expr]) -> str:
        """Return the shape of an array as a tuple of its lengths."""
        return tuple_text([f"*{self.batch}" if a == BATCH_SIZE else self.numbers.text(a)[0] for a in axes])


def _free(name: str, taken: Iterable[str]) -> str:
    """Return the name, with underscores behind it until it is nothing else's."""
    taken = set(taken)
    while keyword.iskeyword(name) or (name in taken and name != ""):
        name += "_"
    return name


def _view(program: CProgram, layer: Layer) -> CModuleView:
    names = _Names(program, layer)
    measured = _shapes(program, layer, names)
    return CModuleView(
        doc=docstring(_doc(program), ""),
        header=(
            f"Made by derive {derive.__version__} from {program.source}. Do not edit: change the layer file and run",
            f"`derive generate {program.layer} --target c`. What computes is {program.layer}.c, compiled on first use.",
        ),
        math=any("math." in line for line in measured.body),
        cache=_cache(program, names),
        gradients=tuple(_gradient(layer, p) for p, _ in program.gradients),
        forward=_forward(program, layer, names),
        backward=_backward(program, names),
        shapes=measured,
        layer=_table(program, layer, names),
    )


def _doc(program: CProgram) -> list[str]:
    text, source = split_source("\n".join(line for long in program.doc.splitlines() for line in wrapped(long)))
    lines = text or [f"The layer {program.layer}, forward and backward."]
    lines = [*lines, "", *formulas(program.formulas[0])]
    return [*lines, "", *source] if source else lines


def _field(name: str) -> str:
    """Return the name of a field of a NamedTuple: no keyword, no underscore first."""
    return _free(name.lstrip("_") or "x", ())


def _cache(program: CProgram, names: _Names) -> tuple[FieldView, ...]:
    arrays = {a.source: a for a in program.backward.arguments if not a.by_value}
    fields = [
        FieldView(_field(name), "np.ndarray", axes_text(arrays[name].shape)) if name in arrays
        else FieldView(_field(name), "float", "")
        for name in names.saved
    ]  # fmt: skip
    numbers = ", ".join(["..." if a == BATCH_SIZE else a.name for a in names.axes] + names.whole)
    fields.append(FieldView(names.sizes, "tuple", numbers))
    return (*fields, FieldView(names.dtypes, "tuple[np.dtype, ...]", ""))


def _gradient(layer: Layer, parameter: str) -> FieldView:
    return FieldView(_field(f"d{parameter}"), "np.ndarray", axes_text(layer.axes(parameter)))


def _signature(name: str, arguments: Sequence[str]) -> tuple[str, ...]:
    lines = call_lines(f"def {name}", arguments, 119)
    return (*lines[:-1], lines[-1] + ":")


def _result(outputs: Sequence[str]) -> str:
    return f"{outputs[0]}, cache" if len(outputs) == 1 else f"({', '.join(outputs)}), cache"


def _forward(program: CProgram, layer: Layer, names: _Names) -> FunctionView:
    inputs, hypers = [p.name for p in layer.parameters], [h.name for h in layer.hypers]
    arguments = [*inputs, *(["*"] if hypers else []), *(f"{h.name}={h.default!r}" for h in layer.hypers)]
    outputs = [a for a in program.forward.arguments if a.role is Role.OUTPUT]
    tensors = [(p.name, p.axes, p.kind) for p in layer.parameters]
    tensors += [(a.source, a.shape, _element_kind(a)) for a in outputs]
    empty = " or an empty axis" if program.nonempty else ""
    labels = ", IndexError for a label out of range" if program.forward.labels else ""
    doc = [f"Return ({_result([a.source for a in outputs])}).", "", *shapes(tensors)]
    doc.append(f"Raises ValueError for another shape or kind{empty}{labels}.")
    body = call_lines(f"return {names.layer}.forward", [*inputs, *hypers])
    return FunctionView(_signature("forward", arguments), docstring(doc, "    "), tuple(body))


def _element_kind(argument: Argument) -> Kind:
    return {Number.REAL: Kind.REAL, Number.INT: Kind.INT, Number.BOOL: Kind.BOOL}[argument.kind]


def _backward(program: CProgram, names: _Names) -> FunctionView:
    cotangents = [a for a in program.backward.arguments if a.role is Role.COTANGENT]
    doc = [*wrapped(f"Return Gradients({', '.join(f'd{p}' for p, _ in program.gradients)})."), ""]
    doc += formulas(program.formulas[1])
    doc += ["", *shapes((a.source, a.shape, Kind.REAL) for a in cotangents)]
    doc += _OUT
    doc.append("Raises ValueError for another shape.")
    given = [a.source for a in cotangents]
    body = call_lines(f"return {names.layer}.backward", [*given, "cache", "out"])
    signature = _signature("backward", [*given, "cache", "out=None"])
    return FunctionView(signature, docstring(doc, "    "), tuple(body))


def _made(program: CProgram) -> list[Argument]:
    """Return the arrays that forward makes: the outputs, then what only the cache has."""
    outputs = [a for a in program.forward.arguments if a.role is Role.OUTPUT]
    return outputs + [a for a in program.forward.arguments if a.role is Role.CACHE]


def _shapes(program: CProgram, layer: Layer, names: _Names) -> FunctionView:
    """Return the function that gives the shapes of what is made, and the bounds of labels."""
    made = [(f'"{a.source}"', names.shape(a.shape)) for a in _made(program)]
    limits = [size for _, size in program.forward.labels]
    wanted = {s for a in _made(program) for axis in a.shape for s in axis.free_symbols}
    wanted |= {s for expr in (*limits, *(c.expr for c in program.conditions)) for s in expr.free_symbols}
    for size in reversed(layer.derived):
        wanted |= size.expr.free_symbols if size.size in wanted else set()
    derived = [SizeOf(d.size, Part.LENGTH, value=d.expr) for d in layer.derived if d.size in wanted]
    rename = {d.size.name: names.local[d.size.name] for d in layer.derived}
    lines = derived_lines(derived, program.conditions, names.numbers, lambda name: rename.get(name, name))
    body = [line.replace("_at_least_one(", "_compiled.at_least_one(", 1) for line in lines]
    assert at_least_one(lines) == any(line.startswith("_compiled.") for line in body)
    rows = [f"{name}: {shape}" for name, shape in made]
    bounds = tuple_text([names.numbers.text(size)[0] for size in limits])
    line = f"return {{{', '.join(rows)}}}, {bounds}"
    body += [line] if len(line) <= _MOST - 4 else ["made = {", *(f"    {row}," for row in rows), "}"]
    body += [] if len(line) <= _MOST - 4 else [f"return made, {bounds}"]
    doc = ["Return the shapes of what forward makes, and what labels have to stay below."]
    doc = [*doc, "", "Raises ValueError for numbers that the layer has not."] if program.conditions else doc
    arguments = [names.batch if a == BATCH_SIZE else names.local[a.name] for a in names.axes]
    arguments += [names.local[name] for name in names.whole]
    return FunctionView(_signature("_shapes", arguments), docstring(doc, "    "), tuple(body))


def _strings(names: Iterable[str]) -> str:
    return tuple_text([f'"{name}"' for name in names])


def _mapping(name: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return ``name={"key": value, …},``, one a line where that is too long."""
    rows = [f'"{key}": {value}' for key, value in pairs]
    line = f"{name}={{{', '.join(rows)}}},"
    return [line] if len(line) <= _MOST - 4 else [f"{name}={{", *(f"    {row}," for row in rows), "},"]


def _listed(name: str, names: Sequence[str]) -> list[str]:
    line = f"{name}={_strings(names)},"
    return [line] if len(line) <= _MOST - 4 else [f"{name}=(", *(f'    "{each}",' for each in names), "),"]


def _takes(which: str, function: Function) -> list[str]:
    """Return the arguments of a C function in its order."""
    sizes = ["..." if a.source == "..." else a.source for a in function.arguments if a.role is Role.SIZE]
    hypers = [a.source for a in function.arguments if a.role is Role.HYPER]
    arrays = [a.source for a in function.arguments if not a.by_value]
    lines = [*_listed("sizes", sizes), *_listed("hypers", hypers), *_listed("arrays", arrays)]
    whole = f"{which}=_compiled.Function({' '.join(line for line in lines).rstrip(',')}),"
    if len(whole) <= _MOST - 4 and len(lines) == 3:
        return [whole]
    return [f"{which}=_compiled.Function(", *(f"    {line}" for line in lines), "),"]


def _table(program: CProgram, layer: Layer, names: _Names) -> tuple[str, ...]:
    """Return the statement that makes the layer of its table."""
    made = _made(program)
    inputs = [
        (p.name, f'("{p.kind.value}", {tuple_text([names.axis(a) for a in p.axes])})' if p.axes
         else f'("{p.kind.value}", ())')
        for p in layer.parameters
    ]  # fmt: skip
    outputs = [a.source for a in made if a.role is Role.OUTPUT]
    cotangents = [a.source for a in program.backward.arguments if a.role is Role.COTANGENT]
    known = {axis for p in layer.parameters for axis in p.axes}
    nonempty = [(_axis(size), f'"{why}"') for size, why in program.nonempty if size in known and size.is_Symbol]
    sources = {a.source for a in program.backward.arguments if a.role is Role.GRADIENT}
    assert sources == {name for _, name in program.gradients}, program.layer
    lines = [
        *_mapping("inputs", inputs),
        *_mapping(
            "hypers", [(h.name, '"Real"' if h.name in names.real else f'"{h.kind.value}"') for h in layer.hypers]
        ),
        *_mapping("made", [(a.source, f'"{_KINDS[a.kind]}"') for a in made]),
        f"outputs={len(outputs)},",
        *_listed("saved", names.saved),
        *_mapping("cotangents", [(c, f'"{o}"') for c, o in zip(cotangents, outputs, strict=True)]),
        *_mapping("results", [(name, f'"{p}"') for p, name in program.gradients]),
        *_takes("forward", program.forward),
        *_takes("backward", program.backward),
        "shapes=_shapes,",
        *_mapping("nonempty", nonempty),
        *_listed("labels", [name for name, _ in program.forward.labels]),
    ]
    first = [f"{names.layer} = _compiled.Layer(", "    __file__,", f'    "{program.layer}",', "    Cache,",
             "    Gradients,"]  # fmt: skip
    return (*first, *(f"    {line}" for line in lines), ")")


def _axis(size: Expr) -> str:
    return "..." if size == BATCH_SIZE else str(size)


