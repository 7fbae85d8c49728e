/* erfc(x), given bell = exp(-x*x): for x >= 0 it is bell * t*P(t) with t = 1 / (1 + 0.4*x), fitted to 1.3e-7. */
static inline real erfc_by(real x, real bell)
{
    if (sizeof(real) != sizeof(float))
        return erfc(x);
    const float t = 1 / (1 + 0.4f * (float)fabs(x));
    float p = 0.050187842f;
    p = p * t - 0.182617584f;
    p = p * t + 0.168647554f;
    p = p * t - 0.00525861925f;
    p = p * t + 0.141278909f;
    p = p * t + 0.168577744f;
    p = p * t + 0.207838644f;
    p = p * t + 0.22566977f;
    p = p * t + 0.225675861f;
    const real tail = bell * (p * t);
    return x < 0 ? 2 - tail : tail;
}
