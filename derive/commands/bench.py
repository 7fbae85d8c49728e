"""``derive bench``: a layer's backward pass timed beside other ways to compute it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from derive.commands.console import Progress, colourful, complain, say, width
from derive.errors import CheckError, DeriveError
from derive.files import PURPOSES, TARGETS

if TYPE_CHECKING:
    from derive.bench.measure import Case

__all__ = ["bench"]

WAYS = ("numpy", "autograd", "torch", "torch.compile", "jax")
"""What ``--against`` takes; the room's own table is tested to say the same."""
DTYPES = ("float32", "float64")


def _listed(text: str, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Return the names of ``a,b``.

    Raises:
        DeriveError: one is not known, or there is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise DeriveError(f"{option}: unknown '{name}'", hint=f"known: {', '.join(known)}")
    return names


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer what other commands do for a layer."""
    from derive.commands.app import complete_layer

    return complete_layer(ctx, param, incomplete)


@click.command()
@click.argument("layer", metavar="LAYER...", nargs=-1, required=True, shell_complete=_complete)
@click.option(
    "--sizes", metavar="N=8192,D=512", multiple=True,
    help="Sizes, and whole hyper-parameters; ... stands for the batch. May be given several times.",
)  # fmt: skip
@click.option(
    "--against", metavar="NAMES", default="numpy,autograd,torch,jax", show_default=True,
    help="numpy (the staged form), autograd, torch, torch.compile, jax; '' for none.",
)  # fmt: skip
@click.option("--target", metavar="NAMES", default="numpy", show_default=True, help="Of ours: numpy, c, or both.")
@click.option(
    "--for", "purpose", type=click.Choice(PURPOSES), default="reading", show_default=True,
    help="What our NumPy code is written for.",
)  # fmt: skip
@click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True, help="Of all real numbers.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="That libraries may use.")
@click.option("--runs", type=click.IntRange(min=3), default=15, show_default=True, help="Measurements of each way.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="A picture too, FILE.png or FILE.svg.")
def bench(
    layer: tuple[str, ...],
    sizes: tuple[str, ...],
    against: str,
    target: str,
    purpose: str,
    dtype: str,
    threads: int,
    runs: int,
    seed: int,
    as_json: bool,
    plot: Path | None,
) -> int:
    """Time the backward pass beside NumPy and other libraries.

    Generated code is timed beside the staged form in NumPy (the chain rule,
    name by name), and beside libraries that differentiate the layer's formulas
    themselves. Forward values are saved; only the backward is timed. All run
    interleaved; times are medians. Gradients are compared with ours in double
    precision first, and what disagrees is not timed; the exit status is 1
    where that is ours.

    "/ limit" is the time relative to what the machine needs to move the bytes
    or take the products that no backward pass can do without; "peak" is what
    NumPy and Python allocate in one call, results included.

    \b
    Example:
      derive bench batchnorm --sizes N=8192,D=512 --target numpy,c
      derive bench layernorm --for speed
      derive bench softmax gelu --sizes ...=32,C=64 --sizes ...=8192,C=1000 --plot speed.svg
      derive bench mine.layer --against numpy,torch --json
    """
    targets = _listed(target, TARGETS, "--target")
    others = _listed(against, WAYS, "--against")
    if not targets:
        raise DeriveError("--target names nothing", hint=f"known: {', '.join(TARGETS)}")
    from derive.bench.threads import use_threads

    use_threads(threads)  # before NumPy is loaded
    from derive.bench.picture import draw, require_matplotlib

    if plot is not None:
        require_matplotlib(plot)
    from derive.bench.inputs import chosen_sizes, instance_at
    from derive.bench.machine import machine
    from derive.bench.measure import measured
    from derive.bench.peers import versions
    from derive.bench.table import to_json
    from derive.language import load_all

    layers = [item for word in layer for item in load_all(word)]
    pairs = [(item, each) for item in layers for each in chosen_sizes(layers, item, sizes)]
    for item, each in pairs:
        instance_at(item, each)  # what does not fit is said before anything is measured
    rates = machine(dtype)
    cases: list[Case] = []
    with Progress(len(pairs), "timing") as progress:
        for item, each in pairs:
            progress.begin(item.name)
            cases.append(
                measured(
                    item,
                    each,
                    machine=rates,
                    targets=targets,
                    against=others,
                    purpose=purpose,
                    dtype=dtype,
                    runs=runs,
                    seed=seed,
                )
            )
    found = versions(others)
    if plot is not None:
        draw(cases, plot, f"{rates.name}, {threads} thread{'s' * (threads > 1)}")
    if as_json:
        say(json.dumps(to_json(rates, cases, found, threads), indent=2))
    else:
        _print_tables(cases)
        listed = ", ".join(f"{name} {number}" for name, number in found.items())
        say(f"{rates}; {threads} thread{'s' * (threads > 1)}; {listed}")
        if plot is not None:
            say(f"{plot}: written")
    wrong = [(case, row) for case in cases for row in case.rows if row.ours and row.seconds is None]
    for case, row in wrong:
        complain(CheckError(f"{case.title}: {row.name} is {row.why}"))
    return 1 if wrong else 0


def _print_tables(cases: list[Case]) -> None:
    """Print a table a case, and the geometric means where there are several."""
    from rich.console import Console

    from derive.bench.table import mean_ratios, table

    console = Console(color_system="auto" if colourful(sys.stdout) else None, width=width(sys.stdout), highlight=False)
    for case in cases:
        console.print(table(case))
        console.print()
    if len(cases) > 1:
        first = cases[0].rows[0].name
        means = [f"{name} {ratio:.2f}" for name, ratio in mean_ratios(cases).items() if name != first]
        if means:
            say(f"geometric mean of {len(cases)} cases, time relative to {first}: {', '.join(means)}")
