/* What _rlwe.c computes in loops, included once for each instruction set: NAME(x) gives a function its name, TARGET its
   attribute. Plain C: the compiler makes vector code of it. Numbers modulo p < 2^28 are uint32_t; "below 2 p" and "below 4 p"
   are not reduced. No branch and no address depends on a value. */

/* x w mod p, below 2 p, for any x; s = floor(2^32 w / p) (Shoup). */
TARGET static inline uint32_t NAME(times)(uint32_t x, uint32_t w, uint32_t s, uint32_t p)
{
    return x * w - (uint32_t)((uint64_t)x * s >> 32) * p;
}

/* x less k, unless that wraps around. */
TARGET static inline uint32_t NAME(less)(uint32_t x, uint32_t k)
{
    uint32_t y = x - k;
    return y < x ? y : x;
}

/* x mod p, below 4 p, for any 64-bit x. */
TARGET static inline uint32_t NAME(folded)(uint64_t x, const prime *m)
{
    uint32_t high = NAME(times)((uint32_t)(x >> 32), m->w32, m->s32, m->p);
    return high + NAME(times)((uint32_t)x, 1, m->s1, m->p);
}

TARGET static inline uint32_t NAME(reduced)(uint64_t x, const prime *m)
{
    return NAME(less)(NAME(less)(NAME(folded)(x, m), 2 * m->p), m->p);
}

/* The negacyclic transform in place of x [N], below 4 p; `spare` [N]. Every stage has the same geometry (Pease 1968), so
   that all its loops run over neighbours. Result below p, in the order of the groups, whatever that is: the inverse undoes it. */
TARGET static void NAME(forward)(const context *c, const prime *m, uint32_t *x, uint32_t *spare)
{
    const uint32_t p = m->p, p2 = 2 * p;
    const int64_t half = c->n / 2;
    uint32_t *from = x, *to = spare;
    for (int stage = 0; stage < c->log; stage++) {
        const int64_t wide = twiddles(stage);
        const uint32_t *restrict w = m->w + first_twiddle(stage), *restrict s = m->s + first_twiddle(stage);
        for (int64_t b = 0; b < half; b += wide) {
            const uint32_t *restrict low = from + b, *restrict high = from + b + half;
            uint32_t *restrict out = to + 2 * b;
            for (int64_t j = 0; j < wide; j++) {
                uint32_t u = NAME(less)(low[j], p2), v = NAME(times)(high[j], w[j], s[j], p);
                out[2 * j] = u + v;
                out[2 * j + 1] = u - v + p2;
            }
        }
        uint32_t *other = from;
        from = to;
        to = other;
    }
    for (int64_t i = 0; i < c->n; i++)
        x[i] = NAME(less)(NAME(less)(from[i], p2), p);
}

/* The inverse of x [N], below 2 p, in place: coefficients whose index is a multiple of 2^skip, [N >> skip], below p. */
TARGET static void NAME(inverse)(const context *c, const prime *m, uint32_t *x, uint32_t *spare, int skip)
{
    const uint32_t p = m->p, p2 = 2 * p;
    int64_t half = c->n / 2;
    uint32_t *from = x, *to = spare;
    for (int stage = c->log - 1; stage >= 0; stage--) {
        if (stage >= c->log - skip) { /* the odd coefficients are not wanted */
            for (int64_t i = 0; i < half; i++)
                to[i] = NAME(less)(from[2 * i] + from[2 * i + 1], p2);
        } else {
            const int64_t wide = twiddles(stage) < half ? twiddles(stage) : half;
            const uint32_t *restrict w = m->iw + first_twiddle(stage), *restrict s = m->is + first_twiddle(stage);
            for (int64_t b = 0; b < half; b += wide) {
                const uint32_t *restrict in = from + 2 * b;
                uint32_t *restrict sum = to + b, *restrict difference = to + b + half;
                for (int64_t j = 0; j < wide; j++) {
                    uint32_t u = in[2 * j], v = in[2 * j + 1];
                    sum[j] = NAME(less)(u + v, p2);
                    difference[j] = NAME(times)(u - v + p2, w[j], s[j], p);
                }
            }
        }
        if (stage >= c->log - skip)
            half /= 2;
        uint32_t *other = from;
        from = to;
        to = other;
    }
    for (int64_t i = 0; i < c->n >> skip; i++)
        x[i] = NAME(less)(NAME(times)(from[i], m->in, m->ins, p), p);
}

