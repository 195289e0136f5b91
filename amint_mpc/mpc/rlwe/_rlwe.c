/* Matrix products mod 2^64 of one party's matrix under encryption and the other's in the clear: the arithmetic of products.py,
   prime by prime. One thread a call; a context is only read. products.py says what is computed and why; this file and
   _rlwe_kernels.h say how. Arrays of many polynomials are "chunked": [N / CHUNK][polynomial][CHUNK], in the order of `forward`. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 64
#define TILE 16
#define NARROW_LOG 7 /* the first stages have fewer twiddles than a loop is worth: they are repeated up to so many */
#define NARROW (1 << NARROW_LOG)
#define MOST 16   /* primes */
#define NEAR 1024 /* words that are gone through again while they are near */
#define CENTRE 2  /* what is dropped is taken off in five parts, each rounded down: half a unit too much each */

typedef struct {
    uint32_t p, w32, s32, s1;      /* 2^32 mod p, and its quotient; floor(2^32 / p) */
    uint32_t in, ins;              /* 1 / N */
    uint32_t *w, *s, *iw, *is;     /* twiddles, stage by stage, and their quotients */
    uint64_t whole;                /* floor(2^64 / p) */
    uint32_t two64;                /* 2^64 mod p */
    uint32_t minus_inverse;        /* -2^-64 */
} prime;

typedef struct {
    int64_t n;
    int log, primes;
    const void *kernels;
    prime at[MOST];
} context;

typedef struct {
    uint32_t *at;
    int64_t count, row, column;
} operand;

typedef struct {
    void (*forward)(const context *, const prime *, uint32_t *, uint32_t *);
    void (*inverse)(const context *, const prime *, uint32_t *, uint32_t *, int);
    void (*products)(const context *, const prime *, const operand *, const operand *, const uint32_t *, const operand *,
                     uint32_t *, int, int64_t, int64_t, int64_t);
    void (*blinded)(const context *, const prime *, const uint32_t *, const uint32_t *, const uint32_t *, int64_t, int64_t,
                    uint32_t *);
    void (*pointwise)(const context *, const prime *, const uint32_t *, const uint32_t *, uint32_t *);
    void (*scale)(const prime *, uint32_t, uint32_t, uint32_t *, int64_t);
    void (*converted)(const prime *, uint32_t, uint32_t, const uint32_t *, int, uint32_t *, int64_t);
    void (*divided)(const prime *, uint32_t, uint32_t, uint32_t *, const uint32_t *, int64_t);
    void (*lifted)(const prime *, const int8_t *, uint32_t *, int64_t);
    void (*apart)(const context *, const prime *, uint32_t *, uint32_t *, const uint32_t *);
    void (*plus)(const context *, const prime *, uint32_t *, const uint32_t *);
    void (*joined)(const context *, const prime *, const prime *, uint32_t, uint32_t, const uint32_t *, const uint32_t *,
                   uint64_t *);
    void (*remainders)(const context *, const prime *, const uint64_t *, uint32_t *);
    void (*gathered)(const context *, const uint32_t *, const uint32_t *, uint64_t *);
    void (*pack)(const uint32_t *, uint32_t *, int64_t, int);
    void (*unpack)(const uint32_t *, uint32_t *, int64_t, int);
    int (*below)(const uint32_t *, int64_t, uint32_t);
} kernels;

static int64_t twiddles(int stage)
{
    return stage < NARROW_LOG ? NARROW : (int64_t)1 << stage;
}

static int64_t first_twiddle(int stage)
{
    return stage < NARROW_LOG ? stage * NARROW : NARROW_LOG * NARROW + ((int64_t)1 << stage) - NARROW;
}

#define NAME(x) portable_##x
#define TARGET
#include "_rlwe_kernels.h"
#if defined(__x86_64__)
#define NAME(x) avx2_##x
#define TARGET __attribute__((target("avx2")))
#include "_rlwe_kernels.h"
#define NAME(x) avx512_##x
#if defined(__clang__)
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl")))
#else
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,prefer-vector-width=512")))
#endif
#include "_rlwe_kernels.h"
#endif

