"""What the arguments and results of a user's function stand for, by their names.

``backward(dout, cache)`` takes the cotangent of the output and what the user's
own forward gave second; ``dx, dgamma = …`` or ``{"dx": …}`` are gradients. A
name is looked for as it is, then without capitals and underscores, then among
the words that people have for cotangents and caches.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from derive.algebra.nodes import BATCH_SIZE
from derive.diagnosis.forms import Derivation
from derive.errors import DeriveError, UnknownNameError

__all__ = ["CACHES", "Argument", "Role", "Vocabulary", "arguments_of", "returned_names"]

CACHES = ("cache", "ctx", "context", "saved", "tape", "residuals", "intermediates")
_COTANGENTS = (
    "dy", "dout", "dl", "gradout", "gradoutput", "gradoutputs", "grady", "grad", "upstream", "g", "douts", "doutput",
    "dldy", "dldout", "gout", "delta", "ybar",
)  # fmt: skip


class Role(Enum):
    """What an argument stands for."""

    VALUE = "value"
    COTANGENT = "cotangent"
    HYPER = "hyper-parameter"
    SIZE = "size"
    CACHE = "cache"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of the user's function.

    Attributes:
        name: in the function.
        role: of it.
        stands_for: the layer's name for it; "" for a cache.
        keyword: whether it can be given by its name only.
    """

    name: str
    role: Role
    stands_for: str
    keyword: bool = False


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


class Vocabulary:
    """The names that a derivation knows."""

    def __init__(self, derived: Derivation) -> None:
        layer = derived.layer
        self.derived = derived
        self.roles: dict[str, Role] = dict.fromkeys(derived.cotangents.values(), Role.COTANGENT)
        self.roles |= {p.name: Role.VALUE for p in layer.parameters}
        self.roles |= {h.name: Role.HYPER for h in layer.hypers}
        self.roles |= {s.name: Role.VALUE for s in derived.forward if s.name not in self.roles}
        sizes = [s.name for s in layer.sizes if s != BATCH_SIZE] + [d.size.name for d in layer.derived]
        self.roles |= {name: Role.SIZE for name in sizes if name not in self.roles}
        self.results: dict[str, str] = {}
        for name, symbol in derived.symbols.items():
            self.results[symbol] = symbol
            self.results.setdefault(f"d{name}", symbol)

    def argument(self, word: str) -> tuple[Role, str] | None:
        """Return what an argument called ``word`` stands for, or None."""
        if word in self.roles:
            return self.roles[word], word
        if word in CACHES:
            return Role.CACHE, ""
        plain = _plain(word)
        same = [name for name in self.roles if _plain(name) == plain]
        if len(same) == 1:
            return self.roles[same[0]], same[0]
        outputs = list(self.derived.cotangents.items())
        if len(outputs) == 1 and plain in _COTANGENTS:
            return Role.COTANGENT, outputs[0][1]
        for output, cotangent in outputs:
            if plain in {f"d{_plain(output)}", f"grad{_plain(output)}", f"{_plain(output)}grad"}:
                return Role.COTANGENT, cotangent
        return None

    def result(self, word: str) -> str | None:
        """Return the symbol of the gradient or adjoint called ``word`` (``dx``, ``grad_x``), or None."""
        if word in self.results:
            return self.results[word]
        plain = _plain(word)
        for prefix in ("dldl", "dlossd", "dld", "gradof", "grad", "d"):
            if plain.startswith(prefix):
                wanted = f"d{plain.removeprefix(prefix)}"
                same = {symbol for name, symbol in self.results.items() if _plain(name) == wanted}
                if len(same) == 1:
                    return same.pop()
        if plain.endswith("grad"):
            return self.result(f"d{plain.removesuffix('grad')}")
        return None

    def field(self, word: str) -> str | None:
        """Return what a key or attribute ``word`` of a result stands for: ``dx``, or ``x`` itself."""
        return self.result(word) or self.result(f"d{word}")

    def unknown_argument(self, word: str, function: str) -> UnknownNameError:
        """Return the error for an argument that stands for nothing known."""
        near = difflib.get_close_matches(word, self.roles, 1)
        known = ", ".join([*self.roles, "cache"])
        hint = "say what the arguments stand for with --args, one name an argument, in order"
        hint += f"; did you mean '{near[0]}'?" if near else f"; known: {known}"
        layer = self.derived.layer.name
        return UnknownNameError(f"argument '{word}' of {function} stands for nothing of layer '{layer}'", hint=hint)

    def unknown_result(self, word: str) -> UnknownNameError:
        """Return the error for a result that is no gradient and no adjoint."""
        near = difflib.get_close_matches(word, self.results, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(dict.fromkeys(self.results.values()))}"
        return UnknownNameError(f"'{word}' is no gradient of layer '{self.derived.layer.name}'", hint=hint)