/* out [TILE] = or += sums mod p. */
TARGET static inline void NAME(store)(const prime *m, const uint64_t *restrict sums, uint32_t *restrict out, int add)
{
    uint32_t found[TILE];
    for (int j = 0; j < TILE; j++)
        found[j] = NAME(reduced)(sums[j], m);
    if (add)
        for (int j = 0; j < TILE; j++)
            found[j] = NAME(less)(found[j] + out[j], m->p);
    for (int j = 0; j < TILE; j++)
        out[j] = found[j];
}

/* c_e [x][z] = or += sum over y of a [x][y] b_e [y][z], point by point; e = 0, 1. All arrays [N / CHUNK][..][CHUNK]; the
   strides count polynomials. At most 255 terms fit 64 bits. */
TARGET static void NAME(products)(const context *c, const prime *m, const operand *a, const operand *b, const uint32_t *b1,
                                  const operand *out, uint32_t *out1, int add, int64_t xs, int64_t ys, int64_t zs)
{
    for (int64_t g = 0; g < c->n / CHUNK; g++) {
        const uint32_t *ag = a->at + g * a->count * CHUNK, *bg = b->at + g * b->count * CHUNK;
        const uint32_t *hg = b1 + g * b->count * CHUNK;
        for (int64_t z = 0; z < zs; z++)
            for (int64_t x = 0; x < xs; x += 2) {
                const int64_t next = x + 1 < xs ? x + 1 : x;
                uint32_t *o0 = out->at + (g * out->count + x * out->row + z * out->column) * CHUNK;
                uint32_t *o1 = out1 + (g * out->count + x * out->row + z * out->column) * CHUNK;
                const int64_t below = (next - x) * out->row * CHUNK;
                for (int64_t v = 0; v < CHUNK; v += TILE) {
                    uint64_t s[4][TILE];
                    const uint32_t *p = ag + x * a->row * CHUNK + v, *q = ag + next * a->row * CHUNK + v;
                    const uint32_t *k = bg + z * b->column * CHUNK + v, *h = hg + z * b->column * CHUNK + v;
                    memset(s, 0, sizeof s);
                    for (int64_t y = 0; y < ys; y++) {
                        for (int j = 0; j < TILE; j++) {
                            uint64_t first = p[j], second = q[j], left = k[j], right = h[j];
                            s[0][j] += first * left;
                            s[1][j] += first * right;
                            s[2][j] += second * left;
                            s[3][j] += second * right;
                        }
                        p += a->column * CHUNK, q += a->column * CHUNK, k += b->row * CHUNK, h += b->row * CHUNK;
                    }
                    NAME(store)(m, s[0], o0 + v, add);
                    NAME(store)(m, s[1], o1 + v, add);
                    if (below) {
                        NAME(store)(m, s[2], o0 + v + below, add);
                        NAME(store)(m, s[3], o1 + v + below, add);
                    }
                }
            }
    }
}

/* x [N] = a b + its polynomial `at` of a chunked array, below p. */
TARGET static void NAME(blinded)(const context *c, const prime *m, const uint32_t *a, const uint32_t *b, const uint32_t *sums,
                                 int64_t count, int64_t at, uint32_t *x)
{
    for (int64_t g = 0; g < c->n / CHUNK; g++) {
        const uint32_t *s = sums + (g * count + at) * CHUNK;
        for (int64_t i = 0; i < CHUNK; i++)
            x[g * CHUNK + i] = NAME(less)(NAME(reduced)((uint64_t)a[g * CHUNK + i] * b[g * CHUNK + i], m) + s[i], m->p);
    }
}

/* x [N] = a b, below p. */
TARGET static void NAME(pointwise)(const context *c, const prime *m, const uint32_t *a, const uint32_t *b, uint32_t *x)
{
    for (int64_t i = 0; i < c->n; i++)
        x[i] = NAME(reduced)((uint64_t)a[i] * b[i], m);
}

/* x [count] = x w, below p. */
TARGET static void NAME(scale)(const prime *m, uint32_t w, uint32_t s, uint32_t *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = NAME(less)(NAME(times)(x[i], w, s, m->p), m->p);
}

/* out [count] += x w mod p, below p, for any x; or = x w, if it is the first. */
TARGET static void NAME(converted)(const prime *m, uint32_t w, uint32_t s, const uint32_t *restrict x, int first,
                                   uint32_t *restrict out, int64_t count)
{
    const uint32_t p = m->p;
    if (first)
        for (int64_t i = 0; i < count; i++)
            out[i] = NAME(less)(NAME(times)(x[i], w, s, p), p);
    else
        for (int64_t i = 0; i < count; i++)
            out[i] = NAME(less)(NAME(less)(NAME(times)(x[i], w, s, p), p) + out[i], p);
}

