/* The bytes of an array in the workspace, where each starts at a multiple of 64. */
static inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }
