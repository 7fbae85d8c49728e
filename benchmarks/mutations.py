"""Mistakes to make in the hand-written backward passes of ``benchmarks/specimens``, each with its right name.

A mistake is a piece of text that is replaced. What it should be called is set
here, by what was done to the code; where two names say the same thing of the
same numbers (a mean for a sum is a factor 1/N), both count. ``about`` is a
result that the explanation has to account for.
"""

from __future__ import annotations

from dataclasses import dataclass

from derive.diagnosis import Cause

__all__ = ["HELD_OUT", "MUTATIONS", "SPECIMENS", "Mutation", "Specimen"]

FACTOR, SIGN, LABELS, TRANSPOSE = Cause.FACTOR, Cause.SIGN, Cause.LABELS, Cause.TRANSPOSE
MISSING, AXIS = Cause.SUM_MISSING, Cause.SUM_AXIS
LEFT_OUT, TWICE = Cause.PATH_MISSING, Cause.PATH_TWICE
WRONG, DERIVATIVE, SWAPPED = Cause.INTERMEDIATE, Cause.DERIVATIVE, Cause.SWAPPED
ZERO, ACCUMULATED, OVERWRITTEN, SETTING = Cause.ZERO, Cause.ACCUMULATED, Cause.OVERWRITTEN, Cause.SETTING
SHAPE, PLACE, UNSTABLE, CRASH = Cause.SHAPE, Cause.PLACE, Cause.UNSTABLE, Cause.CRASH


@dataclass(frozen=True, slots=True)
class Specimen:
    """Correct code: the file's name, the layer, and the shapes in which the code wants its tensors."""

    name: str
    layer: str
    shapes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mutation:
    """One mistake.

    Attributes:
        specimen: the file's name.
        kind: what was done to the code.
        old, new: the text and what replaces it; the text occurs once.
        about: a result that is wrong by it.
        causes: what it is to be called.
        says: a word that the explanation has to contain, where the cause alone does not say it.
        text: the whole text with the mistake in it, where it was not made by replacing one piece.
    """

    specimen: str
    kind: str
    old: str
    new: str
    about: str
    causes: tuple[Cause, ...]
    says: str = ""
    text: str = ""


SPECIMENS = (
    Specimen("linear", "linear"),
    Specimen("batchnorm", "batchnorm"),
    Specimen("batchnorm_closed", "batchnorm"),
    Specimen("layernorm", "layernorm"),
    Specimen("softmax", "softmax"),
    Specimen("cross_entropy", "cross_entropy"),
    Specimen("attention", "attention"),
    Specimen("conv2d", "conv2d"),
    Specimen("lstm_cell", "lstm_cell", (("wx", "I,4*H"), ("wh", "H,4*H"), ("bx", "4*H"), ("bh", "4*H"))),
    Specimen("char_mlp", "char_mlp", (("W1", "B*E,H"),)),
)

HELD_OUT = (
    Specimen("rmsnorm", "rmsnorm"),
    Specimen("feed_forward", "feed_forward"),
    Specimen("batchnorm2d", "batchnorm2d"),
    Specimen("rnn_cell", "rnn_cell"),
    Specimen("cosine_similarity", "cosine_similarity"),
    Specimen("mse_loss", "mse_loss"),
)
"""Specimens of layers on which no guess was tried while they were written."""


def _of(specimen: str, *rows: tuple[object, ...]) -> tuple[Mutation, ...]:
    found = []
    for kind, old, new, about, causes, *says in rows:
        several = causes if isinstance(causes, tuple) else (causes,)
        found.append(Mutation(specimen, str(kind), str(old), str(new), str(about), several, *map(str, says)))
    return tuple(found)


