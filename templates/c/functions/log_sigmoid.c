/* log(1 / (1 + exp(-x))) */
static inline real log_sigmoid(real x) { return (x < 0 ? x : 0) - log1p(decay(-fabs(x))); }
