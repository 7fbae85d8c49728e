"""What ``derive check`` does with ``--accuracy``: measure, print, draw."""

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

    from derive.language.layer import Layer

__all__ = ["check_accuracy"]


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


def print_tables(tables: Sequence[RenderableType]) -> None:
    """Print tables with an empty line between them."""
    from rich.console import Console

    console = Console(color_system="auto" if colourful(sys.stdout) else None, width=width(sys.stdout), highlight=False)
    for i, shown in enumerate(tables):
        if i:
            console.print()
        console.print(shown)
