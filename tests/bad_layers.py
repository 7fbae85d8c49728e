"""Layer files that are wrong, one row each: the text, and what the error has to say.

Every row gives one :class:`~derive.errors.DeriveError` with a place in the
file. ``test_errors`` reads the table through the library, ``test_cli_bad_layers``
through the commands.
"""

from __future__ import annotations

from tests.bad_row import Bad, body
from tests.bad_windows import WINDOWS


def formula(text: str, signature: str = "x: Real[N, D]") -> str:
    """Return a layer with one formula for y[n, d]."""
    return body(f"y[n, d] = {text}", "return y", signature=signature)


def signed(signature: str) -> str:
    """Return a layer with this signature."""
    return body("y[n, d] = x[n, d]", "return y", signature=signature)


_IDENTITY = "def f(x: Real[N, D]):\n    y[n, d] = x[n, d]\n    return y\n"

_NOT_TEXT = (
    Bad("empty file", "", "no layer in the text"),
    Bad("only a comment", "# nothing here\n", "no layer in the text"),
    Bad("only blank lines", "\n\n\n", "no layer in the text"),
    Bad("five megabytes", _IDENTITY + "#" * 5_000_000, "has 5000057 bytes"),
    Bad("five megabytes of brackets", "(" * 5_000_000, "has 5000000 bytes"),
    Bad("a NUL byte", "def f(x: Real[N]):\n    y[n] = x[n]\x00\n    return y\n", "control character U+0000"),
    Bad("an ELF header", b"\x7fELF\x02\x01\x01\x00\x00\x00", "control character U+007F"),
    Bad("a PNG header", b"\x89PNG\r\n\x1a\n\x00\x00", "not UTF-8 text: byte 0x89 at offset 0"),
    Bad("invalid UTF-8 within", b"def f(x: Real[N]):\n    y[n] = x[n] \xff\n", "byte 0xff at offset 35"),
    Bad("UTF-16", _IDENTITY.encode("utf-16"), "not UTF-8 text: byte 0xff"),
    Bad("Latin-1", 'def f(x: Real[N]):\n    """gr\xfcn"""\n'.encode("latin-1"), "byte 0xfc"),
    Bad("an encoded surrogate", b"# \xed\xa0\x80\n", "not UTF-8 text"),
    Bad("an escape sequence", "def f(x: Real[N]): \x1b[31m\n", "control character U+001B"),
    Bad("ten thousand parentheses", formula("(" * 10_000 + "x[n, d]" + ")" * 10_000), "nested more than 50 deep"),
    Bad("ten thousand open brackets", formula("x[" * 10_000), "nested more than 50 deep"),
    Bad("fifty-one functions", formula("exp(" * 51 + "x[n, d]" + ")" * 51), "nested more than 50 deep"),
    Bad("ten thousand minus signs", formula("-" * 10_000 + "x[n, d]"), "too deeply nested"),
    Bad("ten thousand nots", formula("not " * 10_000 + "x[n, d]"), "too deeply nested"),
    Bad("a tower of powers", formula("2**" * 5_000 + "2"), "too deeply nested"),
    Bad("a long sum", formula(" + ".join(["x[n, d]"] * 5_000)), "nested"),
    Bad("a sum of three hundred", formula(" + ".join(["x[n, d]"] * 300)), "nested more than 100 deep"),
    Bad("a long chain of comparisons", formula("x[n, d] < " * 200 + "1"), "a chain of 200 conditions"),
    Bad("a long chain of ands", formula(" and ".join(["x[n, d] > 0"] * 200)), "a chain of 200 conditions"),
    Bad(
        "a formula of thousands of terms",
        formula("(" + ") + (".join([" + ".join(["sin(x[n, d])"] * 30)] * 30) + ")"),
        "a statement of more than 5000 names",
    ),
    Bad("a long chain of attributes", formula("x" + ".a" * 20_000), "nested"),
    Bad("nested lambdas", formula("lambda: " * 3_000 + "1"), "nested"),
)

