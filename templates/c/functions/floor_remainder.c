/* a - b*floor(a / b), of the sign of b. */
static inline real floor_remainder(real a, real b)
{
    const real rest = fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