static const kernels *choose(int wanted)
{
#if defined(__x86_64__)
    if (wanted == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512vl")
                   ? &avx512_all
                   : 0;
    if (wanted == 1)
        return __builtin_cpu_supports("avx2") ? &avx2_all : 0;
#endif
    return wanted == 0 ? &portable_all : 0;
}

static uint32_t power(uint64_t base, uint64_t exponent, uint32_t p)
{
    uint64_t result = 1;
    for (base %= p; exponent; exponent >>= 1, base = base * base % p)
        if (exponent & 1)
            result = result * base % p;
    return (uint32_t)result;
}

static uint32_t quotient(uint32_t w, uint32_t p)
{
    return (uint32_t)(((uint64_t)w << 32) / p);
}

static int64_t reversed(int64_t x, int bits)
{
    int64_t y = 0;
    for (int i = 0; i < bits; i++)
        y |= (x >> i & 1) << (bits - 1 - i);
    return y;
}

static void *room(int64_t bytes)
{
    return aligned_alloc(64, (size_t)((bytes + 63) / 64 * 64));
}

void rlwe_free(context *c)
{
    for (int l = 0; c && l < c->primes; l++)
        free(c->at[l].w);
    free(c);
}

/* A context for rings of n = 2^log coefficients; NULL where memory is missing or this machine has not those instructions. `wanted`: 0 portable, 1 AVX2,
   2 AVX-512, -1 the best one here. roots: a primitive 2n-th root of unity for each prime. */
context *rlwe_new(int log, int primes, const uint32_t *p, const uint32_t *roots, int wanted)
{
    const kernels *run = choose(wanted < 0 ? 2 : wanted);
    for (int next = 1; wanted < 0 && !run; next--)
        run = choose(next);
    context *c = run ? calloc(1, sizeof *c) : 0;
    if (!c)
        return 0;
    c->n = (int64_t)1 << log, c->log = log, c->kernels = run;
    const int64_t size = first_twiddle(log - 1) + twiddles(log - 1);
    for (int l = 0; l < primes; l++, c->primes++) {
        prime *m = c->at + l;
        const uint32_t q = m->p = p[l], inverse = power(roots[l], q - 2, q);
        m->w = room(4 * 4 * size);
        if (!m->w) {
            rlwe_free(c);
            return 0;
        }
        m->s = m->w + size, m->iw = m->s + size, m->is = m->iw + size;
        m->w32 = (uint32_t)(((uint64_t)1 << 32) % q), m->s32 = quotient(m->w32, q), m->s1 = quotient(1, q);
        m->in = power((uint64_t)c->n, q - 2, q), m->ins = quotient(m->in, q);
        m->whole = ~(uint64_t)0 / q, m->two64 = power(2, 64, q);
        m->minus_inverse = q - power(m->two64, q - 2, q);
        for (int stage = 0; stage < log; stage++)
            for (int64_t j = 0; j < twiddles(stage); j++) {
                int64_t group = j & (((int64_t)1 << stage) - 1), at = first_twiddle(stage) + j;
                int64_t e = reversed(((int64_t)1 << stage) + group, log);
                m->w[at] = power(roots[l], (uint64_t)e, q), m->s[at] = quotient(m->w[at], q);
                m->iw[at] = power(inverse, (uint64_t)e, q), m->is[at] = quotient(m->iw[at], q);
            }
    }
    return c;
}

static const kernels *of(const context *c)
{
    return c->kernels;
}

/* The number of the instruction set in use. */
int rlwe_kernel(const context *c)
{
#if defined(__x86_64__)
    return c->kernels == &avx512_all ? 2 : c->kernels == &avx2_all ? 1 : 0;
#else
    return 0;
#endif
}

/* A signed 64-bit number mod p; without a division, whose time would depend on it. */
static uint32_t residue(int64_t x, const prime *m)
{
    uint64_t u = (uint64_t)x, q = (uint64_t)(((unsigned __int128)u * m->whole) >> 64);
    uint32_t r = (uint32_t)(u - q * m->p);                       /* below 2 p */
    uint32_t wrapped = m->two64 & (uint32_t)-(int32_t)(u >> 63); /* x = u - 2^64 */
    r += m->p - wrapped;                                         /* below 3 p */
    r = portable_less(r, m->p);
    return portable_less(r, m->p);
}

static void scatter(const context *c, const uint32_t *x, uint32_t *chunked, int64_t count, int64_t at)
{
    for (int64_t g = 0; g < c->n / CHUNK; g++)
        memcpy(chunked + (g * count + at) * CHUNK, x + g * CHUNK, CHUNK * sizeof *x);
}

/* Entries of a block of a matrix, as coefficients mod p: entry (x, y) stands at x row + y column, taken negacyclically. */
typedef struct {
    const int64_t *matrix;
    int64_t rows, columns;            /* of the matrix */
    int64_t block_rows, block_columns; /* of a block */
    int64_t row, column;              /* exponents */
} layout;

static int64_t blocks_of(int64_t size, int64_t block)
{
    return (size + block - 1) / block;
}

static int64_t place(const layout *a, int64_t x, int64_t y, int64_t n, int *negative)
{
    int64_t e = x * a->row + y * a->column;
    *negative = e < 0;
    return e < 0 ? e + n : e;
}

static void put(const context *c, const prime *m, const layout *a, int64_t at, uint64_t factor, uint32_t scaled, uint32_t *poly)
{
    const int64_t across = blocks_of(a->columns, a->block_columns);
    const int64_t top = at / across * a->block_rows, left = at % across * a->block_columns;
    for (int64_t x = 0; x < a->block_rows && top + x < a->rows; x++)
        for (int64_t y = 0; y < a->block_columns && left + y < a->columns; y++) {
            int negative;
            int64_t e = place(a, x, y, c->n, &negative);
            uint64_t value = (uint64_t)a->matrix[(top + x) * a->columns + left + y];
            uint32_t r = residue((int64_t)((negative ? -value : value) * factor), m);
            poly[e] = portable_less(poly[e] + portable_reduced((uint64_t)r * scaled, m), m->p);
        }
}

/* Plaintexts: all blocks of a matrix, transformed, mod prime l. Returns 0, or 1 without memory. */
int rlwe_encode(const context *c, int l, const layout *a, uint32_t *chunked)
{
    const prime *m = c->at + l;
    const int64_t count = blocks_of(a->rows, a->block_rows) * blocks_of(a->columns, a->block_columns);
    uint32_t *poly = room(8 * c->n);
    for (int64_t i = 0; poly && i < count; i++) {
        memset(poly, 0, (size_t)c->n * 4);
        put(c, m, a, i, 1, 1, poly);
        of(c)->forward(c, m, poly, poly + c->n);
        scatter(c, poly, chunked, count, i);
    }
    free(poly);
    return !poly;
}

/* Ciphertexts c0 = e - a s + (floor of q / 2^64 times the matrix) of all its blocks, mod prime l. modulus: q mod 2^64. uniform: a [blocks][N];
   noise: e [blocks][N]; key: s [N], transformed. */
int rlwe_encrypt(const context *c, int l, const layout *a, uint64_t modulus, const uint32_t *uniform, const int8_t *noise,
                 const uint32_t *key, uint32_t *chunked)
{
    const prime *m = c->at + l;
    const int64_t count = blocks_of(a->rows, a->block_rows) * blocks_of(a->columns, a->block_columns);
    uint32_t *poly = room(8 * c->n), *other = poly ? poly + c->n : 0;
    for (int64_t i = 0; poly && i < count; i++) {
        of(c)->lifted(m, noise + i * c->n, poly, c->n);
        put(c, m, a, i, modulus, m->minus_inverse, poly);
        of(c)->forward(c, m, poly, other);
        of(c)->pointwise(c, m, uniform + i * c->n, key, other);
        for (int64_t j = 0; j < c->n; j++)
            poly[j] = portable_less(poly[j] + m->p - other[j], m->p);
        scatter(c, poly, chunked, count, i);
    }
    free(poly);
    return !poly;
}

/* Small numbers [count][N] transformed mod prime l, [count][N]. */
int rlwe_transform(const context *c, int l, const int8_t *small, int64_t count, uint32_t *out)
{
    const prime *m = c->at + l;
    uint32_t *spare = room(4 * c->n);
    for (int64_t i = 0; spare && i < count; i++) {
        of(c)->lifted(m, small + i * c->n, out + i * c->n, c->n);
        of(c)->forward(c, m, out + i * c->n, spare);
    }
    free(spare);
    return !spare;
}

/* Public keys e - a s mod prime l, [count][N]. errors: e, transformed; it gets the result. */
void rlwe_public(const context *c, int l, const uint32_t *uniform, const uint32_t *key, int64_t count, uint32_t *errors)
{
    const prime *m = c->at + l;
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < c->n; j++) {
            uint32_t product = portable_reduced((uint64_t)uniform[i * c->n + j] * key[j], m);
            errors[i * c->n + j] = portable_less(errors[i * c->n + j] + m->p - product, m->p);
        }
}

