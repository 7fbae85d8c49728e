"""Random layers in the language, as text, that are well typed and well conditioned by construction.

``layers()`` is a Hypothesis strategy: what it finds it makes small. Elementwise
functions are kept inside their domains (``log(1.5 + square(a))``), values of
moderate size (``tanh`` before a power or an exponential), so a disagreement of
two evaluations is a fault and no accident of rounding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hypothesis import assume
from hypothesis import strategies as st

LENGTHS = {"N": 3, "C": 5, "D": 4, "T": 6}
BATCH = (2, 2)
LABELS = 4
"""Label tensors hold numbers below this; only axes at least as long are read at labels."""

_LETTERS = {"N": "nmab", "C": "ckuv", "D": "djpq", "T": "tswz"}
_SMOOTH = (
    "tanh({})", "sigmoid({})", "sin({})", "cos({})", "softplus({})", "log_sigmoid({})", "erf({})", "atan({})",
    "erfc({})", "exp(tanh({}))", "exp(-square({}))", "log(1.5 + square({}))", "sqrt(1 + square({}))",
    "rsqrt(0.5 + square({}))", "expm1(sin({}))", "log1p(square({}))", "1/(2 + sin({}))", "square({})", "tanh({})**3",
    "sinh(tanh({}))", "cosh(sin({}))", "1/(1 + exp(-{}))", "log(1 + exp({}))", "lgamma(2 + sigmoid({}))",
    "asin(0.9*tanh({}))",
    "(1.5 + tanh({}))**0.5", "(1.5 + cos({}))**-1.5", "2**tanh({})", "relu({})", "abs({})", "clip({}, -0.7, 0.9)",
    "-{}", "0.5*{}", "stop_gradient(sin({}))",
)  # fmt: skip
_PAIRS = (
    "{} + {}", "{} - {}", "{}*{}", "{}*{}", "{}*{}", "{}/(2 + cos({}))", "maximum({}, {})", "minimum({}, {})",
    "where({} > 0.1, {}, 0.3)", "where({0} <= {1}, {0}, {1})", "log(exp({}) + exp({}))",
)  # fmt: skip
_SUMS = ("sum", "sum", "sum", "mean", "mean", "max", "min", "logsumexp", "var", "std", "norm", "prod")


@dataclass
class _Tensor:
    name: str
    axes: tuple[str, ...]
    batched: bool = False
    kind: str = "Real"
    carried: bool = False

    def declaration(self) -> str:
        axes = (["..."] if self.batched else []) + list(self.axes)
        return f"{self.name}: {self.kind}" + (f"[{', '.join(axes)}]" if axes else "")


@dataclass
class _Layer:
    """What has been written so far."""

    draw: st.DrawFn
    batched: bool
    parameters: list[_Tensor]
    known: list[_Tensor] = field(default_factory=list)
    labels: list[_Tensor] = field(default_factory=list)
    masks: list[_Tensor] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    count: int = 0

    def pick(self, *choices: object) -> object:
        return self.draw(st.sampled_from(choices))

    def chance(self, share: float) -> bool:
        return self.draw(st.integers(0, 99)) < 100 * share

    def fresh(self, stem: str = "h") -> str:
        self.count += 1
        return f"{stem}{self.count}"


def _letter(size: str, taken: frozenset[str]) -> str:
    return next(i for i in _LETTERS[size] if i not in taken)


def _subscript(layer: _Layer, size: str, scope: dict[str, str]) -> str | None:
    """Return a plain letter of the scope that runs over the axis, or else a constant place or a label."""
    letters = [i for i, s in scope.items() if s == size]
    if letters and not layer.chance(0.12):
        return str(layer.pick(*letters))
    if LENGTHS[size] >= LABELS:
        fitting = [t for t in layer.labels if all(a in scope.values() for a in t.axes)]
        if fitting and layer.chance(0.7):
            label = layer.pick(*fitting)
            assert isinstance(label, _Tensor)
            places = [str(layer.pick(*[i for i, s in scope.items() if s == a])) for a in label.axes]
            return f"{label.name}[{', '.join(places)}]" if places else label.name
    return str(layer.pick("0", f"{size} - 1"))


def _window(layer: _Layer, scope: dict[str, str]) -> str:
    """Return an affine subscript in letters of the scope: it may leave any axis."""
    letters = list(scope)
    one, other = str(layer.pick(*letters)), str(layer.pick(*letters))
    step, shift = layer.pick(1, 1, 2, 3, -1), layer.pick(0, 1, -1, -2, 2)
    forms = (f"{one} + {shift}", f"{step}*{one} + {other} - 1", f"{step}*{one} + {shift}", f"{one} - {other}")
    return str(layer.pick(*forms))


def _read(layer: _Layer, scope: dict[str, str], tensor: _Tensor | None = None) -> str:
    if tensor is None:
        tensor = layer.draw(st.sampled_from(layer.known))
    axes = [_subscript(layer, size, scope) for size in tensor.axes]
    name = tensor.name
    if axes and scope and layer.chance(0.15):
        place = layer.draw(st.integers(int(tensor.carried and len(axes) > 1), len(axes) - 1))
        if tensor.carried and place == 0:  # before its first step a recurrence has its start
            return f"{name}[{axes[0]}]"
        axes[place] = _window(layer, scope)
        name = f"padded({name})" if layer.chance(0.8) else f"padded({name}, 0.25)"
    front = ["..."] if tensor.batched else []
    return f"{name}[{', '.join([*front, *map(str, axes)])}]" if front or axes else name


def _whole(layer: _Layer, letter: str, scope: dict[str, str]) -> str | None:
    """Return a read in which the letter stands alone at a place: it gets its range there."""
    size = scope[letter]
    fitting = [t for t in layer.known if size in t.axes]
    if not fitting:
        return None
    tensor = layer.draw(st.sampled_from(fitting))
    place = tensor.axes.index(size)
    axes = [letter if k == place else _subscript(layer, s, scope) for k, s in enumerate(tensor.axes)]
    front = ["..."] if tensor.batched else []
    return f"{tensor.name}[{', '.join([*front, *map(str, axes)])}]"


def _expression(layer: _Layer, scope: dict[str, str], depth: int) -> str:
    kind = layer.draw(st.integers(0, 9)) if depth > 0 else 0
    if kind <= 1:
        if layer.chance(0.08):
            return str(layer.pick("0.5", "2", "g", *(f"{i}/{s}" for i, s in scope.items()), *scope.values()))
        return _read(layer, scope)
    if kind <= 4:
        return str(layer.pick(*_SMOOTH)).format(f"({_expression(layer, scope, depth - 1)})")
    if kind <= 7:
        pair = [f"({_expression(layer, scope, depth - 1)})" for _ in range(2)]
        if layer.masks and scope and layer.chance(0.15):
            mask = layer.draw(st.sampled_from(layer.masks))
            if all(a in scope.values() for a in mask.axes):
                return f"where({_read(layer, scope, mask)}, {pair[0]}, {pair[1]})"
        if len(scope) > 1 and layer.chance(0.1):
            one, other = layer.draw(st.permutations(list(scope)))[:2]
            return f"where({one} {layer.pick('<=', '<', '==', '!=')} {other}, {pair[0]}, {pair[1]})"
        return f"{layer.pick(*_PAIRS)}".format(*pair)
    return _reduction(layer, scope, depth)


def _reduction(layer: _Layer, scope: dict[str, str], depth: int) -> str:
    size = str(layer.pick(*LENGTHS))
    letter = _letter(size, frozenset(scope))
    inner = {**scope, letter: size}
    body = _expression(layer, inner, depth - 1)
    anchor = _whole(layer, letter, inner)
    if anchor is None:
        return body if letter not in re.findall(r"\b[a-z]\b", body) else _read(layer, scope)
    body = str(layer.pick("{}*{}", "{} + {}", "tanh({})*{}")).format(f"({body})", anchor)
    name = str(layer.pick(*_SUMS))
    if name == "norm" or name == "std":
        body = f"1.5 + tanh({body})" if name == "norm" else body
    if name == "prod":
        body = f"1.2 + sin({body})"
    if name == "std":
        return f"sqrt(0.1 + var[{letter}]({body}))"
    return f"{name}[{letter}]({body})"


def _statement(layer: _Layer) -> None:
    axes = tuple(layer.draw(st.lists(st.sampled_from(list(LENGTHS)), max_size=3, unique=layer.chance(0.9))))
    scope: dict[str, str] = {}
    for size in axes:
        scope[_letter(size, frozenset(scope))] = size
    body = _expression(layer, scope, layer.draw(st.integers(1, 4)))
    name = layer.fresh()
    front = ["..."] if layer.batched else []
    if layer.chance(0.3) and (front or axes):
        layer.lines.append(f"{name}: Real[{', '.join([*front, *axes])}]")
    else:
        anchors = [_whole(layer, letter, scope) for letter in scope]
        missing = [letter for letter, anchor in zip(scope, anchors, strict=True) if anchor is None]
        for letter in missing:
            body = re.sub(rf"\b{letter}\b", "0", body)
            del scope[letter]
        axes = tuple(scope.values())
        body = " + ".join([body, *(f"0.5*{a}" for a in anchors if a is not None)])
    if scope and layer.chance(0.12):
        letter = str(layer.pick(*scope))
        body = f"{layer.pick('softmax', 'log_softmax')}[{letter}]({body})"
    left = [*front, *scope]
    layer.lines.append(f"{name}[{', '.join(left)}] = {body}" if left else f"{name} = {body}")
    layer.known.append(_Tensor(name, axes, layer.batched))


def _recurrence(layer: _Layer) -> None:
    """Write one or two recurrences along T, with the steps between them that read the step before."""
    scope = {"t": "T"}
    axes = tuple(layer.draw(st.lists(st.sampled_from(["N", "C", "D"]), max_size=2, unique=True)))
    for size in axes:
        scope[_letter(size, frozenset(scope))] = size
    rest = {i: s for i, s in scope.items() if i != "t"}
    anchors = [_whole(layer, letter, scope) for letter in scope]
    if layer.batched or None in anchors:
        _statement(layer)
        return
    names = [layer.fresh("s") for _ in range(layer.draw(st.integers(1, 2)))]
    for name in names:
        start = _read(layer, rest) if layer.chance(0.7) else str(layer.pick("0", "0.5"))
        layer.lines.append(f"{name}[{', '.join(['-1', *rest])}] = {start}")
    for name in names:
        drive = _expression(layer, scope, layer.draw(st.integers(1, 2)))
        before = [f"{other}[{', '.join(['t-1', *rest])}]" for other in names]
        if rest and layer.chance(0.5):
            letter, size = next(iter(rest.items()))
            other = _letter(size, frozenset(scope))
            fitting = [t for t in layer.known if t.axes == (size, size)] or [t for t in layer.known if size in t.axes]
            if fitting:
                places = ", ".join(["t-1", *(other if i == letter else i for i in rest)])
                weight = _whole(layer, other, {**scope, other: size})
                before.append(f"sum[{other}]({name}[{places}]*{weight})")
        mixed = f"0.6*{layer.pick(*before)} + {' + '.join(f'0.3*{a}' for a in anchors)} + 0.4*({drive})"
        if layer.chance(0.3):
            mixed += f" - 0.2*{layer.pick(*before)}*{anchors[0]}"
        body = str(layer.pick("tanh({})", "tanh({})", "sin({})", "{}")).format(mixed)
        layer.lines.append(f"{name}[{', '.join(scope)}] = {body}")
    for name in names:
        layer.known.append(_Tensor(name, ("T", *axes), carried=True))


_CALLED = {
    "inner": (1, "def inner(x: Real[N, D]):\n    y[n, d] = tanh(x[n, d]) - mean[k](x[n, k])\n    return y\n"),
    "mixed": (
        2,
        "def mixed(a: Real[N, D], b: Real[M, D]):\n    y[n, m] = sum[d](a[n, d]*b[m, d])/D\n    return y\n",
    ),
    "unit": (1, "def unit(x: Real[...]):\n    y[...] = x[...]*sigmoid(x[...])\n    return y\n"),
}


def _call(layer: _Layer) -> str | None:
    """Write a call of another layer; return that layer's name, or None where nothing fits."""
    name = str(layer.pick(*_CALLED))
    matrices = [t for t in layer.known if len(t.axes) == 2 and not t.batched]
    arguments: list[_Tensor] = []
    if name == "unit":
        arguments = [layer.draw(st.sampled_from(layer.known))]
    elif name == "inner" and matrices:
        arguments = [layer.draw(st.sampled_from(matrices))]
    elif name == "mixed" and matrices:
        one = layer.draw(st.sampled_from(matrices))
        arguments = [one, layer.draw(st.sampled_from([t for t in matrices if t.axes[1] == one.axes[1]]))]
    if not arguments or (layer.batched and name != "unit"):
        return None
    made = layer.fresh("c")
    layer.lines.append(f"{made} = {name}({', '.join(t.name for t in arguments)})")
    axes = (arguments[0].axes[0], arguments[1].axes[0]) if name == "mixed" else arguments[0].axes
    layer.known.append(_Tensor(made, axes, arguments[0].batched))
    return name


