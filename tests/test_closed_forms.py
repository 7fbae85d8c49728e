"""The gradients come out as in the literature: closed, shared, nothing repeated."""

import pytest

from derive.algebra.text import show
from derive.calculus.program import Stage
from derive.language import load, parse
from derive.pipeline import derive_program


def backward(layer):
    """The backward statements as text, by name."""
    return {s.name: show(s.expr) for s in derive_program(layer).backward}


CATALOGUE = {
    # Ioffe & Szegedy (2015); the form in which frameworks implement it.
    "batchnorm": {
        "dx": "gamma[d]*rstd[d]*(N*dy[n, d] - dgamma[d]*xhat[n, d] - dbeta[d])/N",
        "dgamma": "sum[n](dy[n, d]*xhat[n, d])",
        "dbeta": "sum[n](dy[n, d])",
    },
    "batchnorm2d": {
        "dx": "gamma[c]*rstd[c]*(H*N*W*dy[n, c, i, j] - dgamma[c]*xhat[n, c, i, j] - dbeta[c])/(H*N*W)",
    },
    # Ba, Kiros & Hinton (2016): rstd·(g - mean(g) - xhat·mean(g·xhat)), g = γ·dy.
    "layernorm": {
        "dxhat": "gamma[d]*dy[..., d]",
        "dx": "rstd[...]*(dxhat[..., d] - xhat[..., d]*mean[k](dxhat[..., k]*xhat[..., k]) - mean[k](dxhat[..., k]))",
        "dgamma": "sum[...](dy[..., d]*xhat[..., d])",
    },
    # Zhang & Sennrich (2019); mean(g·xhat) is mean(dy·y).
    "rmsnorm": {
        "dx": "rrms[...]*(gamma[d]*dy[..., d] - xhat[..., d]*mean[k](dy[..., k]*y[..., k]))",
    },
    "instancenorm": {
        "dx": "gamma[c]*rstd[n, c]*(dy[n, c, i, j] - xhat[n, c, i, j]*mean[k, l](dy[n, c, k, l]*xhat[n, c, k, l])"
        " - mean[k, l](dy[n, c, k, l]))",
    },
    "softmax": {"dz": "y[..., c]*(dy[..., c] - sum[k](dy[..., k]*y[..., k]))"},
    "log_softmax": {"dz": "dy[..., c] - exp(y[..., c])*sum[k](dy[..., k])"},
    "logsumexp": {"dz": "dy[...]*softmax[c](z[..., c])"},
    "cross_entropy": {"dz": "dloss*(exp(logp[n, c]) - delta(c, t[n]))/N"},
    "cross_entropy_soft": {"dz": "dloss*(exp(logp[n, c])*sum[k](t[n, k]) - t[n, c])/N"},
    "cross_entropy_smoothed": {
        "dz": "dloss*(exp(logp[n, c]) - smoothing/C - (1 - smoothing)*delta(c, t[n]))/N",
    },
    "bce_with_logits": {"dz": "dloss*(sigmoid(z[...]) - t[...])/sum[...](1)"},
    # 1 - y**2 and 1 - y, in the forms that keep their digits where y is close to 1
    "tanh": {"dx": "4*exp(-2*abs(x[...]))*dy[...]/(exp(-2*abs(x[...])) + 1)**2"},
    "sigmoid": {"dx": "sigmoid(-x[...])*dy[...]*y[...]"},
    "softsign": {"dx": "dy[...]/(abs(x[...]) + 1)**2"},
    # Salimans & Kingma (2016), eq. 3.
    "weightnorm": {
        "dg": "sum[i](dw[i, o]*vhat[i, o])",
        "dv": "g[o]*(dw[k, o] - dg[o]*vhat[k, o])/norm_v[o]",
    },
    # Vaswani et al. (2017); rowsum(p·dp) is rowsum(dy·y) (Dao et al., 2022).
    "attention": {
        "dp": "sum[e](dy[..., t, e]*v[..., s, e])",
        "dscore": "p[..., t, s]*(dp[..., t, s] - sum[e](dy[..., t, e]*y[..., t, e]))",
        "dq": "sum[s](dscore[..., t, s]*k[..., s, d])/sqrt(D)",
        "dv": "sum[t](dy[..., t, e]*p[..., t, s])",
    },
    "causal_attention": {
        "dscore": "p[..., t, s]*(dp[..., t, s] - sum[e](dy[..., t, e]*y[..., t, e]))",
    },
    # Every gradient of the network of Bengio et al. (2003) with batch normalization.
    "char_mlp": {
        "dlogits": "dloss*(exp(logp[n, v]) - delta(v, y[n]))/N",
        "da": "sum[v](W2[j, v]*dlogits[n, v])",
        "dpre_a": "da[n, j]*(1 - a[n, j]**2)",
        "dgamma": "sum[n](dpre_a[n, j]*hhat[n, j])",
        "dbeta": "sum[n](dpre_a[n, j])",
        "dh": "gamma[j]*rstd[j]*(dpre_a[n, j] - dbeta[j]/N - dgamma[j]*hhat[n, j]/(N - 1))",
        "demb": "sum[j](dh[n, j]*W1[b, e, j])",
        "dC": "sum[n, b](delta(v, x[n, b])*demb[n, b, e])",
        "dW2": "sum[n](a[n, j]*dlogits[n, v])",
        "db2": "sum[n](dlogits[n, v])",
    },
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_catalogue_layers_have_the_published_gradient(name):
    found = backward(load(name))
    for gradient, expected in CATALOGUE[name].items():
        assert found[gradient] == expected


WRITTEN = {
    "bessel's correction": (
        """
def bessel(x: Real[N, D], *, eps: Real = 1e-5):
    m[d] = sum[n](x[n, d]) / N
    v[d] = sum[n]((x[n, d] - m[d])**2) / (N - 1)
    y[n, d] = (x[n, d] - m[d]) / sqrt(v[d] + eps)
    return y
""",
        "dx",
        "rstd[d]*(dy[n, d] - y[n, d]*sum[m](dy[m, d]*y[m, d])/(N - 1) - mean[m](dy[m, d]))",
    ),
    "batch normalization in one equation": (
        """
def f(x: Real[N, D], gamma: Real[D], beta: Real[D], *, eps: Real = 1e-5):
    y[n, d] = gamma[d] * (x[n, d] - mean[m](x[m, d])) / sqrt(var[m](x[m, d]) + eps) + beta[d]
    return y
""",
        "dx",
        "gamma[d]*rstd[d]*(N*dy[m, d] - dgamma[d]*xhat[m, d] - dbeta[d])/N",
    ),
    "layer normalization by the mean of squares": (
        """
def f(x: Real[..., D], g: Real[D], b: Real[D], *, eps: Real = 1e-5):
    m[...] = mean[d](x[..., d])
    s[...] = sqrt(mean[d](x[..., d]**2) - m[...]**2 + eps)
    y[..., d] = g[d] * (x[..., d] - m[...]) / s[...] + b[d]
    return y
""",
        "dx",
        "(dxhat[..., d] - xhat[..., d]*mean[k](dxhat[..., k]*xhat[..., k]) - mean[k](dxhat[..., k]))/s[...]",
    ),
    "own output of an exponential": (
        "def f(x: Real[N]):\n    y[n] = exp(x[n])\n    return y\n",
        "dx",
        "dy[n]*y[n]",
    ),
    "own output of a root": (
        "def f(x: Positive[N]):\n    y[n] = sqrt(x[n])\n    return y\n",
        "dx",
        "0.5*dy[n]/y[n]",
    ),
    "a normalised vector": (
        "def f(x: Real[N, D]):\n    y[n, d] = x[n, d] / norm[d](x[n, d])\n    return y\n",
        "dx",
        "(dy[n, d] - y[n, d]*sum[k](dy[n, k]*y[n, k]))/norm_x[n]",
    ),
    "softmax in three statements": (
        """
def f(z: Real[N, C]):
    e[n, c] = exp(z[n, c])
    s[n] = sum[c](e[n, c])
    p[n, c] = e[n, c] / s[n]
    return p
""",
        "dz",
        "p[n, c]*(dp[n, c] - sum[k](dp[n, k]*p[n, k]))",
    ),
    "a sum that broadcasting hides": (
        "def f(x: Real[N, D], b: Real[D]):\n    y[n, d] = x[n, d] + b[d]\n    return y\n",
        "db",
        "sum[n](dy[n, d])",
    ),
    "a power of the label's probability (Zhang & Sabuncu, 2018)": (
        """
def f(z: Real[N, C], t: Int[N], *, q: Real = 0.7):
    p[n, c] = softmax[c](z[n, c])
    loss = mean[n]((1 - p[n, t[n]]**q) / q)
    return loss
""",
        "dz",
        "dloss*p[n, t[n]]**q*(p[n, c] - delta(c, t[n]))/N",
    ),
    "a kernel of distances (van der Maaten & Hinton, 2008)": (
        """
def f(x: Real[N, D], c: Real[K, D]):
    dist[n, k] = sum[d]((x[n, d] - c[k, d])**2)
    q[n, k] = 1 / (1 + dist[n, k])
    p[n, k] = q[n, k] / sum[j](q[n, j])
    return p
""",
        "ddiff",
        "2*p[n, k]*q[n, k]*diff[n, k, d]*(sum[j](dp[n, j]*p[n, j]) - dp[n, k])",
    ),
    "a power whose exponent is an index": (
        "def f(x: Real, a: Real[P]):\n    y = sum[j](a[j] * x**j)\n    return y\n",
        "dx",
        "dy*sum[j](j*x**maximum(j - 1, 0)*a[j])",
    ),
    "a gated product before a matrix": (
        """
def f(gate: Real[N, F], up: Real[N, F], w: Real[F, D]):
    y[n, d] = sum[f](gate[n, f] * up[n, f] * w[f, d])
    return y
""",
        "dgate",
        "dpre_y[n, f]*up[n, f]",
    ),
    "standardised in one line, with another letter": (
        """
def f(x: Real[N, D]):
    y[n, d] = (x[n, d] - mean[m](x[m, d])) / std[m](x[m, d])
    return y
""",
        "dx",
        "(dy[m, d] - y[m, d]*mean[n](dy[n, d]*y[n, d]) - mean[n](dy[n, d]))/sqrt(mean_xc[d])",
    ),
    "a logsumexp beside its softmax": (
        """
def f(z: Real[N, C]):
    p[n, c] = softmax[c](z[n, c])
    s[n] = log(sum[k](exp(z[n, k])))
    return p, s
""",
        "dz",
        "p[n, c]*(dp[n, c] + ds[n] - sum[k](dp[n, k]*p[n, k]))",
    ),
    "an activation that is written out twice": (
        """
def f(x: Real[N, I], w: Real[I, O]):
    y[n, o] = silu(sum[i](x[n, i] * w[i, o]))
    return y
""",
        "dx",
        "sum[o](dw_dot_x[n, o]*w[i, o])",
    ),
    "a squared relu": (
        "def f(x: Real[N]):\n    y[n] = relu(x[n])**2\n    return y\n",
        "dx",
        "2*relu(x[n])*dy[n]",
    ),
    "both reads of one tensor": (
        "def f(x: Real[N, N]):\n    y[i, j] = x[i, j] + x[j, i]\n    return y\n",
        "dx",
        "dy[i, j] + dy[j, i]",
    ),
    "a diagonal": (
        "def f(x: Real[N, N]):\n    y = sum[i](x[i, i])\n    return y\n",
        "dx",
        "dy*delta(i, n)",
    ),
    "the same letter bound and free": (
        "def f(x: Real[N]):\n    y[i] = x[i] - sum[i](x[i])\n    return y\n",
        "dx",
        "dy[i] - sum[j](dy[j])",
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_written_layers_have_the_closed_gradient(case):
    text, gradient, expected = WRITTEN[case]
    assert backward(parse(text))[gradient] == expected


def test_the_bias_before_a_batch_normalization_has_gradient_zero():
    text = """
def f(x: Real[N, I], w: Real[I, D], b: Real[D], *, eps: Real = 1e-5):
    h[n, d] = sum[i](x[n, i] * w[i, d]) + b[d]
    mu[d] = mean[n](h[n, d])
    var[d] = mean[n]((h[n, d] - mu[d])**2)
    y[n, d] = (h[n, d] - mu[d]) / sqrt(var[d] + eps)
    return y
"""
    assert backward(parse(text))["db"] == "0"


def test_an_output_that_is_read_on_adds_its_own_cotangent():
    text = """
def f(x: Real[N]):
    h[n] = sqrt(x[n])
    y[n] = 2 * h[n]
    return h, y
"""
    program = derive_program(parse(text))
    assert program.cotangents == ("dh", "dy")
    assert backward(parse(text)) == {"dx": "(0.5*dh[n] + dy[n])/h[n]"}


def test_only_the_wanted_gradients_are_computed():
    program = derive_program(load("batchnorm"), wrt=["beta"])
    assert [s.name for s in program.backward] == ["dbeta"]
    assert program.gradients == (("beta", "dbeta"),)


def test_a_parameter_that_no_gradient_reaches_has_gradient_zero():
    text = "def f(x: Real[N], y: Real[N]):\n    z[n] = x[n] + stop_gradient(y[n])\n    return z\n"
    assert backward(parse(text)) == {"dx": "dz[n]", "dy": "0"}


def test_the_steps_say_why_a_sum_vanishes():
    steps = derive_program(load("batchnorm")).steps
    facts = {show(s.lhs): (show(s.rhs), s.reason) for s in steps if s.stage is Stage.FACT}
    assert facts["sum[n](xc[n, d])"][0] == "0"
    assert "vanishes" in facts["sum[n](xc[n, d])"][1]
    assert facts["sum[n](x[n, d])"][0] == "N*mu[d]"


def test_each_adjoint_has_a_chain_rule_step_whose_paths_add_up():
    program = derive_program(load("batchnorm"))
    chain = {s.lhs.name: s for s in program.steps if s.stage is Stage.CHAIN}
    assert list(chain) == ["dxhat", "drstd", "dvar", "dxc", "dmu", "dx", "dgamma", "dbeta"]
    assert [path for path, _ in chain["dxc"].terms] == ["xhat", "var"]


def test_the_result_is_the_last_step_of_every_gradient():
    program = derive_program(load("cross_entropy"))
    assert program.steps[-1].stage is Stage.RESULT
    assert show(program.steps[-1].rhs) == show(program.backward[-1].expr)


def test_an_intermediate_that_nothing_else_reads_is_written_back():
    forward = [str(s) for s in derive_program(load("rnn_cell")).forward]
    assert len(forward) == 1


def test_the_same_layer_gives_the_same_program_twice():
    assert str(derive_program(load("gru_cell"))) == str(derive_program(load("gru_cell")))


def test_a_norm_of_what_a_mask_leaves_is_a_norm_of_the_masked():
    layer = parse(
        "def masked_norm(x: Real[N, D], m: Bool[N, D]):\n"
        "    r[n] = sqrt(sum[d](where(m[n, d], x[n, d]**2, 0)))\n"
        "    return r\n"
    )
    program = derive_program(layer)
    assert show(program.forward[0].expr) == "norm[d](where(m[n, d], x[n, d], 0))"
    assert backward(layer)["dx"].endswith("/where(r[n] == 0, 1, r[n])")