/* Numbers below p from uniform words, of which those that are not below it are left out: [count][N], or chunked. Returns how many
   polynomials were filled before the words were used up; `words` must be uniform in [0, 2^bits of p). */
int64_t rlwe_uniform(const context *c, int l, const uint32_t *words, int64_t available, int64_t count, int chunked,
                     uint32_t *out)
{
    const uint32_t p = c->at[l].p;
    uint32_t mask = 1, *poly = room(4 * (c->n + 1));
    while (mask < p)
        mask = mask << 1 | 1;
    int64_t next = 0, filled = 0;
    for (; poly && filled < count; filled++) {
        int64_t have = 0;
        while (have < c->n && next < available) {
            poly[have] = words[next++] & mask; /* public: its branches may tell */
            have += poly[have] < p;
        }
        if (have < c->n)
            break;
        if (chunked)
            scatter(c, poly, out, count, filled);
        else
            memcpy(out + filled * c->n, poly, (size_t)c->n * 4);
    }
    free(poly);
    return filled;
}

void rlwe_products(const context *c, int l, const operand *a, const operand *b, const uint32_t *b1, const operand *out,
                   uint32_t *out1, int add, int64_t xs, int64_t ys, int64_t zs)
{
    of(c)->products(c, c->at + l, a, b, b1, out, out1, add, xs, ys, zs);
}

