/* sum[k](1 / (a + k)**s) for an integer s > 1: terms up to a = 12, then Euler-Maclaurin. */
static double zeta(int s, double a)
{
    static const double bernoulli[] = {1. / 6, -1. / 30, 1. / 42, -1. / 30, 5. / 66, -691. / 2730, 7. / 6};
    double sum = 0;
    for (; a < 12; a += 1)
        sum += pow(a, -s);
    sum += pow(a, 1 - s) / (s - 1) + pow(a, -s) / 2;
    double factor = s * pow(a, -s - 1) / 2;
    for (int j = 0; j < 7; ++j) {
        sum += bernoulli[j] * factor;
        factor *= (s + 2 * j + 1) * (double)(s + 2 * j + 2) / ((2 * j + 3) * (double)(2 * j + 4) * a * a);
    }
    return sum;
}