/* x [count] = (x - y) w mod p. */
TARGET static void NAME(divided)(const prime *m, uint32_t w, uint32_t s, uint32_t *x, const uint32_t *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = NAME(less)(NAME(times)(x[i] + m->p - y[i], w, s, m->p), m->p);
}

/* x, y [N] = x + y w, x - y w. */
TARGET static void NAME(apart)(const context *c, const prime *m, uint32_t *restrict x, uint32_t *restrict y, const uint32_t *w)
{
    for (int64_t i = 0; i < c->n; i++) {
        uint32_t moved = NAME(reduced)((uint64_t)y[i] * w[i], m);
        y[i] = NAME(less)(x[i] + m->p - moved, m->p);
        x[i] = NAME(less)(x[i] + moved, m->p);
    }
}

/* x [N] += y. */
TARGET static void NAME(plus)(const context *c, const prime *m, uint32_t *restrict x, const uint32_t *restrict y)
{
    for (int64_t i = 0; i < c->n; i++)
        x[i] = NAME(less)(x[i] + y[i], m->p);
}

/* x [N] = the numbers below the product of two primes that are `low` mod the first one, m, and `high` mod the second one, o;
   inverse: of the first one mod the second one. */
TARGET static void NAME(joined)(const context *c, const prime *m, const prime *o, uint32_t inverse, uint32_t s,
                                const uint32_t *restrict low, const uint32_t *restrict high, uint64_t *restrict x)
{
    for (int64_t i = 0; i < c->n; i++) {
        uint32_t difference = high[i] + 2 * o->p - NAME(times)(low[i], 1, o->s1, o->p);
        uint32_t steps = NAME(less)(NAME(times)(difference, inverse, s, o->p), o->p);
        x[i] = low[i] + (uint64_t)m->p * steps;
    }
}

/* x [N] = y mod p. */
TARGET static void NAME(remainders)(const context *c, const prime *m, const uint64_t *restrict y, uint32_t *restrict x)
{
    for (int64_t i = 0; i < c->n; i++)
        x[i] = NAME(reduced)(y[i], m);
}

/* sums [N] += x y. */
TARGET static void NAME(gathered)(const context *c, const uint32_t *restrict x, const uint32_t *restrict y, uint64_t *restrict sums)
{
    for (int64_t i = 0; i < c->n; i++)
        sums[i] += (uint64_t)x[i] * y[i];
}

/* x [count] = the signed small numbers `values` mod p. */
TARGET static void NAME(lifted)(const prime *m, const int8_t *values, uint32_t *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        x[i] = NAME(less)((uint32_t)(values[i] + (int32_t)m->p), m->p);
}

/* Words of 32 bits -> `bits` bits each, 24 or 28: of rows of `row` words the last one is cut into the spare bits of the others. */
TARGET static void NAME(pack)(const uint32_t *restrict x, uint32_t *restrict packed, int64_t row, int bits)
{
    const int others = bits == 28 ? 7 : 3, spare = 32 - bits;
    const uint32_t *last = x + others * row;
    for (int64_t at = 0; at < row; at += NEAR) {
        const int64_t end = row < at + NEAR ? row : at + NEAR;
        for (int k = 0; k < others; k++)
            for (int64_t i = at; i < end; i++)
                packed[k * row + i] = x[k * row + i] | last[i] >> spare * k << bits;
    }
}

TARGET static void NAME(unpack)(const uint32_t *restrict packed, uint32_t *restrict x, int64_t row, int bits)
{
    const int others = bits == 28 ? 7 : 3, spare = 32 - bits;
    const uint32_t mask = (1u << bits) - 1;
    uint32_t *restrict last = x + others * row;
    for (int64_t at = 0; at < row; at += NEAR) {
        const int64_t end = row < at + NEAR ? row : at + NEAR;
        memset(last + at, 0, 4 * (size_t)(end - at));
        for (int k = 0; k < others; k++)
            for (int64_t i = at; i < end; i++) {
                const uint32_t word = packed[k * row + i];
                x[k * row + i] = word & mask;
                last[i] |= word >> bits << spare * k;
            }
    }
}

/* Whether all of x [count] are below p. */
TARGET static int NAME(below)(const uint32_t *x, int64_t count, uint32_t p)
{
    uint32_t beyond = 0;
    for (int64_t i = 0; i < count; i++)
        beyond |= x[i] >= p;
    return !beyond;
}

static const kernels NAME(all) = {NAME(forward), NAME(inverse), NAME(products), NAME(blinded), NAME(pointwise), NAME(scale),
                                  NAME(converted), NAME(divided), NAME(lifted), NAME(apart), NAME(plus), NAME(joined),
                                  NAME(remainders), NAME(gathered), NAME(pack), NAME(unpack), NAME(below)};
#undef NAME
#undef TARGET
