/* The smaller of two; not a number where one of them is none. */
static inline real minimum(real a, real b) { return a < b || a != a ? a : b; }
