/* floor(a / b) */
static inline ptrdiff_t floor_divide(ptrdiff_t a, ptrdiff_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}
