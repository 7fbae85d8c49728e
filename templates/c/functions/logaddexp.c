/* log(exp(a) + exp(b)), also where both are the same infinity. */
static inline real logaddexp(real a, real b)
{
    const real top = a > b ? a : b;
    return a == b ? a + (real)0.693147180559945309 : top + log1p(decay(-fabs(a - b)));
}
