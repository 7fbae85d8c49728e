"""``derive diagnose``: what is wrong with a backward pass in the user's own Python file."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from derive.commands.console import say
from derive.errors import DeriveError, UnknownNameError

if TYPE_CHECKING:
    from derive.diagnosis import Diagnosis

__all__ = ["command"]


@click.command("diagnose")
@click.argument("file", metavar="MINE.py", type=click.Path(path_type=Path))
@click.option("--layer", required=True, metavar="LAYER", help="What MINE.py is the backward pass of.")
@click.option("--function", metavar="NAME", help="The backward function, or Class.method. Default: the one so called.")
@click.option("--forward", metavar="NAME", help="The function that makes the cache. Default: the one so called.")
@click.option("--args", metavar="NAMES", help="What its arguments stand for, in order, e.g. x,gamma,dy or dy,cache.")
@click.option("--returns", metavar="NAMES", help="What it returns, in order, e.g. dx,dgamma,dbeta; _ for none of them.")
@click.option("--forward-args", metavar="NAMES", help="What the arguments of the forward function stand for.")
@click.option(
    "--shape",
    "shapes",
    metavar="NAME=AXES",
    multiple=True,
    help="The shape the code wants a tensor in: w=O,I (transposed), wx=I,4*H (axes joined), gamma=1,D.",
)
@click.option(
    "--set",
    "values",
    metavar="NAME=VALUE",
    multiple=True,
    help="A hyper-parameter that the code has built in: eps=1e-8.",
)
@click.option(
    "--batch", type=click.IntRange(0, 3), metavar="N", help="How many batch axes '...' is. Default: what works."
)
@click.option("--torch", is_flag=True, help="The code works on PyTorch tensors. Default: if the file imports torch.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the random inputs.")
def command(
    file: Path,
    layer: str,
    function: str | None,
    forward: str | None,
    args: str | None,
    returns: str | None,
    forward_args: str | None,
    shapes: tuple[str, ...],
    values: tuple[str, ...],
    batch: int | None,
    torch: bool,
    as_json: bool,
    seed: int,
) -> int:
    """Say what is wrong with a backward pass that you wrote by hand.

    MINE.py is your own Python file, and it is run as it is (a layer file never
    is). Its function is called with random
    numbers; gradients, and the adjoints of intermediate results that it
    returns (dxhat, dvar), are compared with the derivation's. For what is
    wrong, the program looks for a mistake that accounts for the numbers: a
    factor, a sum, a transpose, a path that is left out.

    Arguments are known by their names: the layer's parameters, hyper-parameters
    and intermediates, dy or dout for the gradient of the result, cache for what
    your forward returns. Results are known by the names in the return, by key
    or by field. Where names differ, --args and --returns say what is what.

    \b
    Example:
      derive diagnose mine.py --layer batchnorm
      derive diagnose mine.py --layer linear --args x,w,dy --returns dx,dw,db
      derive diagnose mine.py --layer linear --shape w=O,I --torch

    Exit status: 0 right, 1 wrong, 2 an error in the input.
    """
    from derive.diagnosis import diagnose
    from derive.diagnosis.code import load_module
    from derive.language import load

    item = load(layer)
    module = load_module(file)
    back, owner, name = _backward(module, file, function, item.name)
    ahead = _forward(module, file, forward, owner, item.name)
    found: Diagnosis = diagnose(
        item,
        back,
        forward=ahead,
        args=_words(args),
        returns=_words(returns),
        forward_args=_words(forward_args),
        shapes=_shapes(shapes),
        torch=torch or isinstance(getattr(module, "torch", None), ModuleType),
        batch=batch,
        owner=owner,
        title=name,
        hypers=_values(values),
        seed=seed,
    )
    say(json.dumps(found.to_json(), indent=2) if as_json else str(found))
    return 0 if found.right else 1


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _shapes(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, axes = text.partition("=")
        if not equals or not name.strip() or not axes.strip():
            raise DeriveError(
                f"--shape {text!r} is not NAME=AXES", hint="for example --shape w=O,I or --shape gamma=1,D"
            )
        found[name.strip()] = axes
    return found


def _values(texts: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise DeriveError(f"--set {text!r} is not NAME=NUMBER", hint="for example --set eps=1e-8") from None
        found[name.strip()] = int(number) if value.strip().lstrip("-").isdigit() else number
    return found


def _functions(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """Return the functions that the file itself defines, in its order."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }


def _backward(
    module: ModuleType, file: Path, name: str | None, layer: str
) -> tuple[Callable[..., Any], type | None, str]:
    """Return the backward function, the class it is a method of, and its name."""
    functions = _functions(module)
    if name is not None:
        return _named(module, file, name)
    for wish in ("backward", f"{layer}_backward", f"backward_{layer}"):
        if wish in functions:
            return functions[wish], None, wish
    near = [n for n in functions if any(word in n.lower() for word in ("backward", "bwd", "grad"))]
    if len(near) == 1:
        return functions[near[0]], None, near[0]
    classes = [v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__]
    with_backward = [c for c in classes if inspect.isfunction(vars(c).get("backward"))]
    if not near and len(with_backward) == 1:
        return _named(module, file, f"{with_backward[0].__name__}.backward")
    if len(functions) == 1:
        (only,) = functions
        return functions[only], None, only
    known = ", ".join(near or functions) or "none"
    raise DeriveError(
        f"{file}: which function is the backward pass?", hint=f"name it with --function; there are: {known}"
    )


def _named(module: ModuleType, file: Path, name: str) -> tuple[Callable[..., Any], type | None, str]:
    owner: Any = module
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part, None)
    value = getattr(owner, last, None)
    if not callable(value):
        known = ", ".join(_functions(module)) or "none"
        raise UnknownNameError(f"{file} has no function '{name}'", hint=f"its functions: {known}")
    return value, owner if inspect.isclass(owner) and inspect.isfunction(value) else None, name


def _forward(
    module: ModuleType, file: Path, name: str | None, owner: type | None, layer: str
) -> Callable[..., Any] | None:
    if name is not None:
        return _named(module, file, name)[0]
    if owner is not None:
        method: Callable[..., Any] | None = getattr(owner, "forward", None)
        return method
    functions = _functions(module)
    for wish in ("forward", f"{layer}_forward", f"forward_{layer}"):
        if wish in functions:
            return functions[wish]
    near = [n for n in functions if "forward" in n.lower()]
    return functions[near[0]] if len(near) == 1 else None
