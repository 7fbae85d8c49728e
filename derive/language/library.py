"""Where layers come from: a text, a file, the catalogue.

The catalogue is the ``.layer`` files of this package. To find one layer its
files are searched for ``def NAME(`` and one of them is parsed; only the layer
asked for, and what it calls, is resolved.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from derive.errors import DeriveError, LayerSyntaxError, UnknownNameError
from derive.language.calls import Layers
from derive.language.grammar import definition, definitions
from derive.language.layer import Layer
from derive.language.reader import Text, decode, read
from derive.language.resolve import resolve
from derive.language.scope import nearest
from derive.language.tree import Name

__all__ = ["Library", "catalogue", "load", "load_all", "parse", "parse_all"]

_FOLDER = Path(__file__).resolve().parent.parent / "layers"
_DEF = re.compile(r"^def[ \t]+(\w+)[ \t]*\(", re.MULTILINE)


class Library:
    """The layers of one text, each resolved once, when it is asked for.

    Args:
        nodes: the ``def``s by name.
        text: where they stand.
        decorated: whether decorators are allowed.
        known: further layers by name, which hide the catalogue's.
    """

    def __init__(
        self,
        nodes: Mapping[str, ast.FunctionDef],
        text: Text,
        decorated: bool = False,
        known: Mapping[str, Layer] | None = None,
    ) -> None:
        self._nodes = nodes
        self._text = text
        self._decorated = decorated
        self._known = known or {}
        self._resolved: dict[str, Layer] = {}
        self._open: list[str] = []

    def layer(self, name: str) -> Layer:
        """Return one of its layers.

        Raises:
            DeriveError: the layer, or one it calls, is wrong.
        """
        if name not in self._resolved:
            self._open.append(name)
            try:
                tree = definition(self._nodes[name], self._text, self._decorated)
                own = (*self._nodes, *self._known)
                self._resolved[name] = resolve(tree, Layers(own, self._own, _other, catalogue))
            except RecursionError:
                raise LayerSyntaxError(
                    f"layer '{name}' is too deeply nested",
                    self._text.span(self._nodes[name]),
                    "give parts of the formula names of their own, or call fewer layers through one another",
                ) from None
            finally:
                self._open.pop()
        return self._resolved[name]

    def layers(self) -> tuple[Layer, ...]:
        """Return all of its layers, in order."""
        return tuple(self.layer(name) for name in self._nodes)

    def _own(self, name: Name) -> Layer:
        if name.id in self._known and name.id not in self._nodes:
            return self._known[name.id]
        if name.id in self._open:
            path = " → ".join((*self._open[self._open.index(name.id) :], name.id))
            raise LayerSyntaxError(f"layer '{name.id}' calls itself", name.at, f"layers do not call themselves: {path}")
        return self.layer(name.id)


def _library(text: str, filename: str) -> Library:
    module, place = read(text, filename)
    return Library(definitions(module, place), place)


def parse(text: str, name: str | None = None, filename: str = "<string>") -> Layer:
    """Return a layer of a text: the one of that name, or the last.

    Args:
        text: one or more ``def``s in the layer language.
        name: which of them.
        filename: what error messages call the text.

    Raises:
        DeriveError: the text, or the layer, is wrong.
    """
    library = _library(text, filename)
    if name is None:
        return library.layers()[-1]
    return _named(library, name, filename)


def parse_all(text: str, filename: str = "<string>") -> tuple[Layer, ...]:
    """Return every layer of a text, in order.

    Raises:
        DeriveError: the text, or the first wrong layer in it, is wrong.
    """
    return _library(text, filename).layers()


def _named(library: Library, name: str, filename: str) -> Layer:
    names = tuple(library._nodes)
    if name not in names:
        near = nearest(name, names)
        raise UnknownNameError(
            f"no layer '{name}' in {filename}",
            None,
            f"did you mean '{near}'?" if near else f"it holds {', '.join(names)}",
        )
    return library.layer(name)


# The catalogue


@cache
def _index() -> dict[str, Path]:
    """Return the file of every layer of the catalogue, in order."""
    found: dict[str, Path] = {}
    for path in sorted(_FOLDER.glob("*.layer")):
        for name in _DEF.findall(path.read_text(encoding="utf-8")):
            found.setdefault(name, path)
    return found


@cache
def _catalogue_file(path: Path) -> Library:
    return _library(path.read_text(encoding="utf-8"), path.name)


def catalogue() -> tuple[str, ...]:
    """Return the names of the catalogue's layers, file by file."""
    return tuple(_index())


def _other(name: str) -> Layer | None:
    path = _index().get(name)
    return None if path is None else _catalogue_file(path).layer(name)


# References


def load(reference: str) -> Layer:
    """Return the layer that a reference means.

    Args:
        reference: a catalogue name, ``mine.layer`` (its last layer) or ``mine.layer:name``.

    Raises:
        DeriveError: there is no such layer, or it is wrong.
    """
    library, name, filename = _referred(reference)
    return library.layers()[-1] if name is None else _named(library, name, filename)


def load_all(reference: str) -> tuple[Layer, ...]:
    """Return the layers that a reference means: of ``mine.layer`` every one, else one.

    Raises:
        DeriveError: there is no such layer, or it is wrong.
    """
    library, name, filename = _referred(reference)
    return library.layers() if name is None else (_named(library, name, filename),)


def _referred(reference: str) -> tuple[Library, str | None, str]:
    if reference in _index():
        path = _index()[reference]
        return _catalogue_file(path), reference, path.name
    file, separator, name = reference.rpartition(":")
    if not separator or not name.isidentifier():
        file, name = reference, ""
    if name == "" and file.isidentifier():
        near = nearest(file, _index())
        raise UnknownNameError(
            f"no layer '{file}' in the catalogue",
            None,
            f"did you mean '{near}'?" if near else "'derive list' shows the catalogue; a file is given as mine.layer",
        )
    return _library(_file_text(file), file), name or None, file


def _file_text(file: str) -> str:
    path = Path(file)
    try:
        if path.is_dir():
            raise DeriveError(f"'{file}' is a folder", None, "give a layer file: mine.layer, or mine.layer:name")
        data = path.read_bytes()
    except FileNotFoundError:
        raise DeriveError(f"no file '{file}'", None, "give a catalogue name, mine.layer or mine.layer:name") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DeriveError(f"'{file}' can't be read: {reason.lower()}", None) from None
    return decode(data, file)
