/* log(1 + exp(x)) */
static inline real softplus(real x) { return (x > 0 ? x : 0) + log1p(decay(-fabs(x))); }
