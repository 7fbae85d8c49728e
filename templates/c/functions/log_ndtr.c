/* log(erfc(-x / sqrt(2)) / 2); far below 0 by its asymptotic series (Abramowitz & Stegun 26.2.12). */
static inline real log_ndtr(real x)
{
    const double z = x;
    if (z > 0)
        return (real)log1p(-erfc(z * 0.70710678118654752) / 2);
    if (z > -20)
        return (real)log(erfc(z * -0.70710678118654752) / 2);
    double term = 1, series = 0;
    for (int k = 1; k < 24; k += 2)
        series += term *= -k / (z * z);
    return (real)(-z * z / 2 - log(-z) - 0.91893853320467274 + log1p(series));
}
