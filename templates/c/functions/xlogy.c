/* x*log(y), 0 where x is 0. */
static inline real xlogy(real x, real y) { return x == 0 ? 0 : x * log(y); }
