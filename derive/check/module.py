"""Run the text of a generated module.

module = GeneratedModule("batchnorm", text)
call = module.run(sample, np.float32)
call.outputs["y"], call.gradients["dx"]

A module of several files (in C) is given by their texts, by name; they are
written to a temporary folder, which it is run from.
"""

from __future__ import annotations

import builtins
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.algebra.nodes import Kind
from derive.check.instance import Array, Instance
from derive.check.samples import Sample
from derive.errors import DeriveError
from derive.language.layer import Layer

__all__ = ["Call", "GeneratedModule", "Inputs", "Values", "arrays_in", "dense", "inputs_of", "require_compiler"]

Values = NDArray[Any]
Inputs = dict[str, Values]

_DTYPES: dict[Kind, type[np.generic]] = {Kind.INT: np.int64, Kind.BOOL: np.bool_}


def dense(array: Array, shape: tuple[int, ...], dtype: Any) -> Values:
    """Return the numbers as an array of that shape, numbers of any context among them."""
    result = np.empty(shape, dtype)
    for key, value in array.items():
        result[Instance.position(key)] = value
    return result


def inputs_of(layer: Layer, sample: Sample, dtype: Any) -> tuple[Inputs, Inputs]:
    """Return the inputs and the cotangents as arrays, real ones of that dtype."""
    instance = sample.instance
    inputs = {
        p.name: dense(sample.inputs[p.name], instance.shape(p.axes), _DTYPES.get(p.kind, dtype))
        for p in layer.parameters
    }
    cotangents = {
        f"d{name}": dense(sample.cotangents[f"d{name}"], instance.shape(layer.axes(name)), dtype)
        for name in layer.returns
    }
    return inputs, cotangents


@dataclass(frozen=True, slots=True)
class Call:
    """What one forward and backward gave, by name."""

    outputs: dict[str, Values]
    cache: Any
    gradients: dict[str, Values]


class GeneratedModule:
    """A generated module, executed in a namespace of its own.

    Args:
        layer: what it is of.
        text: of the module; of one of several files, the texts of all, by name: that of the layer itself ends in
            ``_c.py``.
        modules: the texts of the modules beside it, which it may import, by name.
        stages: the fields of what backward returns that are no gradients.

    Attributes:
        names: its namespace.
        called: the namespaces of the modules that it and they have imported, each once.
    """

    def __init__(
        self,
        layer: Layer,
        text: str | Mapping[str, str],
        modules: Mapping[str, str] | None = None,
        stages: Iterable[str] = (),
    ) -> None:
        self._layer = layer
        self._stages = frozenset(stages)
        if isinstance(text, str):
            folder, name = _Folder(modules or {}), layer.name
        else:
            folder, name = _folder_of(text), f"{layer.name}_c"
            text = text[f"{name}.py"]
        self.names: dict[str, Any] = folder.executed(name, text).__dict__
        self.called: tuple[dict[str, Any], ...] = tuple(module.__dict__ for module in folder.loaded.values())

    def forward(self, inputs: Mapping[str, Values], instance: Instance) -> tuple[dict[str, Values], Any]:
        """Return the outputs by name, and the cache."""
        result, cache = self.names["forward"](*inputs.values(), **instance.hypers)
        results = result if len(self._layer.returns) > 1 else (result,)
        return dict(zip(self._layer.returns, results, strict=True)), cache

    def backward(self, cotangents: Mapping[str, Values], cache: Any) -> dict[str, Values]:
        """Return the gradients by the names of their fields."""
        found = self.all_adjoints(cotangents, cache)
        return {name: value for name, value in found.items() if name not in self._stages}

    def all_adjoints(self, cotangents: Mapping[str, Values], cache: Any) -> dict[str, Values]:
        """Return everything that backward returns, by the names of the fields."""
        found: dict[str, Values] = self.names["backward"](*cotangents.values(), cache)._asdict()
        return found

    @property
    def takes_out(self) -> bool:
        """Whether backward writes gradients to arrays that it is given."""
        return "_into" in self.names

    def backward_into(self, cotangents: Mapping[str, Values], cache: Any, out: Any) -> dict[str, Values]:
        """Return everything that backward returns, by the names of the fields, written to arrays that are given."""
        found: dict[str, Values] = self.names["backward"](*cotangents.values(), cache, out=out)._asdict()
        return found

    def run(self, inputs: Mapping[str, Values], cotangents: Mapping[str, Values], instance: Instance) -> Call:
        """Return what forward and then backward give."""
        outputs, cache = self.forward(inputs, instance)
        return Call(outputs, cache, self.backward(cotangents, cache))

    def pairing(self, inputs: Mapping[str, Values], cotangents: Mapping[str, Values], instance: Instance) -> Any:
        """Return ``⟨dy, y⟩`` for these inputs, from forward alone."""
        outputs, _ = self.forward(inputs, instance)
        return sum((cotangents[f"d{name}"] * y).sum() for name, y in outputs.items())


class _Folder(ModuleType):
    """A package of modules that are no files: ``from . import linear`` gives the module of a text.

    Nothing is put where other imports would find it.

    Args:
        texts: of the modules, by name.
        place: the folder that they take for theirs.
    """

    def __init__(self, texts: Mapping[str, str], place: Path | None = None) -> None:
        super().__init__("generated")
        self._texts, self._place = texts, place
        self.loaded: dict[str, ModuleType] = {}

    def executed(self, name: str, text: str) -> ModuleType:
        """Return the module of a text, whose relative imports are from this folder."""
        module = ModuleType(name)
        module.__dict__["__package__"] = self.__name__
        if self._place is not None:
            module.__dict__["__file__"] = str(self._place / f"{name}.py")
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._imported}
        exec(compile(text, f"{name}.py", "exec"), module.__dict__)  # the text is the program's own
        return module

    def _imported(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what ``import`` does: a relative import is from this folder, any other as ever."""
        if level == 0:
            return builtins.__import__(name, globals, locals, fromlist, level)
        for wanted in fromlist:
            if wanted not in self.loaded:
                if wanted not in self._texts:
                    raise ImportError(f"there is no module {wanted!r} beside this one")
                self.loaded[wanted] = self.executed(wanted, self._texts[wanted])
                setattr(self, wanted, self.loaded[wanted])
        return self


def _folder_of(files: Mapping[str, str]) -> _Folder:
    """Return the folder of files that are written to a temporary one."""
    place = Path(tempfile.mkdtemp(prefix="derive-check-"))
    modules = {Path(name).stem: text for name, text in files.items() if name.endswith(".py")}
    folder = _Folder(modules, place)
    weakref.finalize(folder, shutil.rmtree, place, ignore_errors=True)
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8")
    return folder


def require_compiler(files: Mapping[str, str]) -> None:
    """Find the C compiler that the files of a layer in C would be compiled by.

    Raises:
        DeriveError: there is none.
    """
    compiled = _Folder({}).executed("_compiled", files["_compiled.py"]).__dict__
    try:
        compiled["compiler"]()
    except compiled["CompilerError"]:
        raise DeriveError(
            "the target c is checked by running it, and no C compiler was found",
            hint="install gcc or clang, or `pip install ziglang`, or set CC to the command of one",
        ) from None


def arrays_in(value: Any) -> Iterator[Values]:
    """Yield every array, and every NumPy scalar, in nested tuples, lists and dictionaries."""
    if isinstance(value, (np.ndarray, np.generic)):
        yield value  # type: ignore[misc]  # a scalar has an array's methods
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from arrays_in(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from arrays_in(inner)
