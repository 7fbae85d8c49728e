/* One more than the last i < count for which 0 <= factor*i + start < size may hold. */
static inline ptrdiff_t stop_inside(ptrdiff_t factor, ptrdiff_t start, ptrdiff_t size, ptrdiff_t count)
{
    ptrdiff_t stop;
    if (factor > 0)
        stop = start >= size ? 0 : (size - start + factor - 1) / factor;
    else
        stop = start < 0 ? 0 : start / -factor + 1;
    return stop < count ? stop : count;
}
