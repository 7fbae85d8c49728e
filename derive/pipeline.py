"""Layer to checked module text: the table of contents of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

from derive.calculus.differentiate import differentiate
from derive.calculus.program import Program
from derive.errors import CheckError, DeriveError
from derive.language.layer import Layer
from derive.simplify import Form, simplify, with_passes, without_saturation
from derive.stability import stabilize

if TYPE_CHECKING:
    from sympy import Expr

    from derive.check import Report
    from derive.lower.arrays import ArrayProgram
    from derive.tune import Candidate

__all__ = ["build", "build_compiled", "build_module", "build_network", "derive_program", "inspect", "ways"]

Files = dict[str, str]
"""The texts of a module of several files, by their names."""


def derive_program(
    layer: Layer,
    wrt: Sequence[str] | None = None,
    *,
    jvp: bool = False,
    second: bool = False,
    form: Form = Form.CHEAPER,
) -> Program:
    """Derive the backward pass of a layer, in closed form where that is cheaper.

    Args:
        layer: from ``parse`` or ``load``.
        wrt: parameters whose gradients are wanted; None for all that have one.
        jvp: whether to derive the outputs' tangents too (``Program.passes``).
        second: whether to derive the backward of the backward too, and for a
            scalar result the products of its Hessian with a vector.
        form: closed, staged, or whichever is cheaper.

    Raises:
        DeriveError: a name in ``wrt`` has no gradient, or no derivative is known.
    """
    stable, steps = stabilize(layer)
    staged = differentiate(layer, stable, steps, wrt)
    program = with_passes(staged, simplify(staged, form), jvp=jvp, second=second)
    return without_saturation(staged, program)


def build_module(
    layer: Layer,
    wrt: Sequence[str] | None = None,
    *,
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> str:
    """Return the text of the NumPy module of a layer, not yet checked; arguments as of ``inspect``."""
    from derive.render.numpy import render

    return render(_written(layer, wrt, purpose, jvp=jvp, second=second)[1])


def ways(
    layer: Layer,
    wrt: Sequence[str] | None = None,
    sizes: Mapping[Expr, int] | None = None,
    *,
    jvp: bool = False,
    second: bool = False,
) -> tuple[tuple[Candidate, ...], dict[str, Program]]:
    """Return every way to write a layer's backward with what it costs at some sizes, and the program of each form."""
    from derive.lower import lower
    from derive.tune import candidates

    chosen = derive_program(layer, wrt, jvp=jvp, second=second)
    programs = {form.value: derive_program(layer, wrt, jvp=jvp, second=second, form=form) for form in _FORMS}
    own = next((name for name, program in programs.items() if str(program) == str(chosen)), "closed")
    forms = {own: chosen}
    forms |= {name: program for name, program in programs.items() if str(program) != str(chosen)}
    return candidates({name: lower(program) for name, program in forms.items()}, sizes), forms


_FORMS = (Form.CLOSED, Form.STAGED)


def _written(
    layer: Layer, wrt: Sequence[str] | None, purpose: str, *, jvp: bool, second: bool
) -> tuple[Program, ArrayProgram]:
    """Return a layer's formulas and its array program as it is written for a purpose."""
    from derive.lower import lower
    from derive.lower.arrays import Purpose
    from derive.tune import choose
    from derive.tune.choose import readable

    if purpose == Purpose.READING.value:
        program = derive_program(layer, wrt, jvp=jvp, second=second)
        return program, readable(lower(program))
    found, programs = ways(layer, wrt, jvp=jvp, second=second)
    best, _ = choose(found, Purpose(purpose))
    return programs[best.form], best.arrays


def build_network(layer: Layer, wrt: Sequence[str] | None = None) -> str:
    """Return the text of the NumPy module of a layer that calls others, their calls kept; not yet checked.

    Only the layer's own equations are derived (:mod:`derive.calculus.calls`);
    the module imports those of the layers that it calls.
    """
    from derive.calculus.calls import opened, woven
    from derive.lower.calls import lower_calls
    from derive.render.numpy import render

    network = opened(layer, layer.differentiable if wrt is None else wrt)
    program = derive_program(network.layer, network.wanted)
    return render(lower_calls(woven(network, program)))