_SYNTAX = (
    Bad("prose", "The layer is y = x.\n", "invalid syntax"),
    Bad("an unclosed bracket", formula("(x[n, d]"), "'(' was never closed"),
    Bad("a wrong bracket", formula("(x[n, d)"), "does not match"),
    Bad("an unclosed string", 'def f(x: Real[N]):\n    """never closed\n', "unterminated triple-quoted string"),
    Bad("no colon", "def f(x: Real[N])\n    return x\n", "expected ':'"),
    Bad("no body", "def f(x: Real[N]):\n", "expected an indented block"),
    Bad("bad indentation", "def f(x: Real[N]):\n    y[n] = x[n]\n   return y\n", "unindent does not match"),
    Bad("tabs and spaces", "def f(x: Real[N]):\n    y[n] = x[n]\n\treturn y\n", "inconsistent use of tabs"),
    Bad("a backtick", formula("`x`"), "invalid syntax"),
    Bad("a keyword as a name", signed("lambda: Real[N, D]"), "invalid syntax"),
    Bad("None as a name", signed("None: Real[N, D]"), "invalid syntax"),
    Bad("LaTeX as a name", signed(r"\alpha: Real[N]"), "unexpected character after line continuation"),
    Bad("LaTeX in a formula", formula(r"\frac{x}{2}"), "unexpected character after line continuation"),
    Bad("a template as a name", "def {{ name }}(x: Real[N]):\n    return x\n", "invalid syntax"),
    Bad("a template in a formula", formula("{{ x[n, d] }}"), "a set is not part of the layer language"),
    Bad("a template block", "{% include 'x' %}\n", "invalid syntax"),
    Bad("a dollar", formula("$x$"), "invalid syntax"),
    Bad("typographic quotes", formula("“x”"), "invalid character"),
    Bad("a no-break space", formula("x[n,\u00a0d]"), "invalid non-printable character"),
    Bad("an integer of 5000 digits", formula("9" * 5_000), "a number of more than 4300 digits"),
    Bad("an integer of 4000 digits", formula("9" * 4_000), "a number too large for float64"),
    Bad("a hexadecimal integer", formula("0x" + "f" * 3_000), "a number too large for float64"),
    Bad("a float that overflows", formula("x[n, d] + 1e999"), "a number too large for float64"),
    Bad("a float that underflows", formula("x[n, d] + 1e-999"), "a number too small for float64"),
    Bad("an enormous exponent", formula("x[n, d] + 1e-99999999999"), "a number too small for float64"),
    Bad("a complex number", formula("x[n, d] + 2j"), "a complex number is not part of the layer language"),
)

_OUTSIDE = (
    Bad("an import", "import os\n" + _IDENTITY, "an import is not part of the layer language"),
    Bad("an import from", "from os import system\n" + _IDENTITY, "an import is not part of the layer language"),
    Bad("a class", "class A: pass\n", "a class is not part of the layer language"),
    Bad("an async def", "async def f(x: Real[N]):\n    return x\n", "async is not part of the layer language"),
    Bad("a statement outside", "print('hello')\n", "an expression outside a def"),
    Bad("a string outside", '"""A file of layers."""\n' + _IDENTITY, "a string outside a def"),
    Bad("an assignment outside", "eps = 1e-5\n" + _IDENTITY, "an assignment outside a def"),
    Bad("if outside", "if True:\n    x = 1\n", "if is not part of the layer language"),
    Bad("two layers of one name", _IDENTITY + _IDENTITY, "a second layer named 'f'"),
    Bad("a decorator", "@jit\n" + _IDENTITY, "a decorator in a layer file"),
    Bad("a decorator that calls", "@__import__('os').system('id')\n" + _IDENTITY, "a decorator in a layer file"),
)

_SIGNATURE = (
    Bad("no tensors", "def f():\n    y = 1\n    return y\n", "layer 'f' has no tensor"),
    Bad("no annotation", signed("x"), "tensor 'x' has no kind"),
    Bad("an unknown kind", signed("x: Tensor[N, D]"), "unknown kind 'Tensor'"),
    Bad("a string annotation", signed("x: 'Real[N, D]'"), "a kind is expected"),
    Bad("a dotted annotation", signed("x: np.ndarray"), "a kind is expected"),
    Bad("an annotation that calls", signed("x: __import__('os').system('id')"), "a kind is expected"),
    Bad("a default that calls", signed("x: Real[N, D], *, k: Int = print(1)"), "the default of 'k' is not a number"),
    Bad("a tensor with a default", signed("x: Real[N, D] = 1"), "tensor 'x' has a default"),
    Bad("a hyper-parameter without a default", signed("x: Real[N, D], *, k: Int"), "'k' has no default"),
    Bad("a hyper-parameter without a kind", signed("x: Real[N, D], *, k=1"), "'k' has no kind"),
    Bad("a hyper-parameter with axes", signed("x: Real[N, D], *, k: Real[D] = 1"), "'k' has axes"),
    Bad(
        "an Int default that is none", signed("x: Real[N, D], *, k: Int = 0.5"), "the default of 'k' is not an integer"
    ),
    Bad("a Bool default that is none", signed("x: Real[N, D], *, k: Bool = 1"), "its kind is Bool"),
    Bad("a truth value as a number", signed("x: Real[N, D], *, k: Real = True"), "its kind is Real"),
    Bad("a default that is not positive", signed("x: Real[N, D], *, k: Positive = 0"), "is not positive"),
    Bad("a default outside (0, 1)", signed("x: Real[N, D], *, p: Unit = 1.5"), "is not in (0, 1)"),
    Bad("a default of None", signed("x: Real[N, D], *, k: Real = None"), "the default of 'k' is not a number"),
    Bad("a default that computes", signed("x: Real[N, D], *, k: Real = 1/3"), "the default of 'k' is not a number"),
    Bad("an infinite default", signed("x: Real[N, D], *, k: Real = 1e999"), "a number too large for float64"),
    Bad("star arguments", signed("x: Real[N, D], *rest"), "'*rest' in a signature"),
    Bad("keyword arguments", signed("x: Real[N, D], **rest"), "'**rest' in a signature"),
    Bad("a slash", signed("x: Real[N, D], /"), "'/' in a signature"),
    Bad("an annotated result", "def f(x: Real[N]) -> Real[N]:\n    return x\n", "an annotation of the result"),
    Bad("a lower-case size", signed("x: Real[n, d]"), "size 'n' is not capitalised"),
    Bad("a computed axis", signed("x: Real[2*N, D]"), "'2*N' is not a size"),
    Bad("an axis of nothing", signed("x: Real[N, 0]"), "an axis of 0 elements"),
    Bad("a fractional axis", signed("x: Real[N, 1.5]"), "'1.5' is not a size"),
    Bad("dots that are not first", signed("x: Real[N, ...]"), "'...' is not the first entry"),
    Bad("no axis in the brackets", signed("x: Real[()]"), "no axis in the brackets"),
    Bad("one name twice", signed("x: Real[N, D], x: Real[N]"), "'x' is a parameter"),
    Bad("a tensor named as a size", signed("N: Real[D], x: Real[N, D]"), "no name is both"),
    Bad("a size named as a tensor", signed("x: Real[N, D], N: Real[D]"), "'N' is a size"),
    Bad("a gradient's name", signed("x: Real[N, D], dx: Real[N]"), "'dx' is the name of the gradient of 'x'"),
    Bad("a gradient's name before", signed("dx: Real[N, D], x: Real[N]"), "'dx' is the name of the gradient of 'x'"),
    Bad("a name of the generated code", signed("cache: Real[N, D]"), "'cache' is a name that generated code uses"),
    Bad("another name of the generated code", signed("forward: Real[N, D]"), "generated code uses"),
    Bad("NumPy's name", signed("np: Real[N, D]"), "generated code uses"),
    Bad("a size of the generated code", signed("x: Real[Cache, Gradients]"), "generated code uses"),
    Bad("a name of Python's", signed("tuple: Real[N, D]"), "generated code uses"),
    Bad("a function's name", signed("exp: Real[N, D]"), "'exp' is a function of the language"),
    Bad("a constant's name", signed("x: Real[N, D], pi: Real"), "'pi' is a constant of the language"),
    Bad("a leading underscore", signed("_x: Real[N, D]"), "begins with an underscore"),
    Bad("a dunder", signed("__class__: Real[N, D]"), "begins with an underscore"),
    Bad("a Greek letter", signed("γ: Real[N, D]"), "write gamma"),
    Bad("a full-width letter", signed("ｘ: Real[N, D]"), "names are ASCII letters"),
    Bad("a ligature", formula("ﬁ[n, d]"), "names are ASCII letters"),
    Bad("a Cyrillic letter", "def f(х: Real[N]):\n    y[n] = х[n]\n    return y\n", "names are ASCII letters"),
    Bad("a name of 100,000 letters", signed("x" * 100_000 + ": Real[N]"), "a name of 100000 characters"),
    Bad("an unused parameter", signed("x: Real[N, D], b: Real[D]"), "parameter 'b' is never used"),
    Bad("an unused hyper-parameter", signed("x: Real[N, D], *, eps: Real = 1e-5"), "parameter 'eps' is never used"),
)

