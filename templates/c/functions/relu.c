static inline real relu(real x) { return x < 0 ? 0 : x; }
