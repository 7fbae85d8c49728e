/* exp(x). In float its own, so that loops with it are vectorised by any compiler: with k = round(x / log(2)), x is
   k*log(2) + r and exp(x) is 2**k times a polynomial in r (Cephes), off by at most 2 ulp. 2**k is taken in two parts,
   of which neither over- or underflows before the result does. */
static inline real exponential(real x)
{
    if (sizeof(real) != sizeof(float))
        return exp(x);
    float bound = x < -105 ? -105.0f : (float)x;
    bound = bound > 89 ? 89.0f : bound;
    const float shifted = bound * 1.44269504f + 12582912.0f; /* 1.5 * 2**23: the last bits are k */
    const float k = shifted - 12582912.0f;
    const float r = bound - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const int32_t n = bits - 0x4b400000, half = n >> 1;
    const uint32_t low = (uint32_t)(half + 127) << 23, high = (uint32_t)(n - half + 127) << 23;
    float a, b;
    memcpy(&a, &low, sizeof a);
    memcpy(&b, &high, sizeof b);
    return p * a * b;
}
