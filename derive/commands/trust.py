"""What ``derive check`` does with ``--accuracy`` and ``--each-step``: measure, print, draw."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derive.commands.console import Progress, colourful, complain, say, width
from derive.errors import CheckError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from derive.check.steps import CheckedStep
    from derive.language.layer import Layer

__all__ = ["check_accuracy", "check_each_step", "print_tables"]


def check_accuracy(
    layers: Sequence[Layer], wrt: Sequence[str] | None, seed: int, *, as_json: bool, picture: Path | None
) -> bool:
    """Measure the accuracy of layers' code, print tables or JSON, draw a picture; return whether all bounds hold.

    Raises:
        DeriveError: there is no drawing of the picture, which is said before anything is measured.
    """
    from derive.accuracy import measure, table

    if picture is not None:
        from derive.accuracy.plot import require_matplotlib

        require_matplotlib(picture)
    measured = []
    with Progress(len(layers)) as progress:
        for layer in layers:
            progress.begin(layer.name)
            measured.append(measure(layer, wrt, seed=seed))
    passed = all(item.passed for item in measured)
    if as_json:
        say(json.dumps({"passed": passed, "layers": [item.to_json() for item in measured]}, indent=2))
    else:
        print_tables([table(item) for item in measured])
    if picture is not None:
        from derive.accuracy.plot import plot

        plot(measured, picture)
        if not as_json:
            say(f"{picture}: drawn")
    for item in measured:
        if not item.passed:
            what = f"{item.layer}: {len(item.failures)} of {len(item.rows)} accuracies are beyond their bounds"
            complain(CheckError(what, hint="\n".join(map(str, item.failures))))
    return passed


def check_each_step(layers: Sequence[Layer], wrt: Sequence[str] | None, seed: int, *, as_json: bool) -> bool:
    """Compare every step of layers' derivations with what stood before; return whether all agree."""
    from derive.check.steps import check_steps

    checked = []
    with Progress(len(layers)) as progress:
        for layer in layers:
            progress.begin(layer.name)
            checked.append(list(check_steps(layer, wrt, seed=seed)))
    wrong = [next((step for step in steps if not step.passed), None) for steps in checked]
    passed = all(step is None for step in wrong)
    if as_json:
        results = [
            {"layer": layer.name, "passed": first is None, "steps": [step.to_json() for step in steps]}
            for layer, steps, first in zip(layers, checked, wrong, strict=True)
        ]
        say(json.dumps({"passed": passed, "layers": results}, indent=2))
    else:
        print_tables([_steps_table(layer.name, steps) for layer, steps in zip(layers, checked, strict=True)])
    for layer, first in zip(layers, wrong, strict=True):
        if first is not None:
            complain(CheckError(f"{layer.name}: {first}", hint=f"the first step that differs; {first.reason}"))
    return passed


def _steps_table(name: str, steps: Sequence[CheckedStep]) -> Table:
    """Return a row a step: what holds from there on, what it was compared with, how far off it is."""
    from rich.table import Table
    from rich.text import Text

    first = next((step for step in steps if not step.passed), None)
    verdict = Text("every step agrees", "green") if first is None else Text(f"step {first.number} differs", "bold red")
    shown = Table(title=Text(f"{name}: ").append(verdict), title_justify="left", title_style="")
    for heading in ("step", "stage", "equation for", "compared with", "error"):
        shown.add_column(heading, justify="right" if heading in ("step", "error") else "left", overflow="fold")
    for step in steps:
        error = "-" if step.error is None else f"{step.error:.1e}"
        cell = Text(error) if step.passed else Text(f"{error} DIFFERS", "bold red")
        shown.add_row(str(step.number), step.stage, Text(step.equation), step.against, cell)
    return shown


def print_tables(tables: Sequence[RenderableType]) -> None:
    """Print tables with an empty line between them."""
    from rich.console import Console

    console = Console(color_system="auto" if colourful(sys.stdout) else None, width=width(sys.stdout), highlight=False)
    for i, shown in enumerate(tables):
        if i:
            console.print()
        console.print(shown)