def build_compiled(layer: Layer, wrt: Sequence[str] | None = None) -> Files:
    """Return the files of a layer in C, not yet checked: ``NAME.c``, ``NAME.h``, ``NAME_c.py`` and what it imports."""
    return _compiled(layer, derive_program(layer, wrt))


def _compiled(layer: Layer, program: Program) -> Files:
    from derive.nests.build import nests
    from derive.render.c import render
    from derive.render.c_python import module_name, python_module, shared_files

    functions = nests(program)
    source, header = render(functions)
    return {
        f"{layer.name}.c": source,
        f"{layer.name}.h": header,
        f"{module_name(layer.name)}.py": python_module(functions, layer),
        **shared_files(),
    }


@overload
def inspect(
    layer: Layer,
    wrt: Sequence[str] | None = None,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
    *,
    target: Literal["numpy"] = "numpy",
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> tuple[str, Report]: ...
@overload
def inspect(
    layer: Layer,
    wrt: Sequence[str] | None = None,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
    *,
    target: str,
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> tuple[str | Files, Report]: ...
def inspect(
    layer: Layer,
    wrt: Sequence[str] | None = None,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
    *,
    target: str = "numpy",
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> tuple[str | Files, Report]:
    """Return a layer's module and the report of its check, whatever the verdict: for ``"c"`` its files by name.

    Args:
        layer: from ``parse`` or ``load``.
        wrt: parameters whose gradients are wanted; None for all that have one.
        seed: of the check's inputs.
        modules: the texts of the modules of the layers that it calls, by name, to keep its
            calls as calls of theirs; None to write them out.
        target: ``"numpy"``, or ``"c"``.
        jvp, second: the further functions, as of ``derive_program``.
        purpose: what the NumPy code is written for: ``"reading"``, ``"speed"`` or ``"memory"``.
            With calls kept it is written to be read.

    Raises:
        DeriveError: further functions of a layer whose calls are kept; in C, either of them, or no C compiler.
    """
    if target == "c":
        if purpose != "reading":
            raise DeriveError("the target c has one way of writing code", hint="leave out --for")
        return _inspect_compiled(layer, wrt, seed, calls=modules is not None, further=jvp or second)
    from derive.check import check
    from derive.render.numpy import render

    kept = modules is not None and bool(layer.calls)
    if kept and (jvp or second):
        raise DeriveError(
            f"the calls of {layer.name} cannot be kept in a module with further derivatives",
            layer.span,
            "leave out --calls to have them written out",
        )
    if kept:
        program, text = derive_program(layer, wrt), build_network(layer, wrt)
    else:
        program, arrays = _written(layer, wrt, purpose, jvp=jvp, second=second)
        text = render(arrays)
    return text, check(layer, program, text, seed=seed, modules=modules)


def _inspect_compiled(
    layer: Layer, wrt: Sequence[str] | None, seed: int, *, calls: bool, further: bool
) -> tuple[Files, Report]:
    from derive.check import check
    from derive.check.module import require_compiler

    if further or calls:
        what = "keeps no calls of layers" if calls else "has no further derivatives"
        option = "--calls" if calls else "--jvp and --second"
        raise DeriveError(
            f"the target c {what}", layer.span, f"leave out {option}, or generate {layer.name} for the target numpy"
        )
    program = derive_program(layer, wrt)
    files = _compiled(layer, program)
    require_compiler(files)
    return files, check(layer, program, files, seed=seed)


@overload
def build(
    layer: Layer,
    target: Literal["numpy"] = "numpy",
    wrt: Sequence[str] | None = None,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
    *,
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> tuple[str, Report]: ...
@overload
def build(
    layer: Layer,
    target: str,
    wrt: Sequence[str] | None = None,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
    *,
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> tuple[str | Files, Report]: ...
def build(
    layer: Layer,
    target: str = "numpy",
    wrt: Sequence[str] | None = None,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
    *,
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
) -> tuple[str | Files, Report]:
    """Return a layer's module and the report of its check, which it passed; arguments and results as of ``inspect``.

    Raises:
        CheckError: formulas and code disagree with independent evaluation.
    """
    text, report = inspect(layer, wrt, seed, modules, target=target, jvp=jvp, second=second, purpose=purpose)
    if not report.passed:
        raise CheckError(f"{layer.name}: the generated code does not pass its check", hint=report.failure())
    return text, report
