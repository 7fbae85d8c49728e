"""Check formulas and code against an evaluation that shares nothing with how they were made.

    report = check(layer, program, text)
    report.passed, report.failure(), report.to_json(), table(report)

The reference is the layer as the user wrote it, evaluated element by element
(:mod:`derive.check.evaluate`). The formulas are compared with its finite
differences in multiprecision (:mod:`derive.check.formulas`), the code with the
formulas in float64 and float32 and with differences of its own
(:mod:`derive.check.code`); further derivatives alike (:mod:`derive.check.passes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from derive.algebra.nodes import BATCH_SIZE
from derive.calculus.program import Program
from derive.check.demand import CircularError
from derive.check.expected import expected_at
from derive.check.formulas import BUDGET, check_formulas, program_values
from derive.check.instance import Array
from derive.check.report import FORMULA_VALUES, Report, Row, failed, merged, table
from derive.check.samples import Sample, other_sample, piecewise_sample, sample, short_samples
from derive.check.sizes import choose_instance
from derive.check.stages import check_stage_formulas
from derive.language.layer import Layer

__all__ = ["Report", "Row", "check", "table"]


def check(
    layer: Layer,
    program: Program,
    module_text: str | Mapping[str, str] | None,
    *,
    seed: int = 0,
    modules: Mapping[str, str] | None = None,
) -> Report:
    """Compare a layer's derived formulas, and a module's text, with independent evaluation.

    Args:
        layer: as the user wrote it.
        program: forward and backward, as derived.
        module_text: of the generated module, or those of its files by name; None to check the formulas alone.
        seed: of inputs, cotangents and random directions.
        modules: the texts of the modules that the module imports from beside it, by name.

    Raises:
        CheckError: no inputs can be found at which the layer's results are finite.
    """
    first = sample(layer, choose_instance(layer), seed)
    instance = first.instance
    sizes: dict[str, int | tuple[int, ...]] = dict(instance.sizes)
    if any(BATCH_SIZE in p.axes for p in layer.parameters):
        sizes["..."] = instance.batch
    rows = _wrong_axes(layer, program, first)
    other = other_sample(layer, first, seed + 1)
    wide = piecewise_sample(layer, first, seed)
    samples = [first, other, *([] if wide is None else [wide]), *short_samples(layer, first, seed)]
    exact: list[tuple[Sample, dict[str, Array]]] = []
    for at in samples:
        if not all(row.passed for row in rows):
            break
        try:
            values = program_values(program, at)
        except (IndexError, CircularError) as error:
            if 0 not in at.instance.sizes.values():
                rows.append(failed(layer.name, FORMULA_VALUES, f"{error} ({at.instance})"))
            continue
        exact.append((at, values))
        if at is first:
            rows += check_formulas(layer, program, at, values, seed)
        elif at is not other or at.instance.hypers != instance.hypers:  # shows something that the first does not
            rows += check_formulas(layer, program, at, values, seed, str(at.instance), BUDGET // 8)
    if program.stages and all(row.passed for row in rows):
        rows += [row for at, values in exact[:2] for row in check_stage_formulas(program, at, values, seed)]
    if module_text is not None and all(row.passed for row in rows):
        from derive.check.code import check_code

        expected = [expected_at(program, at, values, seed) for at, values in exact]
        rows += check_code(layer, program, module_text, expected, seed, modules)
    if program.passes and all(row.passed for row in rows):
        from derive.check.passes import check_pass_code, check_pass_formulas

        for at, _ in exact:
            if at is not other or at.instance.hypers != instance.hypers:
                own = check_pass_formulas(layer, program, at, seed)
                own += check_pass_code(layer, program, module_text, at, seed) if module_text is not None else []
                rows += own if at is first else [replace(row, note=row.note or str(at.instance)) for row in own]
    return Report(layer.name, seed, tuple(sizes.items()), merged(rows))


def _wrong_axes(layer: Layer, program: Program, at: Sample) -> list[Row]:
    """Return a failing row for each output or gradient whose axes are not those it must have."""
    rows = []
    for name, like in [(name, name) for name in layer.returns] + [(name, p) for p, name in program.gradients]:
        statement = program.definition(name)
        if statement is None:
            rows.append(failed(name, FORMULA_VALUES, "the program does not define it"))
            continue
        shape, expected = at.instance.shape(statement.axes), at.instance.shape(layer.axes(like))
        if shape != expected:
            rows.append(failed(name, FORMULA_VALUES, f"shape {shape}, expected {expected}, that of {like}"))
    return rows