LINEAR = _of(
    "linear",
    ("transpose", "dw = rows.T @ flat", "dw = flat.T @ rows", "dw", TRANSPOSE),
    ("wrong axis", "np.sum(flat, axis=0)", "np.sum(flat, axis=1)", "db", AXIS),
    ("missing sum", "np.sum(flat, axis=0)", "flat", "db", MISSING),
    ("wrong axis", "np.sum(flat, axis=0)", "np.sum(flat)", "db", AXIS),
    ("mean for sum", "np.sum(flat, axis=0)", "np.mean(flat, axis=0)", "db", FACTOR, "batch"),
    ("extra factor", "dw = rows.T @ flat", "dw = rows.T @ flat / len(rows)", "dw", FACTOR, "batch"),
    ("sign", "dx = dy @ w.T", "dx = -dy @ w.T", "dx", SIGN),
    ("sign", "dw = rows.T @ flat", "dw = -(rows.T @ flat)", "dw", SIGN),
    ("extra factor", "db = np.sum(flat, axis=0)", "db = 2 * np.sum(flat, axis=0)", "db", FACTOR, "2"),
    ("reshape for transpose", "dw = rows.T @ flat", "dw = (flat.T @ rows).reshape(w.shape)", "dw", TRANSPOSE),
    ("extra axis", "np.sum(flat, axis=0)", "np.sum(flat, axis=0, keepdims=True)", "db", SHAPE),
    ("zero", "dx = dy @ w.T", "dx = np.zeros_like(x)", "dx", ZERO),
    ("dropped rows", "dw = rows.T @ flat", "dw = rows[1:].T @ flat[1:]", "dw", PLACE),
    (
        "state",
        "    return dx, dw, db",
        "    backward.db = getattr(backward, 'db', 0) + db\n    return dx, dw, backward.db",
        "db",
        ACCUMULATED,
    ),
)

