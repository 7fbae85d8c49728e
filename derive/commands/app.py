"""The commands: they parse arguments, call one function each, and print.

Everything that costs time to import (SymPy, NumPy, Rich) is imported by the
command that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from derive import __version__
from derive.commands.bench import bench
from derive.commands.console import Progress, colourful, complain, say, width, writes
from derive.commands.diagnose import command as diagnose
from derive.errors import CheckError, DeriveError
from derive.files import PURPOSES, TARGETS

if TYPE_CHECKING:
    from derive.check import Report

__all__ = ["app", "complete_layer", "execute"]

OK, FAILED, WRONG = 0, 1, 2
"""Exit statuses: all went well; a check failed; the input is in error."""

SHELLS = ("bash", "zsh", "fish")
COLUMNS = (72, 64)
"""The widest that ``derive list`` pads a signature and a description to; a longer one moves its row's rest along."""
COMPLETE = "_DERIVE_COMPLETE"
"""The variable in which a shell's completion script says what it wants."""


def execute(argv: Sequence[str]) -> int:
    """Run one command line; print any error; return the exit status.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        BrokenPipeError: the reader of the output went away.
    """
    completing = os.environ.get(COMPLETE)
    if completing:
        return shell_complete(app, {}, "derive", COMPLETE, completing)
    try:
        # Not app.main(), which prints an empty line on Ctrl-C.
        with app.make_context("derive", list(argv)) as context:
            status = app.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return WRONG
    except click.ClickException as error:
        complain(_usage_error(error))
        return WRONG
    except CheckError as error:
        complain(error)
        return FAILED
    except DeriveError as error:
        complain(error)
        return WRONG
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from None
        complain(_file_error(error))
        return WRONG
    except Exception as error:
        if os.environ.get("DERIVE_TRACEBACK"):
            raise
        place = f"{type(error).__name__}: {error}".rstrip(": ").splitlines()[0]
        complain(
            DeriveError(
                f"derive {__version__} failed in itself ({place})",
                hint="this is a fault of the program, not of the layer: DERIVE_TRACEBACK=1 shows where, for a report",
            )
        )
        return WRONG
    return status if isinstance(status, int) else OK


def _usage_error(error: click.ClickException) -> DeriveError:
    """Return what Click found wrong with the command line, in the words of the other errors."""
    message = re.sub(r"\s*\n\s*", " ", error.format_message()).strip().removesuffix(".")
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"see {error.ctx.command_path} --help"
    return DeriveError(message[:1].lower() + message[1:], hint=hint)


def _file_error(error: OSError) -> str:
    what = (error.strerror or str(error)).lower()
    return f"{error.filename}: {what}" if error.filename else what


class App(click.Group):
    """The group of commands: in the order they are defined, with a suggestion for a misspelt one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of their definition."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        near = difflib.get_close_matches(args[0], self.commands, 1)
        if args[0] not in self.commands and not args[0].startswith("-") and near:
            ctx.fail(f"no such command '{args[0]}'; did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)


def complete_layer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the catalogue's names, or where none begins so, leave it to the shell to find a file."""
    from derive.commands.names import catalogue_names

    # Not both: in bash an item of type "file" discards the others.
    items = [CompletionItem(name) for name in catalogue_names() if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


LAYER = click.argument("layer", metavar="LAYER", shell_complete=complete_layer)
LAYERS = click.argument("layer", metavar="LAYER...", nargs=-1, required=True, shell_complete=complete_layer)
WRT = click.option(
    "--wrt",
    metavar="NAMES",
    help="Differentiate by these parameters only, e.g. x,gamma. Default: all that have a gradient.",
)


TARGET = click.option(
    "--target", type=click.Choice(TARGETS), default="numpy", show_default=True, help="What to generate for."
)
JVP = click.option("--jvp", is_flag=True, help="Jacobian-vector products too: the outputs' tangents.")
SECOND = click.option(
    "--second", is_flag=True, help="Second derivatives too: double_backward, and hvp for a scalar result."
)


PURPOSE = click.option(
    "--for",
    "purpose",
    type=click.Choice(PURPOSES),
    default="reading",
    show_default=True,
    help="What NumPy code is written for.",
)


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, "-V", "--version", message="derive %(version)s")
def app() -> None:
    """Derive the backward pass of a layer from its forward formula.

    LAYER is a name from the catalogue (batchnorm), a layer file (mine.layer,
    meaning every layer in it), or one layer of a file (mine.layer:name).

    \b
    Example:
      derive new mine               # a layer file to start from
      derive show mine.layer        # its formulas, forward and backward
      derive generate mine.layer    # generated/mine.py, checked

    Exit status: 0 all well, 1 a check failed, 2 an error in the input.
    """


