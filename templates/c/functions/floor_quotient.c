/* floor(a / b), by the remainder as Python has it. */
static inline real floor_quotient(real a, real b)
{
    const real rest = fmod(a, b);
    const real quotient = (a - rest) / b - (rest != 0 && (rest < 0) != (b < 0));
    const real whole = floor(quotient);
    return quotient - whole > (real)0.5 ? whole + 1 : whole;
}