@st.composite
def layers(draw: st.DrawFn) -> str:
    """Draw the text of a layer file whose last layer is ``f``."""
    batched = draw(st.integers(0, 99)) < 20
    parameters = []
    for name in "xyw"[: draw(st.integers(1, 3))]:
        axes = tuple(draw(st.lists(st.sampled_from(list(LENGTHS)), min_size=1, max_size=3)))
        parameters.append(_Tensor(name, axes, batched and (name == "x" or draw(st.booleans()))))
    if draw(st.booleans()):
        parameters.append(_Tensor("v", ()))
    layer = _Layer(draw, batched, parameters, known=list(parameters))
    if draw(st.booleans()):
        layer.labels.append(_Tensor("lab", tuple(draw(st.lists(st.sampled_from("NT"), max_size=2))), kind="Int"))
    if draw(st.integers(0, 3)) == 0:
        layer.masks.append(
            _Tensor("mask", tuple(draw(st.lists(st.sampled_from("NCDT"), min_size=1, max_size=2))), kind="Bool")
        )
    called = set()
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.integers(0, 9))
        if kind <= 6:
            _statement(layer)
        elif kind <= 8:
            _recurrence(layer)
        else:
            called.add(_call(layer))
    if len(layer.known) == len(parameters):
        _statement(layer)
    return _written(layer, called)