@app.command("list")
def list_() -> None:
    """List the catalogue: signature, what it is, source.

    \b
    Example:
      derive list | grep norm
    """
    from derive.commands.names import catalogue_rows

    rows = catalogue_rows()
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for title, ratio in (("layer", 5), ("what it is", 4), ("source", 3)):
            table.add_column(title, ratio=ratio, overflow="fold")
        for name, parameters, what, source in rows:
            table.add_row(Text.assemble((name, "bold"), parameters), what, source)
        Console(color_system="auto" if colourful(sys.stdout) else None).print(table)
        return
    cells = [(name + parameters, what, source) for name, parameters, what, source in rows]
    widths = [min(max(len(row[i]) for row in cells), most) for i, most in enumerate(COLUMNS)]
    for signature, what, source in cells:
        say(f"{signature:<{widths[0]}}  {what:<{widths[1]}}  {source}".rstrip())


@app.command()
@LAYER
@click.option("--steps", is_flag=True, help="Show the derivation, step by step, each with its reason.")
@click.option("--cost", is_flag=True, help="Show what each way to write the backward in NumPy costs instead.")
@click.option("--sizes", metavar="SIZES", help="With --cost: at these sizes, e.g. N=8192,D=512.")
@JVP
@SECOND
@WRT
def show(
    layer: str, steps: bool, cost: bool, sizes: str | None, jvp: bool, second: bool, wrt: str | None
) -> None:
    """Show a layer's forward and backward formulas.

    With --cost, the ways in which generate can write the backward: passes over
    large arrays, multiply-adds of products, bytes read and written, bytes held
    between forward and backward and within it, NumPy calls, and the time that
    these take by constants once measured; and which way --for chooses.

    \b
    Example:
      derive show batchnorm
      derive show mine.layer:gate --steps
      derive show layernorm --cost --sizes ...=32,D=64
    """
    if sizes is not None and not cost:
        raise DeriveError("--sizes goes with --cost")
    if cost:
        _show_cost(layer, sizes, wrt, jvp=jvp, second=second)
        return
    from derive.commands.names import differentiated
    from derive.language import load_all
    from derive.pipeline import derive_program
    from derive.render.terminal import show as render

    layers = load_all(layer)
    names = differentiated(wrt, layers)
    texts = []
    for item in layers:
        program = derive_program(item, names, jvp=jvp, second=second)
        options: dict[str, Any] = {"steps": steps, "width": width(sys.stdout), "color": colourful(sys.stdout)}
        text = render(program, **options)
        texts.append(text if writes(sys.stdout, text) else render(program, **options, ascii=True))
    say("\n".join(text.removesuffix("\n") + "\n" for text in texts))


def _show_cost(layer: str, sizes: str | None, wrt: str | None, *, jvp: bool, second: bool) -> None:
    """Print what each way to write the backward of each layer costs."""
    from derive.bench.inputs import parse_sizes
    from derive.commands.names import differentiated
    from derive.language import load_all
    from derive.pipeline import ways
    from derive.tune.table import cost_table, sizes_of

    layers = load_all(layer)
    names = differentiated(wrt, layers)
    given = parse_sizes(sizes) if sizes is not None else {}
    texts = []
    for item in layers:
        at = sizes_of(item, given)
        texts.append(cost_table(item, ways(item, names, at, jvp=jvp, second=second)[0], at))
    say("\n\n".join(texts))


