/* What the machine can do at best, on one thread: a stream of additions, and multiplications out of registers.
   Streams are written both with plain stores and past the cache; whoever asks takes the faster. */
#include <stddef.h>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

/* o = a + b (two arrays read, one written) or, without b, o = a + a. */
void stream(const float *restrict a, const float *restrict b, float *restrict o, long n)
{
    if (b)
        for (long i = 0; i < n; i++)
            o[i] = a[i] + b[i];
    else
        for (long i = 0; i < n; i++)
            o[i] = a[i] + a[i];
}

/* The same past the cache; o is aligned to 64 bytes and n a multiple of 16. */
void stream_past(const float *restrict a, const float *restrict b, float *restrict o, long n)
{
#if defined(__AVX512F__)
    for (long i = 0; i < n; i += 16) {
        __m512 x = _mm512_loadu_ps(a + i);
        _mm512_stream_ps(o + i, _mm512_add_ps(x, b ? _mm512_loadu_ps(b + i) : x));
    }
    _mm_sfence();
#elif defined(__AVX2__)
    for (long i = 0; i < n; i += 8) {
        __m256 x = _mm256_loadu_ps(a + i);
        _mm256_stream_ps(o + i, _mm256_add_ps(x, b ? _mm256_loadu_ps(b + i) : x));
    }
    _mm_sfence();
#else
    stream(a, b, o, n);
#endif
}

/* Twelve chains of multiply-and-add of a vector each; returns the floating-point operations of n rounds. */
typedef float vector __attribute__((vector_size(sizeof(float) *
#if defined(__AVX512F__)
    16
#elif defined(__AVX2__)
    8
#else
    4
#endif
)));
enum { CHAINS = 12 };
static volatile float sink;

double multiply(long n)
{
    vector s[CHAINS], a, b, t = {0};
    for (size_t k = 0; k < sizeof(vector) / sizeof(float); k++)
        a[k] = 0.999f, b[k] = 1e-3f;
    for (int c = 0; c < CHAINS; c++)
        s[c] = b * (float)c;
    for (long i = 0; i < n; i++)
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            s[c] = s[c] * a + b;
    for (int c = 0; c < CHAINS; c++)
        t += s[c];
    sink = t[0];
    return 2.0 * CHAINS * (sizeof(vector) / sizeof(float)) * (double)n;
}