_STATEMENTS = (
    Bad("no return", body("y[n, d] = x[n, d]"), "layer 'f' does not end with a return"),
    Bad("only a docstring", body('"""Nothing."""'), "layer 'f' does not end with a return"),
    Bad("return first", body("return y", "y[n, d] = x[n, d]"), "'return' is not the last statement"),
    Bad("a bare return", body("y[n, d] = x[n, d]", "return"), "'return' returns nothing"),
    Bad("an empty tuple returned", body("y[n, d] = x[n, d]", "return ()"), "'return' returns nothing"),
    Bad("an element returned", body("y[n, d] = x[n, d]", "return y[n, d]"), "'return' takes names only"),
    Bad("a formula returned", body("return x + 1"), "'return' takes names only"),
    Bad("a parameter returned", body("return x"), "'x' is a parameter, not a result"),
    Bad("a size returned", body("y[n, d] = x[n, d]", "return N"), "'N' is a size, not a result"),
    Bad("a name returned twice", body("y[n, d] = x[n, d]", "return y, y"), "'y' is returned twice"),
    Bad("an unknown name returned", body("yhat[n, d] = x[n, d]", "return y_hat"), "did you mean 'yhat'?"),
    Bad("truth values returned", body("y[n, d] = x[n, d] > 0", "return y"), "'y' holds truth values"),
    Bad("integers returned", body("y[n] = argmax[d](x[n, d])", "return y"), "'y' holds integers"),
    Bad("a while loop", body("while True:", "    y = 1", "return y"), "a loop is not part of the layer language"),
    Bad("a for loop", body("for i in x:", "    y = i", "return y"), "a loop is not part of the layer language"),
    Bad("an if", body("if x:", "    y = 1", "return y"), "if is not part of the layer language"),
    Bad("a with", body("with open('a') as y:", "    pass", "return y"), "with is not part of the layer language"),
    Bad(
        "a try",
        body("try:", "    y = 1", "except E:", "    y = 2", "return y"),
        "try is not part of the layer language",
    ),
    Bad("pass", body("pass", "return x"), "pass is not part of the layer language"),
    Bad("an assert", body("assert x", "return x"), "assert is not part of the layer language"),
    Bad("a del", body("del x", "return x"), "del is not part of the layer language"),
    Bad("global", body("global x", "return x"), "global is not part of the layer language"),
    Bad("an import inside", body("import os", "return x"), "an import is not part of the layer language"),
    Bad("a def inside", body("def g(a): pass", "return x"), "a def inside a def is not part"),
    Bad("a call as a statement", body("print(x)", "return x"), "an expression is not a statement"),
    Bad("code that would run", body("__import__('os').system('touch hacked')", "return x"), "an expression is not a"),
    Bad("a string as a statement", body("y[n, d] = x[n, d]", "'text'", "return y"), "a string is not a statement"),
    Bad("an assignment in place", body("y[n, d] = x[n, d]", "y += 1", "return y"), "each name is assigned once"),
    Bad("a name assigned twice", body("y[n, d] = x[n, d]", "y[n, d] = 1", "return y"), "'y' is assigned twice"),
    Bad("a parameter assigned", body("x[n, d] = 1", "return x"), "'x' is a parameter"),
    Bad("a size assigned", body("N = 3", "y[n, d] = x[n, d]", "return y"), "'N' is a size"),
    Bad("two targets", body("y = z = 1", "return y"), "two assignments in one statement"),
    Bad("a tuple of elements", body("a[n], b[n] = x[n, 0], x[n, 0]", "return a"), "a tuple is not part"),
    Bad("several names for one formula", body("a, b = sum[n, d](x[n, d])", "return a"), "several names on the left"),
    Bad("an attribute assigned", body("y.a = 1", "return y"), "'y.a' can't be assigned to"),
    Bad("a reserved name assigned", body("backward[n, d] = x[n, d]", "return backward"), "generated code uses"),
    Bad("a gradient's name assigned", body("dx[n, d] = x[n, d]", "return dx"), "the name of the gradient of 'x'"),
    Bad("a declaration with a value", body("y: Real[N, D] = x", "return y"), "a declaration with a value"),
    Bad("a declaration of an element", body("y[n]: Real", "return y"), "a declaration of an element"),
    Bad(
        "a declaration never assigned", body("z: Real[N]", "y[n, d] = x[n, d]", "return y"), "'z' is declared and never"
    ),
    Bad("a declaration of an unknown size", body("y: Real[N, P]", "y[n, p] = 1", "return y"), "unknown size 'P'"),
    Bad("two declarations", body("y: Real[N, D]", "y: Real[N, D]", "y[n, d] = x[n, d]", "return y"), "declared twice"),
    Bad("a late declaration", body("y[n, d] = x[n, d]", "y: Real[N, D]", "return y"), "declared after it was assigned"),
    Bad(
        "a wrong declaration",
        body("y: Real[D, N]", "y[n, d] = x[n, d]", "return y"),
        "index 'n' runs over D (y, axis 0)",
    ),
    Bad(
        "a declaration of another rank",
        body("y: Real[N]", "y[n, d] = x[n, d]", "return y"),
        "declared with 1 axis and has 2 here",
    ),
    Bad(
        "a promise", body("y: Positive[N, D]", "y[n, d] = exp(x[n, d])", "return y"), "can't be promised to be Positive"
    ),
    Bad("a wrong kind declared", body("i: Int[N]", "i[n] = x[n, 0]", "return i"), "'i' is declared Int and is Real"),
    Bad("a size of zero", body("P = 2 - 2", "y[n, d] = x[n, d]", "return y"), "size 'P' is 0"),
    Bad("a size divided by zero", body("P = N // 0", "y[n, d] = x[n, d]", "return y"), "a division by zero"),
)