@app.command()
@LAYER
@click.option("--steps", is_flag=True, help="The derivation, step by step, each with its reason.")
@click.option("--standalone", is_flag=True, help="A whole document, ready to compile.")
@JVP
@SECOND
@WRT
def latex(layer: str, steps: bool, standalone: bool, jvp: bool, second: bool, wrt: str | None) -> None:
    """Print a layer's formulas as LaTeX.

    \b
    Example:
      derive latex batchnorm --steps --standalone > batchnorm.tex
    """
    from derive.commands.names import differentiated
    from derive.language import load_all
    from derive.pipeline import derive_program
    from derive.render.latex import latex as render

    layers = load_all(layer)
    names = differentiated(wrt, layers)
    if standalone and len(layers) > 1:
        raise DeriveError(
            f"--standalone makes a document of one layer, and {layer} holds {len(layers)}",
            hint=f"name one of them, e.g. {layer}:{layers[0].name}",
        )
    programs = [derive_program(item, names, jvp=jvp, second=second) for item in layers]
    say("\n".join(render(program, steps=steps, standalone=standalone) for program in programs))


@app.command()
@LAYERS
@TARGET
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("generated"),
    show_default=True,
    help="The folder to write to; made where it is missing.",
)
@click.option("--calls", is_flag=True, help="Keep calls of layers as calls; their modules are written beside.")
@click.option("--stages", is_flag=True, help="backward returns the adjoint of every intermediate result too.")
@PURPOSE
@JVP
@SECOND
@WRT
def generate(
    layer: tuple[str, ...],
    target: str,
    out: Path,
    calls: bool,
    stages: bool,
    purpose: str,
    jvp: bool,
    second: bool,
    wrt: str | None,
) -> None:
    """Write OUT/NAME.py for each layer, checked.

    Every module is built and checked before the first is put in place: where
    one fails, none is written. A file that derive did not make is never
    overwritten.

    A layer that calls others (h = linear(x, w, b)) is written out to one
    module that stands alone, in closed form across the calls. With --calls it
    is made of them: forward calls linear.forward, backward linear.backward,
    and OUT/linear.py is written too, with all its gradients.

    With --stages, backward goes step by step, as one does by hand, and returns
    the adjoint of every intermediate result after the gradients (g.dxhat,
    g.dvar), for each of your own to be compared with.

    With --for speed, NumPy code does as few passes over large arrays as it can,
    in blocks of rows that stay in the cache; with --for memory, it saves and
    holds as little as it can. derive show --cost says what each way costs.

    With --target c, OUT/NAME.c and NAME.h hold the same in C11, for any build,
    and OUT/NAME_c.py has the interface of the NumPy module: it compiles the C
    when it is first called, by cc, gcc, clang, ziglang or $CC, with the help of
    OUT/_compiled.py and _compiled.c, and keeps the result in the user's cache
    folder.

    \b
    Example:
      derive generate batchnorm
      derive generate batchnorm --stages --out staged
      derive generate layernorm --for speed
      derive generate layernorm gelu --target c
      derive generate mine.layer linear --out src/layers --wrt x
      derive generate transformer_encoder_block --calls
      derive generate mse_loss --jvp --second
    """
    from derive.commands.names import differentiated
    from derive.files import generate as write
    from derive.files import planned
    from derive.language import load_all

    layers = [item for word in layer for item in load_all(word)]
    names = differentiated(wrt, layers)
    with Progress(len(planned(layers, calls=calls))) as progress:
        written = write(
            *layers,
            out=out,
            target=target,
            wrt=names,
            calls=calls,
            jvp=jvp,
            second=second,
            purpose=purpose,
            stages=stages,
            begin=lambda item: progress.begin(item.name),
        )
    alone = {item.name for item in layers if calls and not item.calls}
    for module in written:
        note = "; it calls no layer" if module.path.stem in alone else ""
        say(f"{module.path}: {'written' if module.changed else 'unchanged'}, checked{note}")


