/* exp(x) for x <= 0. In float its own, so that loops with it are vectorised by any compiler: with
   k = round(x / log(2)), x is k*log(2) + r and exp(x) is 2**k times a polynomial in r (Cephes), off by
   at most 2 ulp. */
static inline real decay(real x)
{
    if (sizeof(real) != sizeof(float))
        return exp(x);
    const float bound = x < -200 ? -200.0f : (float)x;
    const float shifted = bound * 1.44269504f + 12582912.0f; /* 1.5 * 2**23: the last bits are k */
    const float k = shifted - 12582912.0f;
    const float r = bound - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits -= 0x4b400000 - 127 - 64; /* the exponent of 2**(k + 64), which is a normal number */
    bits = (bits > 0 ? bits : 0) * (1 << 23);
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale * 5.42101086e-20f; /* 2**-64 */
}