_INDICES = (
    Bad(
        "an index over two sizes",
        body("mu[d] = mean[n](x[n, d])", "y[n, d] = x[n, d] - mu[n]", "return y"),
        "index 'n' runs over N (x, axis 0) and over D (mu, axis 0)",
    ),
    Bad(
        "a matrix product the wrong way",
        body("y[n] = sum[d](x[n, d] * w[d])", "return y", signature="x: Real[N, D], w: Real[E]"),
        "index 'd' runs over D (x, axis 1) and over E (w, axis 0)",
    ),
    Bad(
        "a size against a number",
        formula("x[n, d] * w[d]", "x: Real[N, D], w: Real[3]"),
        "over D (x, axis 1) and over 3",
    ),
    Bad(
        "a diagonal of a rectangle", body("y[i] = x[i, i]", "return y"), "index 'i' runs over N (x, axis 0) and over D"
    ),
    Bad(
        "batch axes from the end",
        body("y[..., d] = x[..., d] * b[d]", "return y", signature="x: Real[..., D], b: Real[E]"),
        "over D (x, axis -1) and over E (b, axis 0)",
    ),
    Bad("too few subscripts", formula("x[n]"), "'x' has 2 axes, got 1 subscript"),
    Bad("too many subscripts", formula("x[n, d, d]"), "'x' has 2 axes, got 3 subscripts"),
    Bad("no subscripts", formula("x"), "'x' has 2 axes and is read without subscripts"),
    Bad("subscripts of a scalar", formula("x[n, d] * a[n]", "x: Real[N, D], a: Real"), "'a' is a scalar"),
    Bad("subscripts of a size", formula("x[n, d] * N[n]"), "'N' is a size"),
    Bad(
        "subscripts of a hyper-parameter", formula("x[n, d] * a[n]", "x: Real[N, D], *, a: Real = 1"), "'a' is a scalar"
    ),
    Bad("subscripts of an expression", formula("(x + x)[n, d]"), "subscripts of an expression"),
    Bad("subscripts of an index", formula("x[n, d] * n[d]"), "index 'n' has no subscripts"),
    Bad("an index on the right only", formula("x[n, k]"), "index 'k' is on the right only"),
    Bad("a number on the right only", formula("x[n, d] * k"), "index 'k' is on the right only"),
    Bad("an index on the left only", body("y[n, d, k] = x[n, d]", "return y"), "index 'k' has no range"),
    Bad(
        "an index that is only compared",
        body("y[n] = where(n < 3, a, 0)", "return y", signature="a: Real"),
        "index 'n' has no range",
    ),
    Bad("an index twice on the left", body("y[n, n] = x[n, n]", "return y"), "index 'n' stands twice on the left"),
    Bad("a capital index", body("y[N, d] = x[N, d]", "return y"), "'N' is not an index"),
    Bad(
        "an index named as a scalar",
        body("y[a, d] = x[a, d] * a", "return y", signature="x: Real[N, D], a: Real"),
        "'a' is a scalar, not an index",
    ),
    Bad(
        "an index named as a hyper-parameter",
        body("y[k, d] = x[k, d]", "return y", signature="x: Real[N, D], *, k: Int = 1"),
        "'k' is a hyper-parameter, not",
    ),
    Bad("a real subscript", formula("x[n, w[n]]", "x: Real[N, D], w: Real[N]"), "'w' is Real and can't be a subscript"),
    Bad(
        "a mask as a subscript",
        formula("x[n, m[n]] * x[n, d]", "x: Real[N, D], m: Bool[N]"),
        "'m' is Bool and can't be a subscript",
    ),
    Bad(
        "a label without subscripts",
        formula("x[n, t] * x[n, d]", "x: Real[N, D], t: Int[N]"),
        "'t' has 1 axis and is read without",
    ),
    Bad(
        "a label over the wrong axis",
        formula("x[n, t[d]] * x[n, d]", "x: Real[N, D], t: Int[N]"),
        "index 'd' runs over",
    ),
    Bad("a fractional subscript", formula("x[n, 0.5]"), "subscript '0.5' is not an integer"),
    Bad("a negative subscript", body("y[n] = x[n, -1]", "return y"), "subscript '-1' is negative"),
    Bad("a subscript past the end", body("y[n] = x[n, D]", "return y"), "may lie outside x, axis 1"),
    Bad(
        "a subscript that may be outside", body("y[n] = x[n, 1]", "return y"), "subscript '1' may lie outside x, axis 1"
    ),
    Bad(
        "a subscript outside for certain",
        body("y[n] = x[n, 3]", "return y", signature="x: Real[N, 3]"),
        "it runs from 0 to 2",
    ),
    Bad("a subscript that may be before", body("y[n] = x[n, D - 2]", "return y"), "subscript 'D - 2' may lie outside"),
    Bad(
        "a hyper-parameter as a subscript",
        body("y[n] = x[n, k]", "return y", signature="x: Real[N, D], *, k: Int = 0"),
        "'k' may lie outside",
    ),
    Bad(
        "an affine subscript",
        body("y[t] = x[t, 0] - x[t - 1, 0]", "return y", signature="x: Real[T, D]"),
        "'t - 1' reaches -1 at t = 0, and x, axis 0 has elements from 0 on",
    ),
    Bad(
        "a strided subscript",
        body("y[p] = x[2*p]", "return y", signature="x: Real[N]"),
        "index 'p' has no range",
    ),
    Bad(
        "a computed label",
        body("y[n] = x[n, t[n] + 1]", "return y", signature="x: Real[N, D], t: Int[N]"),
        "label 't[n] + 1' may lie outside x, axis 1",
    ),
    Bad(
        "a padded read without a range",
        body("y[t] = padded(x)[t - 1]", "return y", signature="x: Real[T]"),
        "index 't' has no range",
    ),
    Bad("a slice", body("y[n] = sum[d](x[n, :])", "return y"), "a slice is not part of the layer language"),
    Bad(
        "a range that is longer than the axis",
        body("y[n] = sum[r: N](x[n, r])", "return y"),
        "index 'r' runs over N (its range on line 2) and over D (x, axis 1)",
    ),
    Bad(
        "a recurrence",
        body("h[t, d] = h[t - 1, d] + x[t, d]", "return h", signature="x: Real[T, D]"),
        "'h' reads its earlier elements and has no start",
    ),
    Bad(
        "the start of a recurrence",
        body("h[-1, d] = x[0, d]", "h[t, d] = x[t, d]", "return h", signature="x: Real[T, D]"),
        "'h' has a start and is no recurrence",
    ),
    Bad("an affine left side", body("y[n + 1, d] = x[n, d]", "return y"), "affine subscript 'n + 1' on the left"),
    Bad(
        "a label on the left",
        body("y[t[n], d] = x[n, d]", "return y", signature="x: Real[N, D], t: Int[N]"),
        "a label on the left",
    ),
    Bad(
        "a missing batch",
        body("y[..., d] = x[d]", "return y", signature="x: Real[..., D]"),
        "'x' is read without its batch axes",
    ),
    Bad(
        "a batch that is none",
        body("y[..., d] = x[..., d]", "return y", signature="x: Real[D]"),
        "'...' without batch axes",
    ),
    Bad(
        "a batch of another tensor",
        body("y[..., d] = x[..., d] * b[..., d]", "return y", signature="x: Real[..., D], b: Real[D]"),
        "'b' has no batch axes",
    ),
    Bad(
        "a batch on the right only",
        body("y[d] = x[..., d]", "return y", signature="x: Real[..., D]"),
        "'...' is on the right only",
    ),
    Bad(
        "a late batch",
        body("y[d, ...] = x[..., d]", "return y", signature="x: Real[..., D]"),
        "'...' is not the first subscript",
    ),
    Bad(
        "a batch inside a batch",
        body("y[...] = x[...] / sum[...](x[...])", "return y", signature="x: Real[...]"),
        "s = sum[...](x[...])",
    ),
    Bad(
        "a batch as a number",
        body("y[..., d] = x[..., d] / ...", "return y", signature="x: Real[..., D]"),
        "'...' is not a value",
    ),
)

