/* The next array of the workspace. */
static inline void *taken(char **space, size_t bytes)
{
    void *const array = *space;
    *space += aligned(bytes);
    return array;
}