/* One prime of the answers: sums [count] ciphertexts (chunked, parts s0 and s1), each blinded by an encryption of zero, loses the dropped
   primes. Called for the dropped primes first, the last one before all others, then for the kept ones.
   keys: public keys, parts k0 and k1 [per][N]; u: [ceil(count / per)][N], transformed. useful: where the wanted coefficients stand,
   [many], negative for those that are taken with a minus (place - N); all are multiples of 2^skip.
   kept: how many. For a dropped prime, inverse: of the product of the other dropped ones mod it, weights [kept]: this product
   mod the kept ones; for a kept prime, the same of all dropped ones.
   mask: [count][many], what c0 gets before primes are dropped, mod p; flood: [count][many], after that.
   out0 [kept][many0], with count many of each, and out1 [kept][count][N]: sums of the dropped parts, at the end the answer. */
typedef struct {
    int64_t count, per, many, many0;
    int kept, skip;
    const uint32_t *s0, *s1, *k0, *k1, *u;
    const int32_t *useful;
    uint32_t *out0, *out1;
    const uint32_t *mask;
    const int32_t *flood;
    uint32_t weights[MOST], inverse;
} answers;

int rlwe_answer(const context *c, int l, const answers *a)
{
    const prime *m = c->at + l;
    const kernels *run = of(c);
    const int drop = l >= a->kept, first = l == c->primes - 1;
    const uint32_t inverse = a->inverse, s = quotient(inverse, m->p);
    const uint32_t less = m->p - (uint32_t)((uint64_t)CENTRE * a->weights[drop ? 0 : l] % m->p); /* c1 is sent CENTRE higher */
    uint32_t *x = room(4 * (2 * c->n + a->many)), *spare = x ? x + c->n : 0, *found = x ? spare + c->n : 0;
    for (int64_t o = 0; x && o < a->count; o++) {
        const uint32_t *u = a->u + o / a->per * c->n, *k0 = a->k0 + o % a->per * c->n, *k1 = a->k1 + o % a->per * c->n;
        run->blinded(c, m, u, k0, a->s0, a->count, o, x);
        run->inverse(c, m, x, spare, a->skip);
        for (int64_t i = 0; i < a->many; i++) {
            const int32_t at = a->useful[i];
            const uint32_t value = x[(at < 0 ? at + c->n : at) >> a->skip];
            found[i] = portable_less((at < 0 ? m->p - value : value) + a->mask[o * a->many + i], m->p); /* which ones is public */
        }
        run->blinded(c, m, u, k1, a->s1, a->count, o, x);
        uint32_t *out0 = a->out0 + o * a->many, *out1 = a->out1 + o * c->n;
        if (drop) {
            run->scale(m, inverse, s, found, a->many);
            run->inverse(c, m, x, spare, 0);
            run->scale(m, inverse, s, x, c->n);
            for (int k = 0; k < a->kept; k++) {
                const prime *to = c->at + k;
                const uint32_t w = a->weights[k], ws = quotient(w, to->p);
                run->converted(to, w, ws, found, first, out0 + k * a->many0, a->many);
                run->converted(to, w, ws, x, first, out1 + k * a->count * c->n, c->n);
            }
            continue;
        }
        const int32_t *flood = a->flood + o * a->many;
        out0 += l * a->many0, out1 += l * a->count * c->n;
        for (int64_t i = 0; i < c->n; i++)
            out1[i] = portable_less(out1[i] + less, m->p);
        run->divided(m, inverse, s, found, out0, a->many);
        for (int64_t i = 0; i < a->many; i++)
            out0[i] = portable_less(found[i] + residue(flood[i], m), m->p);
        run->forward(c, m, out1, spare);
        run->divided(m, inverse, s, x, out1, c->n);
        memcpy(out1, x, (size_t)c->n * 4);
    }
    free(x);
    return !x;
}

