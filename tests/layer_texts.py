"""Random layers for property tests: texts of the language, and damaged ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from derive.algebra.functions import FUNCTIONS

# Tensors of the random layers: the size of each axis by its letter in lower case.
TENSORS = {"x": "nd", "w": "dd", "b": "d", "v": "n", "q": "ndk"}
LETTERS = {"n": "n", "m": "n", "d": "d", "c": "d", "k": "k", "l": "k"}  # letter: its size
SIGNATURE = (
    "x: Real[N, D], w: Real[D, D], b: Positive[D], v: Unit[N], q: Real[N, D, K], a: Real, t: Int[N], g: Bool[N, D], "
    "*, eps: Real = 0.5, p: Int = 2, flag: Bool = True"
)
_SAFE = ("exp", "expm1", "sin", "cos", "tanh", "sigmoid", "log_sigmoid", "softplus", "relu", "abs", "sign", "erf",
         "floor", "ceil", "round", "stop_gradient", "square", "atan", "sinh", "cosh", "erfc", "asin")  # fmt: skip
_REDUCE = ("sum", "mean", "prod", "max", "min", "var", "std", "logsumexp", "norm")
_COMPARE = ("<", "<=", ">", ">=", "==", "!=")


def _read(draw: Any, bound: str) -> str:
    """Return an element whose letters are bound, or a scalar."""
    names = [name for name, axes in TENSORS.items() if all(any(LETTERS[i] == axis for i in bound) for axis in axes)]
    name = draw(st.sampled_from([*names, "a", "eps", "p"]))
    if name not in TENSORS:
        return name
    subscripts = []
    for axis in TENSORS[name]:
        letter = draw(st.sampled_from([i for i in bound if LETTERS[i] == axis]))
        choices = [letter, letter, letter, "0", f"{axis.upper()} - 1"]
        rows = [i for i in bound if LETTERS[i] == "n"]
        choices += [f"t[{draw(st.sampled_from(rows))}]"] if rows else []
        subscripts.append(draw(st.sampled_from(choices)))
    return f"{name}[{', '.join(subscripts)}]"


def _condition(draw: Any, bound: str, depth: int) -> str:
    kind = draw(
        st.sampled_from(["compare", "compare", "chain", "mask", "not", "and", "or", "index"] if depth else ["compare"])
    )
    rows, columns = ([i for i in bound if LETTERS[i] == size] for size in "nd")
    if kind == "mask" and rows and columns:
        return f"g[{draw(st.sampled_from(rows))}, {draw(st.sampled_from(columns))}]"
    if kind == "not":
        return f"(not {_condition(draw, bound, depth - 1)})"
    if kind in ("and", "or"):
        return f"({_condition(draw, bound, depth - 1)} {kind} {_condition(draw, bound, depth - 1)})"
    parts = [_formula(draw, bound, max(depth - 1, 0)) for _ in range(3 if kind == "chain" else 2)]
    words = [draw(st.sampled_from(_COMPARE)) for _ in parts[1:]]
    return "(" + parts[0] + "".join(f" {w} {part}" for w, part in zip(words, parts[1:], strict=True)) + ")"


def _formula(draw: Any, bound: str, depth: int) -> str:
    leaf = ["number", "read", "read", "read", "size"]
    inner = ["+", "-", "*", "/", "**", "//", "%", "neg", "call", "call2", "where", "truth", "reduce", "reduce", "keep"]
    kind = draw(st.sampled_from(leaf if depth == 0 else leaf + 2 * inner))
    if kind == "number":
        return draw(
            st.sampled_from(["0", "1", "2", "3", "0.5", "0.1", "1e-3", "2.75", "1/3", "7/5", "1000000", "pi", "e"])
        )
    if kind == "size":
        return draw(st.sampled_from(["N", "D", "K", "P", "n" if "n" in bound else "N"]))
    if kind == "read":
        return _read(draw, bound)
    if kind in ("+", "-", "*", "/", "//", "%"):
        return f"({_formula(draw, bound, depth - 1)} {kind} {_formula(draw, bound, depth - 1)})"
    if kind == "**":
        exponent = draw(st.sampled_from(["2", "3", "(-1)", "(-2)", "0.5", "p", "eps"]))
        return f"({_formula(draw, bound, depth - 1)})**{exponent}"
    if kind == "neg":
        return f"(-{_formula(draw, bound, depth - 1)})"
    if kind == "call":
        return f"{draw(st.sampled_from(_SAFE))}({_formula(draw, bound, depth - 1)})"
    if kind == "call2":
        word = draw(st.sampled_from(["maximum", "minimum"]))
        return f"{word}({_formula(draw, bound, depth - 1)}, {_formula(draw, bound, depth - 1)})"
    if kind == "where":
        yes, no = _formula(draw, bound, depth - 1), _formula(draw, bound, depth - 1)
        return f"where({_condition(draw, bound, depth - 1)}, {yes}, {no})"
    if kind == "truth":
        return _condition(draw, bound, depth - 1)
    if kind == "keep":
        letter = draw(st.sampled_from([i for i in bound if i in "nd"]))
        return f"{draw(st.sampled_from(['softmax', 'log_softmax']))}[{letter}]({_formula(draw, bound, depth - 1)})"
    letter = draw(st.sampled_from("mckl"))
    axis = LETTERS[letter]
    tensor = {"n": f"v[{letter}]", "d": f"b[{letter}]", "k": f"q[0, 0, {letter}]"}[axis]
    body = f"{tensor}*{_formula(draw, bound + letter, depth - 1)}"
    return f"{draw(st.sampled_from(_REDUCE))}[{letter}]({body})"


@st.composite
def layers(draw: Any, depth: int = 4) -> str:
    """A layer with a random formula, all of whose parameters are used."""
    return (
        f"def f({SIGNATURE}):\n"
        f"    P = {draw(st.sampled_from(['N + 1', '(N + 2*p - D) // p + 1', '3', 'p', 'K']))}\n"
        "    u: Real[N, D]\n"
        f"    u[n, d] = {_formula(draw, 'nd', depth)} + 0\n"
        "    y[n, d] = u[n, d]*x[n, d] + w[d, d]/b[d] + v[n] + mean[k](q[n, d, k])*a + b[t[n]]\n"
        "    z = sum[n, d](where(g[n, d] or flag, u[n, d], eps))/(p + P)\n"
        "    return y, z\n"
    )


def _subscript(draw: Any, letters: str) -> str:
    terms = [f"{draw(st.sampled_from(['', '2*', 's*', '-']))}{i}" for i in letters]
    offset = draw(st.sampled_from(["", " - 1", " + 1", " - pad", " + N - 1"]))
    return (" + ".join(terms) + offset).replace("+ -", "- ")


def _window(draw: Any, letters: str) -> str:
    """Return a padded read, or one that is inside for every run."""
    fill = draw(st.sampled_from(["", ", 0.5", ", -inf", ", eps"]))
    inside = [f"x[{i}, 0]" for i in letters if i in "np"] + ["x[N - 1 - n, d]", "x[0, d]"]
    some = draw(st.sampled_from(["n", "p", "pr", "nr"] if "r" in letters else ["n", "p"]))
    some = "".join(i for i in some if i in letters) or letters[0]
    padded = f"padded(x{fill})[{_subscript(draw, some)}, {draw(st.sampled_from(['d', '0', 'd + 1', 'D - 1 - d']))}]"
    quotients = ["n // 2", "n % s", "n // s + n % 3", "(2*n + 1) // (s + 1)"]
    quotients += ["(n + r) // s", "2*(r % 3) - n"] if "r" in letters else ["(n + p) % s", "(p // 2)*2 + n"]
    quotient = f"padded(x{fill})[{draw(st.sampled_from(quotients))}, {draw(st.sampled_from(['d', 'd // 2', 'D - 1']))}]"
    return draw(st.sampled_from([padded, padded, quotient, *inside]))


@st.composite
def windowed(draw: Any) -> str:
    """A layer with random windows, ranges and declared shapes."""
    reduce = draw(st.sampled_from(["sum", "max", "mean", "min", "prod"]))
    size = draw(st.sampled_from(["k", "3", "2*k + 1", "N", "N // s"]))
    derived = draw(st.sampled_from(["N - 1", "(N + 2*pad - k) // s + 1", "N // 2", "k", "N // s", "2*N", "N % 3 + 1"]))
    window = f"{reduce}[r: {size}]({_window(draw, 'npr')}*{_window(draw, 'nr')} + r)"
    return (
        "def f(x: Real[N, D], v: Real[N], *, s: Int = 1, k: Int = 2, pad: Int = 0, eps: Real = 0.5):\n"
        f"    P = {derived}\n"
        "    y: Real[N, P, D]\n"
        f"    y[n, p, d] = {window} + {_window(draw, 'np').replace('x[p, 0]', 'v[n]')}\n"
        "    z[n] = v[n]*sum[p, d](y[n, p, d])*s*k*pad*eps\n"
        "    return y, z\n"
    ).replace("x[p, 0]", "v[n]")


def _step(draw: Any, depth: int) -> str:
    """Return a formula of an equation inside a loop over t."""
    kind = draw(st.sampled_from(["read", "read", "+", "*", "call", "reduce", "where"] if depth else ["read"]))
    if kind in "+*":
        return f"({_step(draw, depth - 1)} {kind} {_step(draw, depth - 1)})"
    if kind == "call":
        return f"{draw(st.sampled_from(_SAFE))}({_step(draw, depth - 1)})"
    if kind == "reduce":
        return f"sum[k](w[k, d]*{draw(st.sampled_from(['h[t - 1, k]', 'c[t - 1, k]', 'x[t, k]']))})"
    if kind == "where":
        return f"where(t > 0, {_step(draw, depth - 1)}, {_step(draw, depth - 1)})"
    early = ["h[t - 1, d]", "c[t - 1, d]", "padded(h)[t - 1, d + 1]", "padded(c, -1)[t - 1, d - 1]"]
    return draw(st.sampled_from([*early, *early, "x[t, d]", "x[T - 1 - t, d]", "w[d, d]", "a[d]", "t"]))


@st.composite
def recurrent(draw: Any) -> str:
    """A layer with two recurrences that read one another, and a statement between."""
    start = draw(st.sampled_from(["0", "a[d]", "2*a[d] + 1", "sum[k](w[k, d])"]))
    lines = [f"h[-1, d] = {start}", "c[-1, e] = a[e]"]
    lines.insert(draw(st.integers(0, 2)), "g[t, d] = " + f"{_step(draw, 2)} + c[t - 1, d]*x[t, d]")
    return (
        "def f(x: Real[T, D], w: Real[D, D], a: Real[D]):\n"
        + "".join(f"    {line}\n" for line in lines)
        + f"    h[t, d] = {_step(draw, 3)} + g[t, d]\n"
        + f"    c[t, d] = {_step(draw, 3)} + h[t, d] + w[d, d]\n"
        + "    y[d] = a[d]*sum[t](h[t, d] - h[t - 1, d]*c[t, d])\n    return y, h\n"
    )


_PIECES = (
    *"()[],:=*-/%.#\"\\'@~^$", "**", "//", "...", "\n", "    ", "\t", '"""', "0", "1e999", "n", "d", "N", "x", "y",
    "sum[n](", "softmax[d](", "where(", "return", "def g(x: Real[N]):\n    return x\n", "lambda: ", " if ", " else ",
    " for n in ", ":=", "not ", " and ", "Real", "Int", "é", "\u2028", "\x0c", "\x00", "{{", "}}", "\\frac{", "True",
    "None", "f'", "b'", "10**10**10", "import os\n", "__import__('os')", "*x", "**x", "batchnorm(x, x, x)", "relu(x)",
    "inf", *(row.name for row in FUNCTIONS),
)  # fmt: skip


@st.composite
def damaged(draw: Any, texts: tuple[str, ...]) -> str:
    """A text of the language after a few random edits."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(text)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20]))
        piece = draw(st.one_of(st.sampled_from(_PIECES), st.just(""), st.text(max_size=3)))
        text = text[:place] + piece + text[place + length :]
    return text
