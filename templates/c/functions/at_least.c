static inline real at_least(real x, real bound) { return x < bound ? bound : x; }
