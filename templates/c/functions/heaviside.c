/* The unit step, 1/2 at 0. */
static inline real heaviside(real x) { return x > 0 ? (real)1 : x < 0 ? (real)0 : (real)0.5; }
