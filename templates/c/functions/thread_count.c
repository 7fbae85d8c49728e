/* How many threads share a loop of so many innermost iterations: one where starting others costs more. */
#ifndef THREADS_FROM
#define THREADS_FROM 65536
#endif
static inline int thread_count(ptrdiff_t work)
{
#ifdef _OPENMP
    const int most = omp_get_max_threads() < thread_limit() ? omp_get_max_threads() : thread_limit();
    return work < THREADS_FROM || omp_in_parallel() ? 1 : most;
#else
    (void)work;
    return 1;
#endif
}
