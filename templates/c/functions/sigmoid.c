/* 1 / (1 + exp(-x)); the exponential is never above 1. */
static inline real sigmoid(real x)
{
    const real tail = decay(-fabs(x));
    return (x < 0 ? tail : 1) / (1 + tail);
}
