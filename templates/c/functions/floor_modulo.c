/* a - b*floor(a / b) */
static inline ptrdiff_t floor_modulo(ptrdiff_t a, ptrdiff_t b) { return a - b * floor_divide(a, b); }
