/* The most threads that a call uses: as many as there may be when the first one asks. */
static inline int thread_limit(void)
{
#ifdef _OPENMP
    static int limit = 0;
    if (!limit)
        limit = omp_get_max_threads();
    return limit;
#else
    return 1;
#endif
}
