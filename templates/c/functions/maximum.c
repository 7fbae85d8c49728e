/* The larger of two; not a number where one of them is none. */
static inline real maximum(real a, real b) { return a > b || a != a ? a : b; }
