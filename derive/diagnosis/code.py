"""The user's own functions: loaded from a file, and called with an experiment's numbers.

They are ordinary Python and are run as such. What they print goes to standard
error; what they raise becomes a :class:`Crash` with the line of their file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from derive.diagnosis.dense import Values
from derive.diagnosis.experiment import Experiment
from derive.diagnosis.forms import Derivation
from derive.diagnosis.layout import Layout
from derive.diagnosis.signature import Argument, Role, Vocabulary, arguments_of, named_results, returned_names
from derive.errors import DeriveError, UnknownNameError

__all__ = ["Answer", "Crash", "UserCode", "as_array", "load_module"]


class Crash(Exception):
    """The user's code raised: what, and where in it."""

    def __init__(self, error: BaseException, function: str) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "derive/diagnosis" not in f.filename.replace("\\", "/")]
        place = own[0] if own else None
        theirs = [f for f in own if place is not None and f.filename == place.filename]
        self.line = theirs[-1].lineno if theirs else None
        self.text = (theirs[-1].line or "") if theirs else ""
        message = (str(error).splitlines() or [""])[0]
        self.what = f"{type(error).__name__}: {message}".rstrip(": ")
        self.kind = type(error)
        self.function = function
        super().__init__(self.what)

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""
        return f"{self.function} raises {self.what}{where}" + (f" ({self.text})" if self.text else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call gave.

    Attributes:
        results: gradients and adjoints by symbol, as NumPy arrays of the user's shapes.
        written: the names of arguments that the call wrote to.
        given: the dtype of the numbers it was given.
    """

    results: Mapping[str, Values]
    written: tuple[str, ...] = ()
    given: type = np.float64


def load_module(path: Path) -> ModuleType:
    """Run a Python file and return its module.

    Raises:
        DeriveError: there is no such file, or it does not run.
    """
    if not path.is_file():
        raise DeriveError(f"no such file: {path}", hint="MINE.py is your own Python file with the backward pass")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise DeriveError(f"{path} is no Python file", hint="MINE.py is your own Python file with the backward pass")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        with _quiet():
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise DeriveError(f"{path}, line {error.lineno}: {error.msg}", hint="the file has to be Python") from None
    except (Exception, SystemExit) as error:
        crash = Crash(error, str(path))
        raise DeriveError(
            f"{crash}", hint="the file is run as it is; put what trains or prints under a main guard"
        ) from None
    finally:
        sys.path.remove(str(path.resolve().parent))
        if before is None:
            sys.modules.pop(path.stem, None)
        else:
            sys.modules[path.stem] = before
    return module


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let what is printed go to standard error, and warnings of the user's arithmetic nowhere."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


@dataclass
class UserCode:
    """A user's backward, and the forward that makes its cache.

    Attributes:
        derived: what it is compared with.
        backward: the function; where ``owner`` is a class, a method of it.
        forward: makes the cache; None where none is needed.
        title: the backward's name, for messages.
        args: names for the backward's arguments, in order; None for its own.
        returns: names for what it returns, in order; None for its own.
        forward_args: names for the forward's arguments; None for its own.
        layouts: of tensors that the code wants in another shape, by name.
        torch: whether it works on PyTorch tensors.
        owner: the class that the two are methods of.
        fixed: values of hyper-parameters that the code has built in.
    """

    derived: Derivation
    backward: Callable[..., Any]
    forward: Callable[..., Any] | None = None
    title: str = "backward"
    args: Sequence[str] | None = None
    returns: Sequence[str] | None = None
    forward_args: Sequence[str] | None = None
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    torch: bool = False
    owner: type | None = None
    fixed: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vocabulary = Vocabulary(self.derived)
        skip = self.owner is not None
        self._backward_arguments = self._arguments(self.backward, self.title, self.args, skip)
        self._returned = returned_names(self.backward)
        needs_cache = any(a.role is Role.CACHE for a in self._backward_arguments)
        if self.forward is None:
            if needs_cache:
                raise DeriveError(
                    f"{self.title} takes a cache, and there is no forward to make one",
                    hint="name your forward with --forward, or say with --args what the arguments stand for",
                )
            self._forward_arguments: tuple[Argument, ...] = ()
        elif needs_cache or skip:
            self._forward_arguments = self._arguments(self.forward, "forward", self.forward_args, skip)
        else:
            self.forward = None
            self._forward_arguments = ()

    def _arguments(
        self, function: Callable[..., Any], title: str, given: Sequence[str] | None, skip: bool
    ) -> tuple[Argument, ...]:
        if skip and given is None:
            inner = function

            def function(*args: Any, **kwargs: Any) -> Any:
                return inner(*args, **kwargs)

            signature = inspect.signature(inner)
            own = list(signature.parameters.values())[1:]
            function.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        return arguments_of(function, title, self.vocabulary, given)

    @property
    def hypers(self) -> frozenset[str]:
        """The hyper-parameters that the code is given: others have their defaults."""
        both = (*self._backward_arguments, *self._forward_arguments)
        made = arguments_of_class(self.owner, self.vocabulary) if self.owner is not None else ()
        return frozenset(a.stands_for for a in (*both, *made) if a.role is Role.HYPER)

    @property
    def unseen_cotangents(self) -> tuple[str, ...]:
        """The cotangents that the code is not given."""
        given = {a.stands_for for a in self._backward_arguments if a.role is Role.COTANGENT}
        return tuple(c for c in self.derived.cotangents.values() if c not in given)

    # Calling

    def run(self, experiment: Experiment, dtype: type = np.float64, *, calls: int = 1) -> list[Answer]:
        """Return the answers of ``calls`` calls of the backward, each with arrays of its own.

        Raises:
            Crash: the code raised.
            DeriveError: what it returned can't be told apart.
        """
        answers = []
        instance = self._instance(experiment, dtype) if self.owner is not None else None
        for _ in range(calls):
            values = self._values(experiment, dtype)
            written: list[str] = []
            with _quiet():
                cache = None
                if self.forward is not None:
                    result = self._call(self.forward, "forward", self._forward_arguments, values, None, instance)
                    cache = self._cache(result)
                before = {a.stands_for: np.array(as_array(values[a.stands_for])) for a in self._backward_arguments
                          if a.role in (Role.VALUE, Role.COTANGENT)}  # fmt: skip
                value = self._call(self.backward, self.title, self._backward_arguments, values, cache, instance)
            for name, old in before.items():
                if not np.array_equal(old, as_array(values[name]), equal_nan=True):
                    written.append(name)
            if value is None and instance is not None:
                value = dict(vars(instance))
            if value is None:
                raise DeriveError(f"{self.title} returns nothing", hint="return the gradients, as a tuple or by name")
            found = named_results(value, self.vocabulary, self.returns, self._returned)
            answers.append(Answer({s: as_array(v) for s, v in found.items()}, tuple(written), dtype))
        return answers

    def _instance(self, experiment: Experiment, dtype: type) -> Any:
        assert self.owner is not None
        values = self._values(experiment, dtype)
        arguments = arguments_of_class(self.owner, self.vocabulary)
        with _quiet():
            return self._call(self.owner, self.owner.__name__, arguments, values, None, None)

    def _values(self, experiment: Experiment, dtype: type) -> dict[str, Any]:
        """Return everything that has a name, in the user's shapes and in arrays of their own."""
        found: dict[str, Any] = {}
        instance = experiment.instance
        arrays = {**experiment.forward, **experiment.inputs, **experiment.cotangents}
        for name, array in arrays.items():
            axes = experiment.axes_of(name)
            layout = self.layout(name)
            shaped = experiment.shaped(array, axes) if layout is None else layout.given(array, instance)
            typed = shaped.astype(dtype) if shaped.dtype.kind == "f" else shaped.copy()
            found[name] = self._tensor(typed)
        found |= {name: value for name, value in instance.hypers.items() if name not in found}
        found |= {name: int(n) for name, n in instance.sizes.items() if name not in found}
        return found

    def layout(self, name: str) -> Layout | None:
        """Return the layout of a tensor or of its gradient, where one was given."""
        if name in self.layouts:
            return self.layouts[name]
        for own, symbol in self.derived.symbols.items():
            if symbol == name and own in self.layouts:
                return self.layouts[own]
        for output, cotangent in self.derived.cotangents.items():
            if cotangent == name and output in self.layouts:
                return self.layouts[output]
        return None

    def _tensor(self, array: Values) -> Any:
        if self.torch:
            import torch

            return torch.from_numpy(array) if array.ndim else torch.tensor(array.item(), dtype=_torch_dtype(array))
        return array if array.ndim else array[()]

    def _call(
        self,
        function: Callable[..., Any],
        title: str,
        arguments: Sequence[Argument],
        values: Mapping[str, Any],
        cache: Any,
        instance: Any,
    ) -> Any:
        positional = [] if instance is None else [instance]
        named = {}
        for argument in arguments:
            value = cache if argument.role is Role.CACHE else values[argument.stands_for]
            if argument.keyword:
                named[argument.name] = value
            else:
                positional.append(value)
        try:
            return function(*positional, **named)
        except (Exception, SystemExit) as error:
            raise Crash(error, title) from None

    def _cache(self, result: Any) -> Any:
        """Return the cache of what the user's forward returned: the last of ``y, cache``, or all of it."""
        if isinstance(result, (tuple, list)) and len(result) == len(self.derived.program.outputs) + 1:
            return result[-1]
        if isinstance(result, tuple) and len(result) == 2:
            return result[-1]
        return result


def arguments_of_class(owner: type | None, vocabulary: Vocabulary) -> tuple[Argument, ...]:
    """Return what the arguments of a class' constructor stand for."""
    if owner is None or "__init__" not in vars(owner):
        return ()
    return arguments_of(owner, owner.__name__, vocabulary, None)


def _torch_dtype(array: Values) -> Any:
    import torch

    return {"float64": torch.float64, "float32": torch.float32, "int64": torch.int64, "bool": torch.bool}[
        str(array.dtype)
    ]


def as_array(value: Any) -> Values:
    """Return what the user's code gave as a NumPy array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise UnknownNameError(
            f"the function returned {type(value).__name__} where an array of numbers was expected",
            hint="name its results in order with --returns",
        )
    return array
