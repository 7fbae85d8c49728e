"""Layers with wrong windows, ranges and recurrences, one row each; ``bad_layers`` puts them into its table."""

from __future__ import annotations

from tests.bad_row import Bad, body


def steps(*lines: str) -> str:
    """Return a layer of x[t, d] with these lines in its body."""
    return body(*lines, signature="x: Real[T, D]")


_POOL = """
def pool(x: Real[N, L], *, k: Int = 3):
    P = L // k
    y: Real[N, P]
    y[n, p] = max[r: k](x[n, k*p + r])
    return y
"""

WINDOWS = (
    Bad(
        "a recurrence that reads its future",
        steps("h[-1, d] = 0", "h[t, d] = h[t + 1, d] + x[t, d]", "return h"),
        "'h[t + 1, d]' reads the future of 'h'",
    ),
    Bad(
        "a recurrence that reads its own step",
        steps("h[-1, d] = 0", "h[t, d] = h[t, d] + x[t, d]", "return h"),
        "'h[t, d]' is read before it is computed",
    ),
    Bad("a name that reads itself", steps("h[t, d] = h[t, d] + x[t, d]", "return h"), "'h' reads itself"),
    Bad(
        "the future without a start",
        steps("h[t, d] = h[t + 1, d] + x[t, d]", "return h"),
        "'h' reads its own future, 'h[t + 1, d]'",
    ),
    Bad(
        "a lag of two steps",
        steps("h[-1, d] = 0", "h[t, d] = h[t - 2, d] + x[t, d]", "return h"),
        "'h[t - 2, d]' is 2 steps earlier",
    ),
    Bad(
        "two starts",
        steps("h[-1, d] = 0", "h[-1, d] = 1", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "'h' has two starts",
    ),
    Bad(
        "starts along two axes",
        steps("h[-1, d] = 0", "h[t, -1] = 1", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "'h' starts along two axes, 0 and 1",
    ),
    Bad(
        "a start along two axes at once",
        steps("h[-1, -1] = 0", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "'h[-1, -1]' starts along 2 axes",
    ),
    Bad(
        "a start at the first step",
        steps("h[0, d] = x[0, d]", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "an equation for one element, 'h[0, d]', is not supported",
    ),
    Bad(
        "a start at the end",
        steps("h[T, d] = 0", "h[t, d] = h[t + 1, d] + x[t, d]", "return h"),
        "an equation for one element, 'h[T, d]', is not supported",
    ),
    Bad(
        "a start after the equation",
        steps("h[t, d] = h[t - 1, d] + x[t, d]", "h[-1, d] = 0", "return h"),
        "the start of 'h' comes after its equation",
    ),
    Bad(
        "a start after an equation that needs none",
        steps("h[t, d] = x[t, d]", "h[-1, d] = 0", "return h"),
        "the start of 'h' comes after its equation",
    ),
    Bad(
        "start on another axis",
        steps("h[d, -1] = 0", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "'h[t - 1, d]' is earlier along axis 0, and 'h' runs along axis 1",
    ),
    Bad(
        "a start with its letters in another order",
        body(
            "h[-1, e, d] = c[d, e]",
            "h[t, d, e] = h[t - 1, d, e] + x[t, d]*c[d, e]",
            "return h",
            signature="x: Real[T, D], c: Real[D, E]",
        ),
        "index 'd' runs over E (h, axis 1) and over D (x, axis 1)",
    ),
    Bad(
        "a start with too few axes",
        steps("h[-1] = 0", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "'h' starts with 1 axis and has 2 here",
    ),
    Bad(
        "a start of another size",
        body("h[-1, n] = c[n]", "h[t, d] = h[t - 1, d] + x[t, d]", "return h", signature="x: Real[T, D], c: Real[N]"),
        "index 'd' runs over N (h, axis 1) and over D (x, axis 1)",
    ),
    Bad(
        "a start without an equation",
        steps("h[-1, d] = 0", "y[t, d] = x[t, d]", "return y"),
        "'h' has a start and no equation",
    ),
    Bad(
        "a start without a recurrence",
        steps("h[-1, d] = 0", "h[t, d] = x[t, d]", "return h"),
        "'h' has a start and is no recurrence: nothing on the way to it reads h[t - 1, d]",
    ),
    Bad(
        "an earlier element that only others read",
        steps("h[-1, d] = 0", "h[t, d] = x[t, d]", "y[t, d] = h[t - 1, d]", "return y"),
        "'h' has a start and is no recurrence: nothing on the way to it reads h[t - 1, d]",
    ),
    Bad(
        "a start that reads the recurrence",
        steps("h[-1, d] = h[0, d]", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "the start of 'h' reads 'h'",
    ),
    Bad(
        "a start that reads another recurrence",
        steps(
            "h[-1, d] = 0",
            "c[-1, d] = h[0, d]",
            "h[t, d] = h[t - 1, d] + x[t, d]",
            "c[t, d] = c[t-1, d] + h[t, d]",
            "return c",
        ),
        "the start of 'c' reads 'h', which is not computed yet",
    ),
    Bad(
        "a start that depends on the step",
        steps("h[-1, d] = x[t, d]", "h[t, d] = h[t - 1, d] + x[t, d]", "return h"),
        "index 't' is on the right only",
    ),
    Bad(
        "a recurrence along two axes",
        steps("h[-1, d] = 0", "h[t, d] = h[t - 1, d] + h[t, d - 1] + x[t, d]", "return h"),
        "'h[t, d - 1]' is earlier along axis 1, and 'h' runs along axis 0",
    ),
    Bad(
        "a recurrence along a diagonal",
        steps("h[-1, d] = 0", "h[t, d] = h[t - 1, d - 1] + x[t, d]", "return h"),
        "'d - 1' reaches -1 at d = 0, and h, axis 1 has elements from 0 on",
    ),
    Bad(
        "a cycle that is no recurrence",
        steps("a[t] = b[t] + x[t, 0]", "b[t] = a[t]", "return a"),
        "'a' needs 'b' and 'b' needs 'a'",
    ),
    Bad(
        "cycle of three",
        steps("a[t] = b[t] + x[t, 0]", "b[t] = c[t]", "c[t] = a[t]", "return a"),
        "'a' needs 'b' and 'b' needs 'a'",
    ),
    Bad(
        "cycle within the step",
        steps(
            "h[-1, d] = 0",
            "c[-1, d] = 0",
            "h[t, d] = h[t-1, d] + c[t, d]",
            "c[t, d] = c[t-1, d] + h[t, d]*x[t, d]",
            "return h",
        ),
        "'c[t, d]' is read before it is computed",
    ),
    Bad(
        "a gate that reads the same step",
        steps("h[-1, d] = 0", "g[t, d] = sigmoid(h[t, d])", "h[t, d] = g[t, d]*h[t-1, d] + x[t, d]", "return h"),
        "'h[t, d]' is read before it is computed",
    ),
    Bad(
        "a recurrence that reads all steps",
        steps("h[-1, d] = 0", "h[t, d] = sum[s](h[s - 1, d]) + x[t, d]", "return h"),
        "'h[s - 1, d]' reads many steps of 'h' at once, before they are computed",
    ),
    Bad(
        "a statement between that reads all steps",
        steps("h[-1, d] = 0", "g[d] = sum[t](h[t - 1, d])", "h[t, d] = h[t - 1, d] + g[d]*x[t, d]", "return h"),
        "'h[t - 1, d]' reads many steps of 'h' at once, before they are computed",
    ),
    Bad(
        "a gate one step earlier",
        steps(
            "h[-1, d] = 0",
            "g[t, d] = sigmoid(h[t - 1, d])",
            "h[t, d] = padded(g)[t - 1, d]*h[t-1, d] + x[t, d]",
            "return h",
        ),
        "'g[t - 1, d]' is one step earlier, and 'g' has no start",
    ),
    Bad(
        "sum over time of a gate",
        steps(
            "h[-1, d] = 0",
            "g[t, d] = sigmoid(h[t - 1, d])",
            "m[d] = mean[t](g[t, d])",
            "h[t, d] = m[d]*h[t-1, d] + x[t, d]",
            "return h",
        ),
        "'g[t, d]' in the equation of 'm' is neither of the same step nor one step earlier",
    ),
    Bad(
        "reverse in loop",
        steps(
            "h[-1, d] = 0",
            "g[t, d] = sigmoid(h[t - 1, d])",
            "r: Real[T, D]",
            "r[t, d] = g[T - 1 - t, d]",
            "h[t, d] = r[t, d]*h[t-1, d] + x[t, d]",
            "return h",
        ),
        "'g[T - 1 - t, d]' in the equation of 'r' is neither of the same step nor one step earlier",
    ),
    Bad(
        "a recurrence that reads its first step",
        steps("h[-1, d] = 0", "h[t, d] = h[0, d] + x[t, d]", "return h"),
        "'h[0, d]' is not one step earlier",
    ),
    Bad(
        "the start read by its place",
        steps("h[-1, d] = 0", "h[t, d] = h[t-1, d] + x[t, d]", "y[d] = h[-1, d]", "return y"),
        "and the last step is at T - 1; a copy may be read anywhere: g[t] = h[t]",
    ),
    Bad(
        "a padded recurrence two steps earlier",
        steps(
            "h[-1, d] = 0",
            "h[t, d] = h[t-1, d] + x[t, d]",
            "y: Real[T, D]",
            "y[t, d] = padded(h)[t - 2, d]",
            "return y",
        ),
        "'t - 2' may be the step before the first of 'h'",
    ),
    Bad(
        "a call on an unfinished recurrence",
        steps("h[-1, d] = 0", "g = relu(h)", "h[t, d] = g[t, d] + x[t, d]", "return h"),
        "'g' needs 'h' and 'h' needs 'g'",
    ),
    Bad(
        "a product of indices as a subscript",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[t*d, d]", "return y"),
        "subscript 't*d' is not affine",
    ),
    Bad(
        "a quotient by an index",
        steps("y: Real[T, D]", "y[t, d] = x[t // d, d]", "return y"),
        "subscript 't // d' is not affine",
    ),
    Bad(
        "a remainder by a label",
        body("y: Real[T, D]", "y[t, d] = padded(x)[t % s[t], d]", "return y", signature="x: Real[T, D], s: Int[T]"),
        "subscript 't % s[t]' is not affine",
    ),
    Bad(
        "a quotient of a label",
        body("y: Real[T, D]", "y[t, d] = padded(x)[s[t] // 2, d]", "return y", signature="x: Real[T, D], s: Int[T]"),
        "subscript 's[t] // 2' is not affine",
    ),
    Bad(
        "a quotient of a quotient",
        steps("y: Real[T, D]", "y[t, d] = x[t // 2 // 3, d]", "return y"),
        "subscript 't // 2 // 3' is not affine",
    ),
    Bad(
        "a quotient of what may be negative",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[(t - 1) // 2, d]", "return y"),
        "what is divided in '(t - 1) // 2' may be negative",
    ),
    Bad(
        "an axis that is a circle",
        steps("y: Real[T, D]", "y[t, d] = x[(t + T - 1 - d) % T, d]", "return y"),
        "an axis that is a circle is two reads, padded(x)[i + s] + padded(x)[i + s - N]",
    ),
    Bad(
        "a size that is divided like a number",
        steps("P = T / 2", "y: Real[P, D]", "y[p, d] = x[p, d]", "return y"),
        "'P' is a tensor, not a size",
    ),
    Bad(
        "a size that nothing defines",
        steps("y: Real[K, D]", "y[k, d] = padded(x)[k, d]", "return y"),
        "known here: D, T; K = … before this line defines a size K",
    ),
    Bad(
        "a size of a parameter computed",
        steps("D = T - 1", "y[t] = sum[d](x[t, d])", "return y"),
        "'D' is a size of the parameters, found from the arrays",
    ),
    Bad(
        "a quotient that leaves its axis",
        steps("P = 2*T + 1", "y: Real[P, D]", "y[p, d] = x[p // 2, d]", "return y"),
        "'p // 2' reaches T at p // 2 = T, and x, axis 0 has T elements",
    ),
    Bad(
        "a remainder that leaves its axis",
        steps("y: Real[T, D]", "y[t, d] = x[t % 3, d]", "return y"),
        "'t % 3' may reach 2 at t % 3 = 2, and x, axis 0 has T elements",
    ),
    Bad("a quotient by zero", steps("y: Real[T, D]", "y[t, d] = x[t // 0, d]", "return y"), "a division by zero"),
    Bad(
        "a quotient by a negative number",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[t // -2, d]", "return y"),
        "-2 is not at least 1",
    ),
    Bad(
        "a label at a quotient",
        body("y: Real[T, D]", "y[t, d] = x[s[t // 2], d]", "return y", signature="x: Real[T, D], s: Int[T]"),
        "label 's[t // 2]' is not supported",
    ),
    Bad(
        "a power as a subscript",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[t**2, d]", "return y"),
        "subscript 't**2' is not affine",
    ),
    Bad(
        "a division as a subscript",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[t/2, d]", "return y"),
        "subscript 't/2' is not affine",
    ),
    Bad(
        "a function as a subscript",
        steps("y: Real[T, D]", "y[t, d] = x[maximum(t - 1, 0), d]", "return y"),
        "subscript 'maximum(t - 1, 0)' is not supported",
    ),
    Bad(
        "a Real hyper-parameter in a subscript",
        body("y: Real[T, D]", "y[t, d] = padded(x)[t - s, d]", "return y", signature="x: Real[T, D], *, s: Real = 1"),
        "hyper-parameter 's' is Real and can't be a subscript",
    ),
    Bad(
        "a fraction in a subscript",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[t - 0.5, d]", "return y"),
        "subscript '0.5' is not supported",
    ),
    Bad(
        "a Real element in a subscript",
        steps("y: Real[T, D]", "y[t, d] = padded(x)[t + x[0, 0], d]", "return y"),
        "'x' is Real and can't be a subscript",
    ),
    Bad(
        "a mask in an affine subscript",
        body("y: Real[T, D]", "y[t, d] = padded(x)[t + m[t], d]", "return y", signature="x: Real[T, D], m: Bool[T]"),
        "'m' is Bool and can't be a subscript",
    ),
    Bad(
        "an index times a label",
        body("y: Real[T, D]", "y[t, d] = padded(x)[t*m[t], d]", "return y", signature="x: Real[T, D], m: Int[T]"),
        "subscript 't*m[t]' is not affine",
    ),
    Bad(
        "padded scalar",
        body("y[t, d] = x[t, d]*padded(a)[t]", "return y", signature="x: Real[T, D], a: Real"),
        "'a' is a scalar and is not padded",
    ),
    Bad(
        "padded hyper",
        body("y[t, d] = x[t, d]*padded(a)[t]", "return y", signature="x: Real[T, D], *, a: Real = 1"),
        "'a' is a scalar and is not padded",
    ),
    Bad(
        "padded call",
        steps("y[t, d] = padded(relu(x))[t, d]", "return y"),
        "'padded' takes a tensor, 'relu(x)' is none",
    ),
    Bad("padded element", steps("y[t, d] = padded(x[t - 1, d])", "return y"), "'padded(…)' without subscripts"),
    Bad("padded element 2", steps("y[t, d] = padded(x[t, d])[t - 1, d]", "return y"), "'padded' of an element"),
    Bad("padded alone", steps("y = padded(x)", "return y"), "'padded(…)' without subscripts"),
    Bad(
        "padded nothing",
        steps("y[t, d] = padded()[t, d]", "return y"),
        "'padded' takes a tensor and the value outside, got 0",
    ),
    Bad(
        "padded three",
        steps("y[t, d] = padded(x, 0, 1)[t, d]", "return y"),
        "'padded' takes a tensor and the value outside, got 3",
    ),
    Bad(
        "padded keyword",
        steps("y[t, d] = padded(x, fill=1)[t, d]", "return y"),
        "'padded' takes a tensor and the value outside, without names",
    ),
    Bad("padded by a tensor", steps("y[t, d] = padded(x, x[0, 0])[t, d]", "return y"), "'x[0, 0]' is not a constant"),
    Bad("padded by an index", steps("y[t, d] = padded(x, t)[t, d]", "return y"), "the value outside, 't', is an index"),
    Bad("padded rank", steps("y[t, d] = x[t, d]*padded(x)[t - 1]", "return y"), "'x' has 2 axes, got 1 subscript"),
    Bad("padded unknown", steps("y[t, d] = x[t, d]*padded(z)[t - 1]", "return y"), "unknown tensor 'z'"),
    Bad(
        "padded in subscript",
        body("y[t, d] = x[padded(m)[t - 1], d]", "return y", signature="x: Real[T, D], m: Int[T]"),
        "subscript 'padded(m)[t - 1]' is not supported",
    ),
    Bad("range twice", steps("y[t] = sum[r: 3, r: 2](x[t, 0]*r)", "return y"), "index 'r' stands twice"),
    Bad("range step", steps("y[t] = sum[r: 3: 2](x[t, 0]*r)", "return y"), "'r: 3: 2' has two ranges"),
    Bad("range open", steps("y[t] = sum[r:](x[t, 0]*r)", "return y"), "'r:' is not a range"),
    Bad("range no letter", steps("y[t] = sum[:3](x[t, 0])", "return y"), "':3' is not a range"),
    Bad("range from", steps("y[t] = sum[1: 3](x[t, 0])", "return y"), "'1: 3' is not a range"),
    Bad(
        "range softmax",
        steps("y[t, d] = softmax[d: 3](x[t, d])", "return y"),
        "'softmax' keeps its index, whose range is that of the left",
    ),
    Bad("range real", steps("y[t] = sum[r: 2.5](x[t, 0]*r)", "return y"), "the range '2.5' is not an integer"),
    Bad(
        "range real hyper",
        body("y[t] = sum[r: s](x[t, 0]*r)", "return y", signature="x: Real[T, D], *, s: Real = 2"),
        "the range 's' is not an integer",
    ),
    Bad("range index", steps("y[t] = sum[r: t](x[r, 0])", "return y"), "the range 't' depends on an index"),
    Bad(
        "range tensor",
        body("y[t] = sum[r: k](x[t, 0]*r)", "return y", signature="x: Real[T, D], k: Int"),
        "'k' is a tensor, not a constant",
    ),
    Bad(
        "range element",
        body("y[t] = sum[r: k[t]](x[t, 0]*r)", "return y", signature="x: Real[T, D], k: Int[T]"),
        "'k[t]' is not a constant",
    ),
    Bad("range zero", steps("y[t] = sum[r: 0](x[t, 0]*r)", "return y"), "a range of 0 values"),
    Bad("range negative", steps("y[t] = sum[r: -2](x[t, 0]*r)", "return y"), "a range of -2 values"),
    Bad("range unknown", steps("y[t] = sum[r: K](x[t, 0]*r)", "return y"), "unknown name 'K'"),
    Bad("range huge", steps("y[t] = sum[r: 10**12](x[t, 0]*r)", "return y"), "a range of 1000000000000 values"),
    Bad(
        "range dots", body("y = sum[...: 3](x[..., 0])", "return y", signature="x: Real[..., D]"), "'...' with a range"
    ),
    Bad("range compared only", steps("y[t] = sum[r](where(r < 3, x[t, 0], 0))", "return y"), "index 'r' has no range"),
    Bad("a strided left index", steps("y[p, d] = x[2*p, d]", "return y"), "index 'p' has no range"),
    Bad("a padded left index", steps("y[p, d] = padded(x)[2*p - 1, d]", "return y"), "index 'p' has no range"),
    Bad("a padded index of a sum", steps("y[d] = sum[p](padded(x)[2*p - 1, d])", "return y"), "index 'p' has no range"),
    Bad(
        "declared contradiction",
        steps("y: Real[D, D]", "y[t, d] = x[t, d]", "return y"),
        "index 't' runs over D (y, axis 0) and over T (x, axis 0)",
    ),
    Bad(
        "declared longer",
        steps("P = T + 1", "y: Real[P, D]", "y[t, d] = x[t, d]", "return y"),
        "index 't' runs over P (y, axis 0) and over T (x, axis 0)",
    ),
    Bad(
        "one too far",
        steps("y: Real[T, D]", "y[t, d] = x[t + 1, d]", "return y"),
        "'t + 1' reaches T at t = T - 1, and x, axis 0 has T elements",
    ),
    Bad(
        "window too far",
        steps("P = T // 2", "y: Real[P, D]", "y[p, d] = max[r: 3](x[2*p + r, d])", "return y"),
        "'2*p + r' may reach 2*P at p = P - 1, r = 2, and x, axis 0 has T elements",
    ),
    Bad(
        "pad not padded",
        body(
            "P = (T + 2*pad - 3)//stride + 1",
            "y: Real[P, D]",
            "y[p, d] = max[r: 3](x[stride*p + r - pad, d])",
            "return y",
            signature="x: Real[T, D], *, pad: Int = 1, stride: Int = 1",
        ),
        "'stride*p + r - pad' may reach -pad at p = 0, r = 0, and x, axis 0 has elements from 0 on",
    ),
    Bad(
        "hyper offset",
        body(
            "P = T - 3", "y: Real[P, D]", "y[p, d] = x[p + k, d]", "return y", signature="x: Real[T, D], *, k: Int = 1"
        ),
        "'p + k' may reach k at p = 0, and x, axis 0 has elements from 0 on",
    ),
    Bad(
        "reverse off by one",
        steps("y: Real[T, D]", "y[t, d] = x[T - t, d]", "return y"),
        "'T - t' reaches T at t = 0, and x, axis 0 has T elements",
    ),
    Bad(
        "negative divisor",
        steps("P = T // -2", "y: Real[P, D]", "y[p, d] = x[0, d]*p", "return y"),
        "-2 is not at least 1",
    ),
    Bad("zero divisor", steps("P = T // 0", "y: Real[P, D]", "y[p, d] = x[0, d]*p", "return y"), "a division by zero"),
    Bad(
        "negative stride",
        steps("y: Real[T, D]", "y[p, d] = x[-p, d]", "return y"),
        "'-p' may reach 1 - T at p = T - 1, and x, axis 0 has elements from 0 on",
    ),
    Bad(
        "difference of strides",
        body(
            "y: Real[T, D]",
            "y[t, d] = x[t*a - t*b, d]",
            "return y",
            signature="x: Real[T, D], *, a: Int = 2, b: Int = 1",
        ),
        "'t*a - t*b' may reach b + T*a - a - T*b at t = T - 1, and x, axis 0 has T elements",
    ),
    Bad("affine left", steps("y[2*t, d] = x[t, d]", "return y"), "affine subscript '2*t' on the left is not supported"),
    Bad("a slice of a window", steps("y[t, d] = x[t:t+2, d]", "return y"), "a slice is not part of the layer language"),
    Bad(
        "call too large window",
        body("y = pool(x)", "return y", signature="x: Real[N, 2]") + _POOL,
        "size 'P' of pool is 0",
    ),
    Bad(
        "call zero stride",
        body("y = pool(x, k=0)", "return y", signature="x: Real[N, L]") + _POOL,
        "'pool' takes for granted that k is at least 1",
    ),
    Bad(
        "call negative stride",
        body("y = pool(x, k=-1)", "return y", signature="x: Real[N, L]") + _POOL,
        "'pool' takes for granted that k is at least 1",
    ),
    Bad(
        "int recurrence",
        body("h[-1] = 0", "h[t] = where(h[t-1] > x[t, 0], n, n + 1)", "return h", signature="x: Real[T, D], n: Int"),
        "'h' is Int and was taken as Real",
    ),
    Bad(
        "no range of time",
        steps("h: Real[T, D]", "h[-1, d] = 0", "g[t, d] = h[t - 1, e]", "h[t, d] = g[t, d] + x[t, d]", "return h"),
        "index 'e' is on the right only",
    ),
    Bad(
        "recurrence without time range",
        steps("h[-1, d] = x[0, d]", "h[t, d] = 2*h[t - 1, d]", "return h"),
        "index 't' has no range",
    ),
    Bad(
        "nested pending letters",
        steps(
            "h[-1, d] = 0",
            "g[t, d] = h[t - 1, d]",
            "k[t, d] = g[t, d]",
            "h[t, d] = 2*k[t, d]",
            "y = sum[t, d](x[t, d]*h[t, d])",
            "return y",
        ),
        "index 't' has no range",
    ),
    Bad(
        "start twice letters",
        steps("h[-1, d, d] = 0", "h[t, d, e] = h[t-1, d, e] + x[t, d]", "return h"),
        "index 'd' stands twice on the left",
    ),
    Bad(
        "start left affine",
        steps("h[-1, 2*d] = 0", "h[t, d] = h[t-1, d] + x[t, d]", "return h"),
        "affine subscript '2*d' on the left is not supported",
    ),
    Bad(
        "decl rank",
        steps("h: Real[T]", "h[-1, d] = 0", "h[t, d] = h[t-1, d] + x[t, d]", "return h"),
        "'h' is declared with 1 axis and has 2 here",
    ),
    Bad(
        "decl size",
        body(
            "h: Real[T, T]",
            "h[-1, d] = c[d]",
            "h[t, d] = h[t-1, d] + x[t, d]",
            "return h",
            signature="x: Real[T, D], c: Real[D]",
        ),
        "index 'd' runs over T (h, axis 1) and over D (c, axis 0)",
    ),
    Bad(
        "equation twice",
        steps("h[-1, d] = 0", "h[t, d] = h[t-1, d] + x[t, d]", "h[t, d] = x[t, d]", "return h"),
        "'h' is assigned twice",
    ),
    Bad(
        "start -2",
        steps("h[-2, d] = 0", "h[t, d] = h[t-1, d] + x[t, d]", "return h"),
        "an equation for one element, 'h[-2, d]', is not supported",
    ),
    Bad("start of param", steps("x[-1, d] = 0", "h[t, d] = x[t, d]", "return h"), "'x' is a parameter"),
    Bad(
        "missing start inside",
        steps("c[-1, d] = 0", "h[t, d] = h[t-1, d] + c[t-1, d]", "c[t, d] = h[t, d] + x[t, d]", "return c"),
        "'h' reads its earlier elements and has no start",
    ),
    Bad(
        "other time length",
        body(
            "h[-1] = 0",
            "g[-1] = 0",
            "h[t] = h[t-1] + g[t-1] + x[t]",
            "g[t] = g[t-1] + h[t] + z[t]",
            "return g",
            signature="x: Real[T], z: Real[S]",
        ),
        "index 't' runs over T (g, axis 0) and over S (z, axis 0)",
    ),
)
