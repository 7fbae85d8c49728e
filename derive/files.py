"""Put generated modules in place: checked before, and whole or not at all.

    >>> from derive import generate, load
    >>> generate(load("batchnorm"), load("linear"), out="generated")

Every layer is built and checked before the first file appears. Each file is
written beside its target under another name and then renamed onto it, so a
reader (or a crash) never sees half a file. ``generated/`` needs no
``__init__.py``: without one it is a namespace package, and ``from
generated.batchnorm import forward`` works from the folder above it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from derive.errors import DeriveError

if TYPE_CHECKING:
    from derive.check import Report
    from derive.language.layer import Layer

__all__ = ["MADE_BY", "PURPOSES", "TARGETS", "Written", "create", "generate", "planned", "put_in_place"]

MADE_BY = "Made by derive"
"""Stands in the header of every generated module; a file without it is somebody's own."""


TARGETS = ("numpy", "c")
"""What modules can be generated for."""


PURPOSES = ("reading", "speed", "memory")
"""What NumPy code can be written for."""


@dataclass(frozen=True, slots=True)
class Written:
    """A module that was put in place.

    Attributes:
        path: of the Python module.
        report: how its check went.
        changed: whether the module, or a file that belongs to it, is new or differs from what was there.
    """

    path: Path
    report: Report
    changed: bool


def generate(
    *layers: Layer,
    out: str | os.PathLike[str] = "generated",
    target: str = "numpy",
    wrt: Sequence[str] | None = None,
    calls: bool = False,
    jvp: bool = False,
    second: bool = False,
    purpose: str = "reading",
    stages: bool = False,
    begin: Callable[[Layer], object] | None = None,
) -> tuple[Written, ...]:
    """Build and check each layer's module, then write them all as ``out/NAME.py``.

    In C they are ``out/NAME.c``, ``NAME.h`` and ``NAME_c.py``, beside which a
    NumPy module has its place, and ``_compiled.py`` and ``_compiled.c``, which all share.

    Args:
        layers: one module each; with ``calls``, one for each layer that they call, too.
        out: the folder, made where it is missing.
        target: what to generate for, one of ``TARGETS``.
        wrt: the parameters to differentiate by; all of kind Real, Positive or Unit by default.
            A layer that another one calls has all its gradients.
        calls: whether calls of layers stay calls, of the modules beside; otherwise they are written out.
        jvp: whether the modules have a ``jvp`` too: the outputs' tangents along given ones of the parameters.
        second: whether they have a ``double_backward`` too, and for a scalar result an ``hvp``.
        purpose: what NumPy code is written for: ``"reading"``, ``"speed"`` or ``"memory"``.
        stages: whether backward returns the adjoint of every intermediate result too; NumPy alone,
            and nothing of the other options.
        begin: called with each layer before work on it begins.

    Raises:
        CheckError: a module disagrees with the mathematics; nothing is written.
        DeriveError: the target is unknown, a layer cannot be derived, two layers
            have one name, or a file is there that derive did not make; nothing is written.
        OSError: the folder cannot be written to.
    """
    from derive.pipeline import build

    if target not in TARGETS:
        raise DeriveError(f"unknown target '{target}'", hint=f"known: {', '.join(TARGETS)}")
    if purpose not in PURPOSES:
        raise DeriveError(f"code is not written for '{purpose}'", hint=f"known: {', '.join(PURPOSES)}")
    if purpose != "reading" and target != "numpy":
        raise DeriveError(f"the target {target} has one way of writing code", hint="leave out --for")
    if stages and (target != "numpy" or calls or jvp or second or purpose != "reading"):
        raise DeriveError("stages are written as NumPy code to be read", hint="leave out the other options")
    folder = Path(out)
    paths: dict[Path, Layer] = {}
    for layer in planned(layers, calls=calls):
        path = folder / module_file(layer.name, target)
        if path in paths:
            raise DeriveError(
                f"two layers are called '{layer.name}': both would be {path}",
                layer.span,
                "generate them into different folders with --out",
            )
        _refuse_foreign(path)
        paths[path] = layer
    called = {call.layer.name for layer in paths.values() for call in layer.calls} if calls else set()
    texts: dict[Path, str] = {}
    reports: list[Report] = []
    owned: dict[Path, list[Path]] = {}
    for path, layer in paths.items():
        if begin is not None:
            begin(layer)
        modules = {known.stem: text for known, text in texts.items()} if calls else None
        own = None if layer.name in called else wrt
        if stages:
            from derive.stages import build_stages

            built: str | dict[str, str]
            built, report = build_stages(layer, own)
        else:
            built, report = build(layer, target, own, modules=modules, jvp=jvp, second=second, purpose=purpose)
        files = {path.name: built} if isinstance(built, str) else built
        owned[path] = [folder / name for name in files]
        texts |= {folder / name: text for name, text in files.items()}
        reports.append(report)
    for path in texts:
        _refuse_foreign(path)
    changed = {path: _read(path) != text for path, text in texts.items()}
    put_in_place({path: text for path, text in texts.items() if changed[path]})
    news = [any(changed[each] for each in owned[path]) for path in paths]
    return tuple(Written(*each) for each in zip(paths, reports, news, strict=True))


def module_file(layer: str, target: str) -> str:
    """Return the name of the Python module of a layer for a target."""
    if target == "c":
        from derive.render.c_python import module_name

        return f"{module_name(layer)}.py"
    return f"{layer}.py"


def planned(layers: Sequence[Layer], *, calls: bool) -> tuple[Layer, ...]:
    """Return the layers that get a module, in the order in which they are built.

    With ``calls``, that of each layer that is called comes before its callers'.

    Raises:
        DeriveError: two different layers have one name.
    """
    if not calls:
        return tuple(layers)
    from derive.calculus.calls import callees

    found: list[Layer] = []
    for layer in layers:
        found += [each for each in (*callees(layer), layer) if each not in found]
    return tuple(found)


def put_in_place(texts: Mapping[Path, str]) -> None:
    """Write each text to its path: all to temporary files first, on the disk, then renamed one by one.

    Raises:
        OSError: a folder or file cannot be written; it names the path, and the temporary files are removed.
    """
    with contextlib.ExitStack() as leftovers:
        pairs = []
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with _named(path.parent):
                descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
            temporary = Path(name)
            leftovers.callback(temporary.unlink, missing_ok=True)
            with _named(path), os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # a machine that stops after the renames must not leave empty files
            with _named(path):
                temporary.chmod(_mode(path))
            pairs.append((temporary, path))
        for temporary, path in pairs:
            with _named(path):
                temporary.replace(path)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let an error speak of what the user knows, not of a temporary file."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def create(path: Path, text: str) -> None:
    """Write a file that must not be there yet.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written; none is left behind.
    """
    with path.open("x", encoding="utf-8", newline="\n") as file:
        try:
            file.write(text)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _mode(path: Path) -> int:
    """Return the permissions of the file that is replaced, or those a new file gets."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _read(path: Path) -> str | None:
    """Return what the file says, or None where there is none that can be read as text."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _refuse_foreign(path: Path) -> None:
    """Raise where the path is a file that derive did not make: it may be a user's own work."""
    if path.is_dir():
        raise DeriveError(f"{path} is a directory")
    if path.exists() and MADE_BY not in (_read(path) or ""):
        raise DeriveError(
            f"{path} was not made by derive and is left as it is",
            hint="move it away, or generate into another folder with --out",
        )
