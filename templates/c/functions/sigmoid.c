/* 1 / (1 + exp(-x)); the exponential is never above 1, and sigmoid(-x) shares the division. */
static inline real sigmoid(real x)
{
    const real tail = decay(-fabs(x));
    const real share = 1 / (1 + tail);
    return x < 0 ? tail * share : share;
}
