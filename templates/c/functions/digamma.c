/* The derivative of lgamma: reflected to x > 0, raised to x >= 12, then its asymptotic series. */
static real digamma(real x)
{
    const double pi = 3.14159265358979324;
    double a = x, value = 0;
    if (a <= 0) {
        value -= pi / tan(pi * a);
        a = 1 - a;
    }
    for (; a < 12; a += 1)
        value -= 1 / a;
    const double s = 1 / (a * a);
    value += log(a) - 1 / (2 * a);
    value -= s * (1. / 12 - s * (1. / 120 - s * (1. / 252 - s * (1. / 240 - s * (1. / 132 - s * (691. / 32760))))));
    return (real)value;
}
