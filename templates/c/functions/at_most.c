static inline real at_most(real x, real bound) { return x > bound ? bound : x; }