@app.command()
@LAYERS
@click.option("--json", "as_json", is_flag=True, help="The results as JSON.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs.")
@click.option("--accuracy", is_flag=True, help="Measure the errors of the code against multiprecision instead.")
@click.option("--each-step", is_flag=True, help="Compare every step of the derivation with what stood before instead.")
@click.option(
    "--plot",
    "picture",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --accuracy: draw error against input (.png, .svg, .pdf; needs matplotlib).",
)
@TARGET
@PURPOSE
@JVP
@SECOND
@WRT
def check(
    layer: tuple[str, ...],
    as_json: bool,
    seed: int,
    target: str,
    purpose: str,
    accuracy: bool,
    each_step: bool,
    picture: Path | None,
    jvp: bool,
    second: bool,
    wrt: str | None,
) -> int:
    """Check formulas and code by independent evaluation.

    Formulas are compared with finite differences in multiprecision, generated
    code with finite differences in double precision and with the formulas in
    float64 and float32. The exit status is 1 where one disagrees.

    --accuracy measures instead how accurate the code is: elementwise layers in
    units in the last place, from the smallest number to the largest (at most 4
    forward and 8 backward where the result is a normal number), others
    relative to the largest element of each result.

    --each-step evaluates every equation of the derivation on random inputs: the
    forward made stable, the chain rule, each simplification, the program, the
    code. The first that differs from what stood before it is named.

    \b
    Example:
      derive check batchnorm
      derive check mine.layer --json
      derive check batchnorm --target c          # the compiled code
      derive check layernorm --for speed
      derive check --accuracy gelu --plot gelu.svg
      derive check --each-step batchnorm
    """
    from derive.commands.names import differentiated
    from derive.language import load_all
    from derive.pipeline import inspect

    if picture is not None and not accuracy:
        raise DeriveError("--plot draws what --accuracy measures", hint="add --accuracy")
    if purpose != "reading" and (target != "numpy" or accuracy or each_step):
        raise DeriveError("--for is of the code for numpy, checked for what it gives", hint="leave out --for")
    layers = [item for word in layer for item in load_all(word)]
    names = differentiated(wrt, layers)
    if accuracy or each_step:
        from derive.commands.trust import check_accuracy, check_each_step

        option = "--accuracy" if accuracy else "--each-step"
        if accuracy and each_step:
            raise DeriveError("--accuracy and --each-step are two checks", hint="run one after the other")
        if target != "numpy":
            raise DeriveError(f"{option} looks at the target numpy", hint="leave out --target")
        if jvp or second:
            raise DeriveError(f"{option} looks at forward and backward alone", hint="leave out --jvp and --second")
        if each_step:
            return OK if check_each_step(layers, names, seed, as_json=as_json) else FAILED
        return OK if check_accuracy(layers, names, seed, as_json=as_json, picture=picture) else FAILED
    reports = []
    with Progress(len(layers)) as progress:
        for item in layers:
            progress.begin(item.name)
            _, report = inspect(item, names, seed, target=target, jvp=jvp, second=second, purpose=purpose)
            reports.append(report)
    if as_json:
        results = [report.to_json() for report in reports]
        say(json.dumps({"passed": all(report.passed for report in reports), "layers": results}, indent=2))
    else:
        _print_tables(reports)
    failed = [report for report in reports if not report.passed]
    for report in failed:
        what = f"{report.layer}: {len(report.failures)} of {len(report.rows)} comparisons fail"
        complain(CheckError(what, hint=report.failure()))
    return FAILED if failed else OK


def _print_tables(reports: Sequence[Report]) -> None:
    """Print one table a report."""
    from derive.check.report import table
    from derive.commands.trust import print_tables

    print_tables([table(report) for report in reports])


app.add_command(diagnose)
app.add_command(bench)


@app.command()
@click.argument("name")
def new(name: str) -> None:
    """Write NAME.layer, a commented layer file to start from.

    \b
    Example:
      derive new mine && derive generate mine.layer
    """
    from derive.commands.start import start

    path = start(name)
    say(f"{path}: written; next: derive show {path}")


@app.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands and layer names with Tab.

    \b
    Example:
      eval "$(derive completion bash)"      # in ~/.bashrc; zsh alike
      derive completion fish > ~/.config/fish/completions/derive.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    say(kind(app, {}, "derive", COMPLETE).source())