/* x [count] times w mod prime l. */
void rlwe_scale(const context *c, int l, uint32_t *x, int64_t count, uint32_t w)
{
    of(c)->scale(c->at + l, w, quotient(w, c->at[l].p), x, count);
}

/* One step of packing.py: x = x + y X^e + g(x - y X^e), with g an automorphism, switched back to the key. Ciphertexts
   [primes][2][N], transformed; y is used up. monomial: X^e [primes][N], transformed. order: number i of a polynomial after g
   is its number order [i] before. keys [primes / 2][2][primes][N]: a digit is a number mod two primes.
   room [3 primes + 6][N]. */
void rlwe_merge(const context *c, uint32_t *x, uint32_t *y, const uint32_t *monomial, const int32_t *order, const uint32_t *keys,
                uint64_t *room)
{
    const kernels *run = of(c);
    const int64_t n = c->n;
    const int primes = c->primes;
    uint64_t *digits = room, *sums = digits + primes / 2 * n;
    uint32_t *turned = (uint32_t *)(sums + 2 * n), *plain = turned + primes * n, *value = plain + primes * n, *spare = value + n;
    for (int l = 0; l < primes; l++) {
        const prime *m = c->at + l;
        uint32_t *x0 = x + 2 * l * n, *y0 = y + 2 * l * n, *there = turned + l * n;
        run->apart(c, m, x0, y0, monomial + l * n);
        run->apart(c, m, x0 + n, y0 + n, monomial + l * n);
        for (int64_t i = 0; i < n; i++)
            value[i] = y0[order[i]], there[i] = y0[n + order[i]];
        run->plus(c, m, x0, value);
        memcpy(plain + l * n, there, (size_t)n * 4);
        run->inverse(c, m, plain + l * n, spare, 0);
    }
    for (int l = 0; l < primes; l += 2) {
        const prime *m = c->at + l, *o = m + 1;
        const uint32_t inverse = power(m->p, o->p - 2, o->p);
        run->joined(c, m, o, inverse, quotient(inverse, o->p), plain + l * n, plain + (l + 1) * n, digits + l / 2 * n);
    }
    for (int l = 0; l < primes; l++) {
        const prime *m = c->at + l;
        memset(sums, 0, (size_t)n * 16);
        for (int d = 0; d < primes / 2; d++) {
            const uint32_t *key = keys + (2 * d * primes + l) * n, *digit = turned + l * n;
            if (l / 2 != d) {
                run->remainders(c, m, digits + d * n, value);
                run->forward(c, m, value, spare);
                digit = value;
            }
            run->gathered(c, digit, key, sums);
            run->gathered(c, digit, key + primes * n, sums + n);
        }
        for (int part = 0; part < 2; part++) {
            run->remainders(c, m, sums + part * n, value);
            run->plus(c, m, x + (2 * l + part) * n, value);
        }
    }
}

