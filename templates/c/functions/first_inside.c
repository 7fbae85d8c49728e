/* The first i >= 0 from which on 0 <= factor*i + start < size may hold. */
static inline ptrdiff_t first_inside(ptrdiff_t factor, ptrdiff_t start, ptrdiff_t size)
{
    if (factor > 0)
        return start >= 0 ? 0 : (factor - 1 - start) / factor;
    return start < size ? 0 : (start - size) / -factor + 1;
}
