static inline real sign(real x) { return (x > 0) - (x < 0); }