_FORMULAS = (
    Bad("an unknown tensor", formula("xhat[n, d]"), "unknown tensor 'xhat'"),
    Bad("an unknown name", formula("x[n, d] * scale"), "unknown name 'scale'"),
    Bad("a misspelled name", formula("x[n, d] + ep", "x: Real[N, D], *, eps: Real = 1"), "did you mean 'eps'?"),
    Bad("a misspelled size", formula("x[n, d] / n_"), "unknown name 'n_'"),
    Bad(
        "a name used before",
        body("y[n, d] = z[n, d]", "z[n, d] = x[n, d]", "return y"),
        "'z' is used before it is defined",
    ),
    Bad("an unknown function", formula("frobnicate(x[n, d])"), "unknown function 'frobnicate'"),
    Bad("a misspelled function", formula("sigmod(x[n, d])"), "did you mean 'sigmoid'?"),
    Bad("an unknown reduction", formula("total[d](x[n, d])"), "unknown reduction 'total'"),
    Bad("a misspelled reduction", formula("avg[d](x[n, d])"), "the reductions are sum, mean"),
    Bad("a function with an index", formula("exp[d](x[n, d])"), "'exp' takes no index"),
    Bad("a reduction without an index", formula("sum(x[n, d])"), "'sum' does not say over which index it runs"),
    Bad("max of two", formula("max(x[n, d], 0)"), "maximum(a, b)"),
    Bad("a reduction of two", formula("sum[n](x[n, d], x[n, d])"), "'sum[…]' takes one expression, got 2"),
    Bad("a reduction over a number", formula("sum[0](x[n, d])"), "'0' is not an index"),
    Bad("a reduction over a size", formula("sum[N](x[n, d])"), "'N' is not an index"),
    Bad("a reduction over one index twice", formula("sum[k, k](x[n, k])"), "index 'k' stands twice"),
    Bad("a reduction over a strange index", formula("sum[k](x[n, d])"), "index 'k' has no range"),
    Bad(
        "a reduction that hides an index",
        body("y[n] = sum[n, d](x[n, d])", "return y"),
        "the 'n' of the reduction is its own",
    ),
    Bad(
        "a softmax over a strange index",
        body("y[n] = softmax[d](x[n, d])", "return y"),
        "'softmax' keeps its index 'd'",
    ),
    Bad(
        "an argmax over two", body("y[n] = x[n, 0] * argmax[n, d](x[n, d])", "return y"), "'argmax' runs over one index"
    ),
    Bad("too many arguments", formula("exp(x[n, d], 2)"), "'exp' takes 1 argument, got 2"),
    Bad("too few arguments", formula("where(x[n, d] > 0, 1)"), "'where' takes 3 arguments, got 2"),
    Bad("no arguments", formula("exp()"), "'exp' takes 1 argument, got 0"),
    Bad("a keyword to a function", formula("clip(x[n, d], lo=0, hi=1)"), "'clip' takes no keyword"),
    Bad("star arguments in a call", formula("exp(*x)"), "a starred expression is not part"),
    Bad("a function of a whole tensor", body("y = exp(x)", "return y"), "write exp(x[n, d])"),
    Bad("a tensor as a function", formula("x(n, d)"), "'x' is a tensor, not a function"),
    Bad(
        "a condition that is a number",
        formula("where(x[n, d], 1, 0)"),
        "'where' takes a condition, 'x[n, d]' is a number",
    ),
    Bad("and of numbers", formula("x[n, d] and x[n, d]"), "'and' joins a condition"),
    Bad("not of a number", formula("not x[n, d]"), "'not' negates a condition"),
    Bad("True in a formula", formula("x[n, d] * True"), "True in a formula"),
    Bad("None in a formula", formula("x[n, d] * None"), "None is not part of the layer language"),
    Bad("a string in a formula", formula("x[n, d] * 'a'"), "a string is not part of the layer language"),
    Bad("bytes in a formula", formula("x[n, d] * b'a'"), "a string is not part of the layer language"),
    Bad("an f-string", formula("f'{x}'"), "an f-string is not part of the layer language"),
    Bad("a lambda", formula("(lambda: 1)()"), "a call of an expression"),
    Bad("a comprehension", formula("sum([x for x in y])"), "a comprehension is not part of the layer language"),
    Bad("a generator", formula("sum(x for x in y)"), "a comprehension is not part of the layer language"),
    Bad("a walrus", formula("(a := x[n, d])"), "an assignment inside an expression is not part"),
    Bad("a conditional expression", formula("1 if x[n, d] > 0 else 0"), "write where(condition, a, b)"),
    Bad("a list", formula("[x[n, d]]"), "a list is not part of the layer language"),
    Bad("a dictionary", formula("{1: x[n, d]}"), "a dictionary is not part of the layer language"),
    Bad("yield", formula("(yield x)"), "yield is not part of the layer language"),
    Bad("await", formula("(await x)"), "await is not part of the layer language"),
    Bad("an attribute", formula("x.flat"), "an attribute is not part of the layer language"),
    Bad("a shape of an array", formula("x[n, d]/x.shape[0]"), "a size is a capitalised name in the brackets"),
    Bad("a transposed array", formula("x.T[n, d]"), "write the indices in the order that is meant"),
    Bad("a sum as a method", formula("x.sum(axis=1)"), "write sum[d](x[n, d])"),
    Bad("a reduction without brackets", formula("sum[k] x[n, k]"), "what is reduced stands in brackets: sum[k](…)"),
    Bad("a word of Python's", formula("x[n, d]", "x: Real[N, D], lambda: Real"), "'lambda' is a word of Python's"),
    Bad("a NumPy call", formula("np.exp(x)"), "there are no modules or methods"),
    Bad("a dunder chain", formula("().__class__.__bases__[0].__subclasses__()"), "is not part of the layer language"),
    Bad("an import by name", formula("__import__('os').system('touch hacked')"), "is not part of the layer language"),
    Bad("eval", formula("eval('1')"), "a string is not part of the layer language"),
    Bad("exec of a name", formula("exec(x[n, d])"), "unknown function 'exec'"),
    Bad("open", formula("open(x[n, d])"), "unknown function 'open'"),
    Bad("a matrix product", formula("x @ x"), "operator '@' is not part of the layer language"),
    Bad("a bitwise and", formula("(x[n, d] > 0) & (x[n, d] < 1)"), "write 'and'"),
    Bad("a bitwise not", formula("~(x[n, d] > 0)"), "write 'not'"),
    Bad("a caret", formula("x[n, d]^2"), "a power is **"),
    Bad("a shift", formula("x[n, d] << 2"), "operator '<<' is not part"),
    Bad("is", formula("x[n, d] is 1"), "write =="),
    Bad("in", formula("x[n, d] in (1, 2)"), "operator 'in' is not part"),
    Bad("brackets after brackets", formula("x[n][d]"), "write all subscripts in one pair"),
    Bad("a division by zero", formula("x[n, d] / 0"), "a division by zero"),
    Bad("a hidden division by zero", formula("x[n, d] / (1 - 1)"), "a division by zero"),
    Bad("a negative power of zero", formula("x[n, d] * 0**-1"), "a division by zero"),
    Bad("the logarithm of zero", formula("x[n, d] + log(0)"), "not a real number"),
    Bad("the logarithm of a negative", formula("x[n, d] + log(-1)"), "not a real number"),
    Bad("the root of a negative", formula("x[n, d] * sqrt(-2)"), "not a real number"),
    Bad("infinity minus infinity", formula("x[n, d] + (inf - inf)"), "not a real number"),
    Bad("a tower of tens", formula("x[n, d] + 10**10**10"), "a constant too large"),
    Bad("a power of two", formula("x[n, d] + 2**99999999"), "a constant too large"),
    Bad("a power of a root", formula("x[n, d] + sqrt(2)**99999999"), "a constant too large"),
    Bad("a power of a product", formula("(2*x[n, d])**99999999"), "a constant too large"),
    Bad("an exponential of logarithms", formula("x[n, d] + exp(99999999*log(2))"), "a constant too large"),
    Bad("a product of powers", formula("x[n, d]" + " * 9**999" * 5), "a constant too large"),
    Bad("a factorial", formula("x[n, d] + lgamma(99999999)"), "'lgamma' of a constant above 1000"),
    Bad("a harmonic number", formula("x[n, d] + digamma(99999999)"), "'digamma' of a constant above 1000"),
)