def arguments_of(
    function: Callable[..., Any], title: str, vocabulary: Vocabulary, given: Sequence[str] | None
) -> tuple[Argument, ...]:
    """Return what the arguments of a function stand for.

    Args:
        function: the user's.
        title: its name, for messages.
        vocabulary: the layer's names.
        given: names that stand for the arguments, in order; None to go by the function's own.

    Raises:
        DeriveError: an argument without a default stands for nothing that is known.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    if given is not None:
        found = []
        for word in given:
            meant = vocabulary.argument(word)
            if meant is None:
                raise vocabulary.unknown_argument(word, title)
            found.append(Argument(word, *meant))
        return tuple(found)
    found = []
    positional = True
    for p in parameters:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            positional = positional and p.kind is not p.VAR_POSITIONAL
            continue
        meant = vocabulary.argument(p.name)
        own = meant is not None and vocabulary.derived.layer.parameter(meant[1]) is not None
        if meant is not None and meant[0] is Role.VALUE and p.default is None and not own:
            meant = None  # backward(dy, cache, out=None): optional, and nothing that a backward must be given
        if meant is None:
            if p.default is p.empty:
                raise vocabulary.unknown_argument(p.name, title)
            positional = False
            continue
        found.append(Argument(p.name, *meant, keyword=p.kind is p.KEYWORD_ONLY or not positional))
    return tuple(found)


def returned_names(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Return the names in the last ``return a, b`` of a function's source, or None."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    body = next((node for node in tree.body if isinstance(node, ast.FunctionDef)), None)
    returns = list(_own(body.body)) if body is not None else []
    for node in reversed(returns):
        if isinstance(node.value, ast.Tuple) and all(isinstance(e, ast.Name) for e in node.value.elts):
            return tuple(e.id for e in node.value.elts if isinstance(e, ast.Name))
        if isinstance(node.value, ast.Name):
            return (node.value.id,)
    return None


def _own(body: Iterable[ast.stmt]) -> Iterable[ast.Return]:
    """Yield the returns of a function, not those of functions in it."""
    for node in body:
        if isinstance(node, ast.Return):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for field in ("body", "orelse", "finalbody"):
                yield from _own(getattr(node, field, ()))


def named_results(
    value: Any, vocabulary: Vocabulary, given: Sequence[str] | None, names: Sequence[str] | None
) -> Mapping[str, Any]:
    """Return what a function returned, by the symbols of gradients and adjoints.

    Args:
        value: a mapping, a NamedTuple, an object with attributes, a sequence, or one array.
        vocabulary: the layer's names.
        given: names for the places of a sequence, ``_`` for one to skip; None for none.
        names: those that the function's own ``return`` has.

    Raises:
        DeriveError: what was returned can't be told apart.
    """
    wanted = [vocabulary.derived.symbols[p] for p, _ in vocabulary.derived.program.gradients]
    if given is not None:
        items = list(value.values()) if isinstance(value, Mapping) else _sequence(value)
        if len(items) != len(given):
            raise DeriveError(
                f"the function returned {len(items)} results, and --returns names {len(given)}",
                hint="one name a result, in order; _ for one that is no gradient",
            )
        found: dict[str, Any] = {}
        for word, item in zip(given, items, strict=True):
            if not re.fullmatch("_*", word):
                symbol = vocabulary.field(word)
                if symbol is None:
                    raise vocabulary.unknown_result(word)
                found[symbol] = item
        return found
    fields = _fields(value)
    if fields is not None:
        found = {}
        for key, item in fields.items():
            symbol = vocabulary.field(str(key))
            if symbol is not None and item is not None:
                found[symbol] = item
        for key, item in fields.items():  # gradients and stages in records of their own
            if vocabulary.field(str(key)) is None and (inner := _fields(item)) is not None:
                found |= {s: v for k, v in inner.items() if (s := vocabulary.field(str(k))) is not None}
        if not found:
            raise DeriveError(
                f"none of what the function returned ({', '.join(map(str, fields))}) is a gradient of the layer",
                hint=f"expected {', '.join(wanted)}; --returns names the results in order",
            )
        return found
    items = _sequence(value)
    if names is not None and len(names) == len(items):
        symbols = [vocabulary.result(word) for word in names]
        if any(symbols) and len({s for s in symbols if s}) == sum(map(bool, symbols)):
            unclear = [n for n, s in zip(names, symbols, strict=True) if s is None]
            if not unclear or len(items) != len(wanted):
                return {s: item for s, item in zip(symbols, items, strict=True) if s is not None}
    if len(items) != len(wanted):
        raise DeriveError(
            f"the function returned {len(items)} results, and the layer has {len(wanted)} gradients",
            hint=f"say which they are, in order: --returns {','.join(wanted)} (_ for one that is none of them)",
        )
    return dict(zip(wanted, items, strict=True))


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Return the fields of a mapping, a NamedTuple or an object with attributes; None for arrays and sequences."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "_asdict"):
        fields: Mapping[str, Any] = value._asdict()
        return fields
    if isinstance(value, (tuple, list)) or hasattr(value, "shape") or isinstance(value, (int, float, complex)):
        return None
    return vars(value) if hasattr(value, "__dict__") else None


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]