BATCHNORM = _of(
    "batchnorm",
    (
        "dropped term",
        "dx = dxhat / std + 2 * dvar * xc / N + dmu / N",
        "dx = dxhat / std + dmu / N",
        "dx",
        LEFT_OUT,
        "var",
    ),
    (
        "dropped term",
        "dx = dxhat / std + 2 * dvar * xc / N + dmu / N",
        "dx = dxhat / std + 2 * dvar * xc / N",
        "dx",
        LEFT_OUT,
        "mu",
    ),
    (
        "dropped term",
        "dx = dxhat / std + 2 * dvar * xc / N + dmu / N",
        "dx = 2 * dvar * xc / N + dmu / N",
        "dx",
        LEFT_OUT,
    ),
    ("dropped factor", "2 * dvar * xc / N + dmu", "dvar * xc / N + dmu", "dx", FACTOR, "1/2"),
    ("dropped factor", "2 * dvar * xc / N + dmu / N", "2 * dvar * xc + dmu / N", "dx", FACTOR, "1/N"),
    ("dropped factor", "+ dmu / N", "+ dmu", "dx", FACTOR, "1/N"),
    ("N - 1 for N", "2 * dvar * xc / N", "2 * dvar * xc / (N - 1)", "dx", FACTOR, "N - 1"),
    ("exponent", "/ std**3", "/ std**2", "dx", FACTOR),
    ("dropped factor", "-0.5 * (dxhat", "-(dxhat", "dx", (FACTOR, TWICE), ""),
    ("sign", "-0.5 * (dxhat", "0.5 * (dxhat", "dx", SIGN),
    ("sign", "dmu = -(dxhat / std)", "dmu = (dxhat / std)", "dx", SIGN),
    ("stale value", "(dxhat * xc).sum(axis=0) / std**3", "(dxhat * x).sum(axis=0) / std**3", "dx", WRONG, "x["),
    ("stale value", "(dout * xhat)", "(dout * xc)", "dgamma", WRONG, "xc"),
    ("stale value", "(dout * xhat)", "(dout * x)", "dgamma", WRONG, "x["),
    ("dropped factor", "dxhat = dout * gamma", "dxhat = dout", "dx", FACTOR, "gamma"),
    ("swapped names", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma", "dgamma", SWAPPED),
    ("wrong axis", "dbeta = dout.sum(axis=0)", "dbeta = dout.sum(axis=1)", "dbeta", AXIS),
    ("missing sum", "(dout * xhat).sum(axis=0)", "dout * xhat", "dgamma", MISSING),
    ("missing sum", "(dxhat * xc).sum(axis=0)", "(dxhat * xc)", "dx", MISSING),
    ("missing sum", "dmu = -(dxhat / std).sum(axis=0)", "dmu = -(dxhat / std)", "dx", MISSING),
    ("twice", "dx = dxhat / std +", "dx = 2 * dxhat / std +", "dx", (TWICE, FACTOR), ""),
    ("mean for sum", "dbeta = dout.sum(axis=0)", "dbeta = dout.mean(axis=0)", "dbeta", FACTOR, "1/N"),
)

BATCHNORM_CLOSED = _of(
    "batchnorm_closed",
    ("dropped term", ' - grads["beta"] - xhat', " - xhat", "dx", LEFT_OUT),
    ("dropped term", ' - xhat * grads["gamma"])', ")", "dx", LEFT_OUT),
    ("dropped factor", "(N * dout -", "(dout -", "dx", FACTOR, "1/N"),
    ("dropped factor", "gamma * rstd / N *", "gamma * rstd *", "dx", FACTOR, "1/N"),
    ("dropped factor", "gamma * rstd / N *", "rstd / N *", "dx", FACTOR, "gamma"),
    ("dropped factor", "gamma * rstd / N *", "gamma / N *", "dx", FACTOR, "rstd"),
    ("sign", '- grads["beta"] - xhat', '+ grads["beta"] - xhat', "dx", SIGN),
    ("sign", '- xhat * grads["gamma"])', '+ xhat * grads["gamma"])', "dx", SIGN),
    ("wrong size", "rstd / N *", "rstd / D *", "dx", FACTOR, "/"),
    ("stale value", '- xhat * grads["gamma"])', '- cache["xc"] * grads["gamma"])', "dx", (WRONG, FACTOR), ""),
    (
        "swapped names",
        '- grads["beta"] - xhat * grads["gamma"]',
        '- grads["gamma"] - xhat * grads["beta"]',
        "dx",
        (WRONG, SWAPPED),
        "",
    ),
    ("swapped keys", 'grads["beta"] = np.sum(dout, axis=0)', 'grads["beta"] = grads["gamma"]', "dbeta", SWAPPED),
    ("extra factor", "np.sum(dout * xhat, axis=0)", "np.sum(dout * xhat, axis=0) * gamma", "dgamma", FACTOR, "gamma"),
    ("exponent", "gamma * rstd / N", "gamma * rstd**2 / N", "dx", FACTOR, "rstd"),
    ("twice", '- grads["beta"] - xhat', '- 2 * grads["beta"] - xhat', "dx", (TWICE, FACTOR), ""),
)

LAYERNORM = _of(
    "layernorm",
    ("dropped term", "(dxhat - m1 - xhat * m2)", "(dxhat - xhat * m2)", "dx", LEFT_OUT),
    ("dropped term", "(dxhat - m1 - xhat * m2)", "(dxhat - m1)", "dx", LEFT_OUT),
    ("sign", "(dxhat - m1 - xhat * m2)", "(dxhat - m1 + xhat * m2)", "dx", SIGN),
    ("sum for mean", "m1 = dxhat.mean(axis=-1", "m1 = dxhat.sum(axis=-1", "dx", FACTOR, "1/D"),
    ("sum for mean", "m2 = (dxhat * xhat).mean(axis=-1", "m2 = (dxhat * xhat).sum(axis=-1", "dx", FACTOR, "1/D"),
    ("wrong axis", "m1 = dxhat.mean(axis=-1", "m1 = dxhat.mean(axis=0", "dx", AXIS),
    ("wrong axis", "m2 = (dxhat * xhat).mean(axis=-1", "m2 = (dxhat * xhat).mean(axis=0", "dx", AXIS),
    ("dropped factor", "dx = rstd * (", "dx = (", "dx", FACTOR, "rstd"),
    ("dropped factor", "- xhat * m2)", "- m2)", "dx", FACTOR, "xhat"),
    ("stale value", "- xhat * m2)", "- xc * m2)", "dx", (WRONG, FACTOR), ""),
    ("stale value", "m2 = (dxhat * xhat)", "m2 = (dxhat * xc)", "dx", (WRONG, FACTOR), ""),
    ("stale value", "m2 = (dxhat * xhat)", "m2 = (dout * xhat)", "dx", (WRONG, FACTOR), ""),
    ("dropped factor", "dxhat = dout * gamma", "dxhat = dout", "dx", FACTOR, "gamma"),
    ("wrong axis", "dbeta = dout.sum(axis=axes)", "dbeta = dout.sum(axis=-1)", "dbeta", AXIS),
    ("missing sum", "dgamma = (dout * xhat).sum(axis=axes)", "dgamma = dout * xhat", "dgamma", MISSING),
    ("missing sum", "m1 = dxhat.mean(axis=-1, keepdims=True)", "m1 = dxhat / dxhat.shape[-1]", "dx", MISSING),
    ("swapped names", "return dx, dgamma, dbeta", "return dx, dbeta, dgamma", "dgamma", SWAPPED),
)

SOFTMAX = _of(
    "softmax",
    ("dropped term", "y * (dy - inner)", "y * dy", "dz", LEFT_OUT),
    ("dropped term", "y * (dy - inner)", "-y * inner", "dz", LEFT_OUT),
    ("sign", "y * (dy - inner)", "y * (dy + inner)", "dz", SIGN),
    ("dropped factor", "y * (dy - inner)", "(dy - inner)", "dz", FACTOR, "y"),
    ("only the diagonal", "y * (dy - inner)", "dy * y * (1 - y)", "dz", MISSING),
    ("dropped factor", "inner = (dy * y).sum", "inner = dy.sum", "dz", FACTOR, "y"),
    ("mean for sum", "inner = (dy * y).sum", "inner = (dy * y).mean", "dz", FACTOR, "1/C"),
    ("wrong axis", "(dy * y).sum(axis=-1", "(dy * y).sum(axis=0", "dz", AXIS),
    ("wrong axis", "(dy * y).sum(axis=-1, keepdims=True)", "(dy * y).sum()", "dz", AXIS),
    ("stale value", "y * (dy - inner)", "z * (dy - inner)", "dz", WRONG, "z"),
    ("stale value", "inner = (dy * y)", "inner = (dy * z)", "dz", WRONG, "z"),
    ("sign", "dz = y * (dy - inner)", "dz = y * (inner - dy)", "dz", SIGN),
    (
        "overflow",
        "y, z = cache\n",
        "y, z = cache\n    y = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)\n",
        "dz",
        UNSTABLE,
    ),
)

CROSS_ENTROPY = _of(
    "cross_entropy",
    ("dropped factor", "dz = dz / n", "dz = dz", "dz", FACTOR, "1/N"),
    ("wrong size", "dz = dz / n", "dz = dz / z.shape[1]", "dz", FACTOR, "/"),
    ("dropped term", "    dz[rows, t] -= 1\n", "", "dz", LEFT_OUT),
    ("sign", "dz[rows, t] -= 1", "dz[rows, t] += 1", "dz", SIGN),
    ("sign", "dz = dz / n", "dz = -dz / n", "dz", (SIGN, FACTOR), ""),
    ("labels off by one", "dz[rows, t] -= 1", "dz[rows, t - 1] -= 1", "dz", LABELS),
    ("labels off by one", "dz[rows, t] -= 1", "dz[rows, (t + 1) % z.shape[1]] -= 1", "dz", LABELS),
    ("wrong axis", "p = e / e.sum(axis=1, keepdims=True)", "p = e / e.sum(axis=0, keepdims=True)", "dz", AXIS),
    ("stale value", "dz = p.copy()", "dz = z.copy()", "dz", WRONG),
    ("stale value", "dz = p.copy()", "dz = np.log(p)", "dz", (WRONG, DERIVATIVE), "logp"),
    ("dropped term", "dz = p.copy()", "dz = np.zeros_like(p)", "dz", LEFT_OUT),
    ("broadcast labels", "dz[rows, t] -= 1", "dz[:, t] -= 1", "dz", (Cause.PLACE, MISSING, AXIS), ""),
    ("extra factor", "dz = dz / n", "dz = dz / n**2", "dz", FACTOR, "1/N"),
    ("overflow", "shifted = z - z.max(axis=1, keepdims=True)", "shifted = z", "dz", UNSTABLE),
    ("twice", "dz[rows, t] -= 1", "dz[rows, t] -= 2", "dz", (TWICE, FACTOR), ""),
)

ATTENTION = _of(
    "attention",
    ("dropped factor", "dq = scale * (ds @ k)", "dq = ds @ k", "dq", FACTOR, "sqrt(D)"),
    ("dropped factor", "dk = scale * (", "dk = (", "dk", FACTOR, "sqrt(D)"),
    ("extra factor", "dq = scale * (ds @ k)", "dq = scale * scale * (ds @ k)", "dq", FACTOR, "sqrt(D)"),
    ("dropped term", "ds = p * (dp - inner)", "ds = p * dp", "dq", LEFT_OUT, "dscore"),
    ("sign", "ds = p * (dp - inner)", "ds = p * (dp + inner)", "dq", SIGN),
    ("dropped factor", "ds = p * (dp - inner)", "ds = dp - inner", "dq", FACTOR, "p"),
    ("only the diagonal", "ds = p * (dp - inner)", "ds = dp * p * (1 - p)", "dq", MISSING),
    ("wrong axis", "(dp * p).sum(axis=-1", "(dp * p).sum(axis=-2", "dq", AXIS),
    ("mean for sum", "(dp * p).sum(axis=-1", "(dp * p).mean(axis=-1", "dq", FACTOR, "1/S"),
    ("stale value", "dv = p.swapaxes", "dv = s.swapaxes", "dv", WRONG, "score"),
    ("stale value", "ds = p * (dp - inner)", "ds = s * (dp - inner)", "dq", WRONG, "score"),
    ("sign", "dk = scale *", "dk = -scale *", "dk", SIGN),
    ("extra factor", "dv = p.swapaxes(-1, -2) @ dy", "dv = scale * (p.swapaxes(-1, -2) @ dy)", "dv", FACTOR, "sqrt(D)"),
    ("swapped names", "return dq, dk, dv", "return dk, dq, dv", "dq", SWAPPED),
    ("transpose", "dv = p.swapaxes(-1, -2) @ dy", "dv = (p.swapaxes(-1, -2) @ dy).swapaxes(-1, -2)", "dv", TRANSPOSE),
    ("wrong size", "dq = scale * (ds @ k)", "dq = (ds @ k) / np.sqrt(k.shape[-2])", "dq", FACTOR, "sqrt"),
)

CONV2D = _of(
    "conv2d",
    ("missing sum", "db = dy.sum(axis=(0, 2, 3))", "db = dy.sum(axis=(2, 3))", "db", MISSING, "n"),
    ("wrong axis", "db = dy.sum(axis=(0, 2, 3))", "db = dy.sum(axis=(1, 2, 3))", "db", AXIS),
    ("mean for sum", "db = dy.sum(axis=(0, 2, 3))", "db = dy.mean(axis=(0, 2, 3))", "db", FACTOR, "N"),
    ("mean over a part", "db = dy.sum(axis=(0, 2, 3))", "db = dy.sum(axis=(2, 3)).mean(axis=0)", "db", FACTOR, "1/N"),
    (
        "turned kernel",
        '"nfpq,fc->ncpq", dy, w[:, :, r, s]',
        '"nfpq,fc->ncpq", dy, w[:, :, -1 - r, -1 - s]',
        "dx",
        TRANSPOSE,
    ),
    ("turned result", "dw[:, :, r, s] = np", "dw[:, :, -1 - r, -1 - s] = np", "dw", TRANSPOSE),
    ("overwritten", "dxp[:, :, down, across] += np", "dxp[:, :, down, across] = np", "dx", OVERWRITTEN),
    (
        "padding ignored",
        "dx = dxp[:, :, pad : pad + height, pad : pad + width]",
        "dx = dxp[:, :, :height, :width]",
        "dx",
        SETTING,
        "pad",
    ),
    ("sign", "dw[:, :, r, s] = np", "dw[:, :, r, s] = -np", "dw", SIGN),
    ("extra factor", "    return dx, dw, db", "    return dx, dw / len(x), db", "dw", FACTOR, "1/N"),
    ("transpose", "    return dx, dw, db", "    return dx, dw.swapaxes(0, 1), db", "dw", TRANSPOSE),
    ("transpose", "    return dx, dw, db", "    return dx, dw.swapaxes(2, 3), db", "dw", TRANSPOSE),
    (
        "dilation ignored",
        "down = slice(r * dilation, r * dilation + stride * (rows - 1) + 1, stride)",
        "down = slice(r, r + stride * (rows - 1) + 1, stride)",
        "dx",
        SETTING,
        "dilation",
    ),
    (
        "stride ignored",
        "dy, xp[:, :, down, across])",
        "dy, xp[:, :, r * dilation :, s * dilation :][:, :, :rows, :columns])",
        "dw",
        SETTING,
        "stride",
    ),
    ("zero border", "    return dx, dw, db", "    dx[:, :, 1] = 0\n    return dx, dw, db", "dx", PLACE),
    ("extra factor", "    return dx, dw, db", "    return stride * dx, dw, db", "dx", FACTOR, "stride"),
    ("dropped rows", "    return dx, dw, db", "    return dx, dw, dy[:, :, 1:].sum(axis=(0, 2, 3))", "db", PLACE),
)

LSTM_CELL = _of(
    "lstm_cell",
    ("dropped term", "dct = dc_next + dh_next * o * (1 - tc**2)", "dct = dh_next * o * (1 - tc**2)", "dc", LEFT_OUT),
    ("dropped term", "dct = dc_next + dh_next * o * (1 - tc**2)", "dct = dc_next", "dc", LEFT_OUT),
    ("local derivative", "dh_next * o * (1 - tc**2)", "dh_next * o * (1 - tc)", "dc", DERIVATIVE),
    ("dropped factor", "dh_next * o * (1 - tc**2)", "dh_next * o", "dc", FACTOR, "1 - "),
    ("dropped factor", "dh_next * o * (1 - tc**2)", "dh_next * (1 - tc**2)", "dc", FACTOR, "o"),
    ("stale value", "(1 - tc**2)", "(1 - c_next**2)", "dc", WRONG, "c_next"),
    ("stale value", "do = dh_next * tc", "do = dh_next * c_next", "dx", WRONG, "c_next"),
    ("stale value", "df = dct * c", "df = dct * c_next", "dx", WRONG, "c_next"),
    ("swapped gates", "[dai, daf, dag, dao]", "[dai, dag, daf, dao]", "dx", SWAPPED),
    ("dropped factor", "dai = di * i * (1 - i)", "dai = di * (1 - i)", "dx", FACTOR, "i"),
    ("dropped factor", "daf = df * f * (1 - f)", "daf = df * f", "dx", FACTOR, "1 - f"),
    ("dropped factor", "dag = dg * (1 - g**2)", "dag = dg", "dx", FACTOR, "1 - g"),
    ("local derivative", "dag = dg * (1 - g**2)", "dag = dg * g * (1 - g)", "dx", (DERIVATIVE, WRONG), "g"),
    ("local derivative", "dao = do * o * (1 - o)", "dao = do * (1 - o**2)", "dx", (DERIVATIVE, WRONG), "o"),
    ("swapped names", "di = dct * g", "di = dct * i", "dx", WRONG, "i["),
    ("stale value", "dc = dct * f", "dc = dct * i", "dc", WRONG, "i["),
    ("missing sum", "dbx = rows.sum(axis=0)", "dbx = rows", "dbx", (MISSING, SHAPE), ""),
    (
        "swapped names",
        "dwh = h.reshape(-1, h.shape[-1]).T @ rows",
        "dwh = c.reshape(-1, h.shape[-1]).T @ rows",
        "dwh",
        WRONG,
        "c[",
    ),
    ("sign", "df = dct * c", "df = -dct * c", "dx", SIGN),
    ("mean for sum", "dbh = rows.sum(axis=0)", "dbh = rows.mean(axis=0)", "dbh", FACTOR, "batch"),
    ("dropped term", "dag = dg * (1 - g**2)", "dag = 0 * dg", "dx", (LEFT_OUT, ZERO), ""),
    ("stale value", "dct = dc_next + dh_next", "dct = dc_next + dc_next", "dc", WRONG, "dc_next"),
)

CHAR_MLP = _of(
    "char_mlp",
    ("overwritten", "np.add.at(dC, x, demb)", "dC[x] = demb", "dC", OVERWRITTEN),
    ("dropped factor", "    dlogits /= n\n", "", "dW2", FACTOR, "1/N"),
    ("labels off by one", "dlogits[np.arange(n), y] -= 1", "dlogits[np.arange(n), y - 1] -= 1", "dW2", LABELS),
    ("local derivative", "dhpre = (1 - h**2) * dh", "dhpre = (1 - h) * dh", "dgamma", DERIVATIVE),
    ("stale value", "dhpre = (1 - h**2) * dh", "dhpre = (1 - hpre**2) * dh", "dgamma", WRONG, "pre_a"),
    ("dropped factor", "dhpre = (1 - h**2) * dh", "dhpre = dh.copy()", "dgamma", FACTOR, "1 - "),
    ("dropped factor", "draw = gamma * dhpre", "draw = dhpre", "dW1", FACTOR, "gamma"),
    ("dropped term", "ddiff += 2 * diff * dsquare", "ddiff += 0", "dW1", LEFT_OUT, "var"),
    ("dropped term", "dhprebn += dmean / n", "dhprebn += 0", "dW1", LEFT_OUT, "mu"),
    ("dropped factor", "dhprebn += dmean / n", "dhprebn += dmean", "dW1", FACTOR, "1/N"),
    (
        "N for N - 1",
        "dsquare = np.ones_like(diff) * dvar / (n - 1)",
        "dsquare = np.ones_like(diff) * dvar / n",
        "dW1",
        FACTOR,
        "N - 1",
    ),
    ("exponent", "dvar = -0.5 * rstd**3", "dvar = -0.5 * rstd**2", "dW1", FACTOR, "rstd"),
    ("sign", "dvar = -0.5", "dvar = 0.5", "dW1", SIGN),
    ("dropped factor", "ddiff += 2 * diff", "ddiff += diff", "dW1", FACTOR, "1/2"),
    ("wrong axis", "db2 = dlogits.sum(axis=0)", "db2 = dlogits.sum(axis=1)", "db2", AXIS),
    ("missing sum", "dbeta = dhpre.sum(axis=0)", "dbeta = dhpre", "dbeta", MISSING),
    ("stale value", "dgamma = (raw * dhpre)", "dgamma = (diff * dhpre)", "dgamma", WRONG, "hc"),
    ("stale value", "dgamma = (raw * dhpre)", "dgamma = (hpre * dhpre)", "dgamma", WRONG, "pre_a"),
    ("stale value", "dW2 = h.T @ dlogits", "dW2 = hpre.T @ dlogits", "dW2", WRONG, "pre_a"),
    ("swapped names", "return dC, dW1, db1, dgamma, dbeta", "return dC, dW1, db1, dbeta, dgamma", "dgamma", SWAPPED),
    ("stale value", "drstd = (diff * draw)", "drstd = (raw * draw)", "dW1", WRONG, "hhat"),
    ("transpose", "dW2 = h.T @ dlogits", "dW2 = dlogits.T @ h", "dW2", TRANSPOSE),
    ("sign", "dmean = -ddiff", "dmean = ddiff", "dW1", SIGN),
)

MUTATIONS = (
    *LINEAR, *BATCHNORM, *BATCHNORM_CLOSED, *LAYERNORM, *SOFTMAX, *CROSS_ENTROPY, *ATTENTION, *CONV2D, *LSTM_CELL,
    *CHAR_MLP,
)  # fmt: skip