_MORE = (
    "def g(a: Real[M, K], b: Real[K], *, s: Real = 1, k: Int = 1):\n"
    "    z[m, i] = a[m, i] * b[i] * s * k\n    return z\n\n"
)
_GATE = "def gate(a: Real[...], b: Real[...]):\n    z[...] = a[...] * b[...]\n    return z\n\n"
_TWO = "def two(a: Real[N]):\n    u[n] = a[n]\n    v[n] = a[n]\n    return u, v\n\n"


def calling(*lines: str, signature: str = "x: Real[N, D], v: Real[D]") -> str:
    """Return a layer beside others that it may call."""
    return _MORE + _GATE + _TWO + body(*lines, signature=signature)


def towers(first: str, again: str, height: int) -> str:
    """Return layers f0, f1, … each of which calls the one before."""
    levels = (again.replace("NEW", f"f{i}").replace("OLD", f"f{i - 1}") for i in range(1, height))
    return first + "".join(levels)


_POINTWISE = "(x: Real[...]):\n    y[...] = "
_CALLS = (
    Bad(
        "formulas that double",
        towers(
            f"def f0{_POINTWISE}x[...]*sigmoid(x[...])\n    return y\n",
            f"def NEW{_POINTWISE}OLD(OLD(x[...]))\n    return y\n",
            40,
        ),
        "written out, has more than 5000 parts",
    ),
    Bad(
        "calls that double",
        towers(
            "def f0(x: Real[N]):\n    y[n] = 2*x[n]\n    return y\n",
            "def NEW(x: Real[N]):\n    h = OLD(x)\n    y = OLD(h)\n    return y\n",
            40,
        ),
        "more than 2000 equations",
    ),
    Bad(
        "a thousand layers through one another",
        "".join(f"def f{i}(x: Real[N]):\n    y = f{i + 1}(x)\n    return y\n" for i in range(1000))
        + "def f1000(x: Real[N]):\n    y[n] = x[n]\n    return y\n",
        "is too deeply nested",
    ),
    Bad("several results of nothing known", body("a, b = nolayer(x)", "return a"), "unknown function 'nolayer'"),
    Bad("a layer that calls itself", body("y = f(x)", "return y"), "layer 'f' calls itself"),
    Bad(
        "layers in a circle",
        "def g(x: Real[N]):\n    y = h(x)\n    return y\n\ndef h(x: Real[N]):\n    y = g(x)\n    return y\n",
        "h → g",
    ),
    Bad("an unknown layer", body("y = batchnrom(x)", "return y"), "did you mean 'batchnorm'?"),
    Bad("too few tensors", calling("y = g(x)", "return y"), "'g' takes 2 tensors, got 1"),
    Bad("too many tensors", calling("y = g(x, v, v)", "return y"), "hyper-parameters are given by name"),
    Bad("a tensor of another rank", calling("y = g(v, v)", "return y"), "'v' has shape [D], 'a' of g is [M, K]"),
    Bad(
        "sizes that do not fit",
        calling("y = g(x, v)", "return y", signature="x: Real[N, D], v: Real[E]"),
        "size 'K' of g is D (x, axis 1) and E (v, axis 0)",
    ),
    Bad("an unknown hyper-parameter", calling("y = g(x, v, sc=2)", "return y"), "'g' has no hyper-parameter 'sc'"),
    Bad("a hyper-parameter that varies", calling("y = g(x, v, s=x[0, 0])", "return y"), "is not a constant"),
    Bad("a tensor as a hyper-parameter", calling("y = g(x, v, s=v)", "return y"), "'v' is a tensor, not a constant"),
    Bad("a fraction for an Int", calling("y = g(x, v, k=0.5)", "return y"), "'k' of g is Int, '0.5' is not"),
    Bad("a hyper-parameter twice", calling("y = g(x, v, s=1, s=2)", "return y"), "is given twice"),
    Bad("a tensor twice", calling("y = g(x, v, a=x)", "return y"), "'a' of g is given twice"),
    Bad("an element for a tensor", calling("y = g(x[n, d], v)", "return y"), "'x[n, d]' is not the name of a tensor"),
    Bad("an unknown tensor given", calling("y = g(x, w)", "return y"), "unknown tensor 'w'"),
    Bad("a call inside a formula", calling("y[n, d] = 2 * g(x, v)", "return y"), "'g' is called on whole tensors"),
    Bad("a call with subscripts on the left", calling("y[n, d] = g(x, v)", "return y"), "write y = g(x, v)"),
    Bad(
        "an elementwise call of whole tensors",
        calling("y[n, d] = 1 + gate(x, x)", "return y"),
        "'x' has 2 axes and is read",
    ),
    Bad(
        "an elementwise call with one argument",
        calling("y[n, d] = gate(x[n, d])", "return y"),
        "'gate' takes 2 tensors, got 1",
    ),
    Bad(
        "batches that do not fit",
        calling("y = gate(x, v)", "return y"),
        "the batch axes '...' of gate are [N, D] (x) and [D] (v)",
    ),
    Bad(
        "one name for two results",
        calling("y = two(v)", "z[n, d] = x[n, d]", "return z"),
        "'two' returns 2 tensors, 1 on the left",
    ),
    Bad("two names for one result", calling("y, z = g(x, v)", "return y"), "'g' returns 1 tensor, 2 on the left"),
    Bad("one name twice on the left", calling("y, y = two(v)", "return y"), "'y' is assigned twice"),
    Bad(
        "a label where a real is",
        body("y = cross_entropy(x, x)", "return y"),
        "'t' of cross_entropy is Int, 'x' is Real",
    ),
    Bad(
        "a result of another shape",
        calling("y: Real[D, N]", "y = g(x, v)", "return y"),
        "declared as [D, N] and is [N, D]",
    ),
    Bad(
        "an error in the layer called",
        "def g(a: Real[M]):\n    z[m] = a[m] + q[m]\n    return z\n\n" + body("y = g(x)", "return y"),
        "unknown tensor 'q'",
    ),
)

BAD: tuple[Bad, ...] = (
    *_NOT_TEXT,
    *_SYNTAX,
    *_OUTSIDE,
    *_SIGNATURE,
    *_STATEMENTS,
    *_INDICES,
    *WINDOWS,
    *_FORMULAS,
    *_CALLS,
)