def _written(layer: _Layer, called: set[str | None]) -> str:
    """Return the file: what nothing reads is left out, for a name that is never used is an error."""
    made = [t.name for t in layer.known[len(layer.parameters) :]]
    results = [made[-1]] if layer.chance(0.7) or len(made) == 1 else made[-2:]
    live = set(results)
    kept: list[str] = []
    for line in reversed(layer.lines):
        if re.split(r"[\[:= ]", line, maxsplit=1)[0] in live:
            kept.append(line)
            live |= set(re.findall(r"[a-z_]+\d*", line))
    tensors = [*layer.parameters, *layer.labels, *layer.masks]
    body = "\n".join(f"    {line}" for line in reversed(kept))
    words = set(re.findall(r"\b\w+\b", re.sub(r"^\s*\w+: .*$", "", body, flags=re.MULTILINE)))
    used = [t for t in tensors if t.name in words]
    assume(any(t.kind == "Real" for t in used))
    assume(set(re.findall(r"\b[A-Z]\b", body)) <= {size for t in used for size in t.axes})
    signature = ", ".join(t.declaration() for t in used)
    hyper = ", *, g: Real = 0.75" if "g" in words else ""
    texts = [_CALLED[name][1] for name in sorted(n for n in called if n is not None) if name in words]
    return "\n".join([*texts, f"def f({signature}{hyper}):\n{body}\n    return {', '.join(results)}\n"])
