/* c[m, n] = alpha * op(a)[m, k] @ op(b)[k, n] + beta * c, by rows: a library's where one is set, else in blocks. */
#ifdef DERIVE_BLAS
static void (*blas_gemm)(int transa, int transb, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, real alpha, const real *a,
                         ptrdiff_t lda, const real *b, ptrdiff_t ldb, real beta, real *c, ptrdiff_t ldc);
#endif

static void gemm(int transa, int transb, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, real alpha, const real *restrict a,
                 ptrdiff_t lda, const real *restrict b, ptrdiff_t ldb, real beta, real *restrict c, ptrdiff_t ldc)
{
#ifdef DERIVE_BLAS
    if (blas_gemm) {
        if (m && n)
            blas_gemm(transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        return;
    }
#endif
    for (ptrdiff_t i = 0; i < m; ++i)
        for (ptrdiff_t j = 0; j < n; ++j)
            c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    if (transb) { /* rows of b against rows of a */
        for (ptrdiff_t i = 0; i < m; ++i)
            for (ptrdiff_t j = 0; j < n; ++j) {
                real sum = 0;
#pragma omp simd reduction(+ : sum)
                for (ptrdiff_t l = 0; l < k; ++l)
                    sum += (transa ? a[l * lda + i] : a[i * lda + l]) * b[j * ldb + l];
                c[i * ldc + j] += alpha * sum;
            }
        return;
    }
    const ptrdiff_t block = 64;
    for (ptrdiff_t l0 = 0; l0 < k; l0 += block)
        for (ptrdiff_t i = 0; i < m; ++i)
            for (ptrdiff_t l = l0; l < k && l < l0 + block; ++l) {
                const real factor = alpha * (transa ? a[l * lda + i] : a[i * lda + l]);
#pragma omp simd
                for (ptrdiff_t j = 0; j < n; ++j)
                    c[i * ldc + j] += factor * b[l * ldb + j];
            }
}
