/* log(cosh(x)) */
static inline real log_cosh(real x) { return fabs(x) + log1p(expm1(-2 * fabs(x)) / 2); }
