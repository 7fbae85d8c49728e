/* The n-th derivative of digamma. */
static real polygamma(int n, real x)
{
    if (n == 0)
        return digamma(x);
    double factor = n % 2 ? 1 : -1;
    for (int k = 2; k <= n; ++k)
        factor *= k;
    return (real)(factor * zeta(n + 1, x));
}