/* What masks an answer's c0: q share / 2^64, rounded, mod prime l. modulus: q mod 2^64. */
void rlwe_mask(const context *c, int l, const uint64_t *share, int64_t count, uint64_t modulus, uint32_t *out)
{
    const prime *m = c->at + l;
    for (int64_t i = 0; i < count; i++)
        out[i] = portable_reduced((uint64_t)residue((int64_t)(share[i] * modulus), m) * m->minus_inverse, m);
}

/* c1 s of one answer [N] mod prime l, the coefficients at multiples of 2^skip. */
static void unmask(const context *c, int l, const uint32_t *c1, const uint32_t *key, int skip, uint32_t *out, uint32_t *spare)
{
    of(c)->pointwise(c, c->at + l, c1, key, out);
    of(c)->inverse(c, c->at + l, out, spare, skip);
}

/* Answers decrypted: round(2^64 / q' times the phase) mod 2^64 of each wanted coefficient. c0 [kept][count][many], c1 [kept][count][N]; keys [kept][N].
   crt [kept]: the inverse of q' / p_l mod p_l. Returns 0, or 1 without memory. */
int rlwe_decrypt(const context *c, int kept, int64_t count, int64_t many, const int32_t *useful, int skip, const uint32_t *c0,
                 const uint32_t *c1, const uint32_t *keys, const uint32_t *crt, uint64_t *out)
{
    uint32_t *x = room(4 * (kept + 1) * c->n), *spare = x ? x + kept * c->n : 0, quotients[MOST];
    unsigned __int128 wholes[MOST];
    for (int l = 0; l < kept; l++)
        quotients[l] = quotient(crt[l], c->at[l].p), wholes[l] = ~(unsigned __int128)0 / c->at[l].p;
    for (int64_t o = 0; x && o < count; o++) {
        for (int l = 0; l < kept; l++)
            unmask(c, l, c1 + (l * count + o) * c->n, keys + l * c->n, skip, x + l * c->n, spare);
        for (int64_t i = 0; i < many; i++) {
            const int32_t at = useful[i];
            unsigned __int128 sum = 0; /* of the fractions h / p, 128 bits behind the point */
            for (int l = 0; l < kept; l++) {
                const prime *m = c->at + l;
                uint32_t value = x[l * c->n + ((at < 0 ? at + c->n : at) >> skip)];
                value = at < 0 ? portable_less(m->p - value, m->p) : value;
                value = portable_less(value + c0[(l * count + o) * many + i], m->p);
                value = portable_less(portable_times(value, crt[l], quotients[l], m->p), m->p);
                sum += wholes[l] * value;
            }
            out[o * many + i] = (uint64_t)(sum >> 64) + ((uint64_t)sum >> 63);
        }
    }
    free(x);
    return !x;
}

/* Errors from uniform words, centred binomial of 21 bits, variance 10.5. */
void rlwe_errors(const uint64_t *words, int64_t count, int8_t *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (int8_t)(__builtin_popcountll(words[i] & 0x1fffff) - __builtin_popcountll(words[i] >> 21 & 0x1fffff));
}

/* Numbers -1, 0, 1 from uniform words. */
void rlwe_ternary(const uint64_t *words, int64_t count, int8_t *out)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (int8_t)((int)(((unsigned __int128)words[i] * 3) >> 64) - 1);
}

/* Packing of `count` words of `bits` bits, 24 or 28, which must be a multiple of 8. */
void rlwe_pack(const context *c, const uint32_t *x, int64_t count, int bits, uint32_t *packed)
{
    of(c)->pack(x, packed, count / (bits == 28 ? 8 : 4), bits);
}

/* Returns whether all words are below the prime l. */
int rlwe_unpack(const context *c, int l, const uint32_t *packed, int64_t count, int bits, uint32_t *x)
{
    of(c)->unpack(packed, x, count / (bits == 28 ? 8 : 4), bits);
    return of(c)->below(x, count, c->at[l].p);
}

/* Transforms in place, for tests. */
int rlwe_ntt(const context *c, int l, uint32_t *x, int inverse, int skip)
{
    uint32_t *spare = room(4 * c->n);
    if (spare && inverse)
        of(c)->inverse(c, c->at + l, x, spare, skip);
    else if (spare)
        of(c)->forward(c, c->at + l, x, spare);
    free(spare);
    return !spare;
}
