/* The bit work of extension.py and the word work of pads.py, one thread. Optional: native.py has the same in numpy.
   Vectors are of GCC's and clang's kind, so one source fits every processor; whether an x86-64 has AVX2 is asked when the
   program runs. AVX-512 would gain another tenth of the extension's time. */

#include <stdint.h>
#include <string.h>

#define LEAVES 16
#define BITS 4    /* of a leaf's number */
#define COLUMNS 128
#define LANES 4   /* words that are worked on together */

typedef uint64_t lanes __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

/* sum = xor of all leaves; columns[j] = xor of those whose number has bit j, and of correction where delta has bit j.
   leaves [LEAVES][words], correction [words] or null, columns [BITS][words], sum [words] or null. */
#define FOLD(NAME, KIND)                                                                                               \
    KIND void NAME(const uint64_t *leaves, int64_t words, const uint64_t *correction, int delta, uint64_t *columns,    \
                   uint64_t *sum)                                                                                      \
    {                                                                                                                  \
        for (int64_t w = 0; w < words; w += LANES) {                                                                   \
            lanes x[LEAVES], found[BITS];                                                                              \
            for (int i = 0; i < LEAVES; i++)                                                                           \
                x[i] = *(const lanes *)(leaves + i * words + w);                                                       \
            for (int j = 0, left = LEAVES; j < BITS; j++) { /* then x has the leaves that differ in bits above j */    \
                found[j] = x[1];                                                                                       \
                for (int i = 3; i < left; i += 2)                                                                      \
                    found[j] ^= x[i];                                                                                  \
                left /= 2;                                                                                             \
                for (int i = 0; i < left; i++)                                                                         \
                    x[i] = x[2 * i] ^ x[2 * i + 1];                                                                    \
            }                                                                                                          \
            for (int j = 0; j < BITS; j++) {                                                                           \
                if (correction) /* delta is secret: no branch on it */                                                 \
                    found[j] ^= *(const lanes *)(correction + w) & -(uint64_t)(delta >> j & 1);                        \
                *(lanes *)(columns + j * words + w) = found[j];                                                        \
            }                                                                                                          \
            if (sum)                                                                                                   \
                *(lanes *)(sum + w) = x[0];                                                                            \
        }                                                                                                              \
    }

/* rows [64 words][2] from columns [COLUMNS][words]: bit k of row i is bit i of column k. Blocks of 64 x 64 bits are
   turned by swapping ever smaller squares (Warren, Hacker's Delight, 7-3), LANES blocks at a time. */
#define TURN(NAME, KIND)                                                                                               \
    KIND void NAME(const uint64_t *columns, int64_t words, uint64_t *rows)                                             \
    {                                                                                                                  \
        for (int64_t w = 0; w < words; w += LANES)                                                                     \
            for (int half = 0; half < 2; half++) {                                                                     \
                lanes x[64];                                                                                           \
                for (int k = 0; k < 64; k++)                                                                           \
                    x[k] = *(const lanes *)(columns + (64 * half + k) * words + w);                                    \
                uint64_t low = 0x00000000FFFFFFFFu;                                                                    \
                for (int side = 32; side; side /= 2, low ^= low << side)                                               \
                    for (int at = 0; at < 64; at += 2 * side)                                                          \
                        for (int k = at; k < at + side; k++) {                                                         \
                            lanes swap = (x[k] >> side ^ x[k + side]) & low;                                           \
                            x[k] ^= swap << side;                                                                      \
                            x[k + side] ^= swap;                                                                       \
                        }                                                                                              \
                for (int lane = 0; lane < LANES; lane++)                                                               \
                    for (int k = 0; k < 64; k++)                                                                       \
                        rows[2 * (64 * (w + lane) + k) + half] = ((const uint64_t *)&x[k])[lane];                      \
            }                                                                                                          \
    }

FOLD(ot_fold_plain, )
TURN(ot_turn_plain, )

#if defined(__x86_64__)
FOLD(fold_avx2, __attribute__((target("avx2"))) static)
TURN(turn_avx2, __attribute__((target("avx2"))) static)
#define BEST(NAME) (__builtin_cpu_supports("avx2") ? NAME##_avx2 : ot_##NAME##_plain)
#else
#define BEST(NAME) ot_##NAME##_plain
#endif

void ot_fold(const uint64_t *leaves, int64_t words, const uint64_t *correction, int delta, uint64_t *columns,
             uint64_t *sum)
{
    BEST(fold)(leaves, words, correction, delta, columns, sum);
}

void ot_turn(const uint64_t *columns, int64_t words, uint64_t *rows)
{
    BEST(turn)(columns, words, rows);
}

typedef uint64_t row __attribute__((vector_size(16), aligned(8), may_alias));

/* x [2][n] = q xor d delta, and the same xor delta, for rows q [n] and d the bits of flips, the lowest first. */
void ot_sides(const row *rows, const uint8_t *flips, int64_t n, const row *delta, row *x)
{
    const row change[2] = {{0, 0}, *delta};
    for (int64_t i = 0; i < n; i++) {
        int flip = flips[i >> 3] >> (i & 7) & 1;
        x[i] = rows[i] ^ change[flip];
        x[n + i] = rows[i] ^ change[1 - flip];
    }
}

/* tweaked [sides][n][blocks] = hidden [sides][n] xor (first + i, start + block). */
void ot_tweak(const row *hidden, int64_t sides, int64_t n, int64_t blocks, uint64_t first, uint64_t start, row *tweaked)
{
    for (int64_t side = 0; side < sides; side++) {
        row tweak = {first, start};
        for (int64_t i = 0; i < n; i++, hidden++, tweak += (row){1, 0}) {
            row here = tweak;
            for (int64_t block = 0; block < blocks; block++, here += (row){0, 1})
                *tweaked++ = *hidden ^ here;
        }
    }
}

static void whiten(row hidden, int64_t blocks, row *pad)
{
    for (int64_t block = 0; block < blocks; block++)
        pad[block] ^= hidden;
}

/* The sender: share = -k0 and payload = k0 + values - k1, or k0 and k0 xor values xor k1, all [n][words]; k0 and k1 are
   the first words of the pads [2][n][blocks].
   The chooser: share = k + bit payload, or k xor bit payload. */
#define COMBINE(WORD, NAME)                                                                                            \
    static void send_##NAME(const row *hidden, row *pads, int64_t n, int64_t blocks, int64_t words, int xored,         \
                            const WORD *values, WORD *share, WORD *payload)                                            \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++, values += words, share += words, payload += words) {                           \
            row *first = pads + i * blocks, *second = pads + (n + i) * blocks;                                         \
            const WORD *zero = (const WORD *)first, *one = (const WORD *)second;                                       \
            whiten(hidden[i], blocks, first);                                                                          \
            whiten(hidden[n + i], blocks, second);                                                                     \
            if (xored)                                                                                                 \
                for (int64_t j = 0; j < words; j++) {                                                                  \
                    share[j] = zero[j];                                                                                \
                    payload[j] = zero[j] ^ values[j] ^ one[j];                                                         \
                }                                                                                                      \
            else                                                                                                       \
                for (int64_t j = 0; j < words; j++) {                                                                  \
                    share[j] = (WORD)-zero[j];                                                                         \
                    payload[j] = (WORD)(zero[j] + values[j] - one[j]);                                                 \
                }                                                                                                      \
        }                                                                                                              \
    }                                                                                                                  \
    static void take_##NAME(const row *hidden, row *pads, int64_t n, int64_t blocks, int64_t words, int xored,         \
                            const uint8_t *bits, const WORD *payload, WORD *share)                                     \
    {                                                                                                                  \
        for (int64_t i = 0; i < n; i++, pads += blocks, payload += words, share += words) {                            \
            const WORD *pad = (const WORD *)pads, mask = (WORD)-bits[i];                                               \
            whiten(hidden[i], blocks, pads);                                                                           \
            if (xored)                                                                                                 \
                for (int64_t j = 0; j < words; j++)                                                                    \
                    share[j] = pad[j] ^ (payload[j] & mask);                                                           \
            else                                                                                                       \
                for (int64_t j = 0; j < words; j++)                                                                    \
                    share[j] = (WORD)(pad[j] + (payload[j] & mask));                                                   \
        }                                                                                                              \
    }

typedef uint8_t word_1 __attribute__((may_alias));
typedef uint16_t word_2 __attribute__((may_alias));
typedef uint32_t word_4 __attribute__((may_alias));
typedef uint64_t word_8 __attribute__((may_alias));

COMBINE(word_1, 1)
COMBINE(word_2, 2)
COMBINE(word_4, 4)
COMBINE(word_8, 8)

#define BY_SIZE(DO, ...)                                                                                               \
    switch (size) {                                                                                                    \
    case 1: DO##_1(__VA_ARGS__); break;                                                                                \
    case 2: DO##_2(__VA_ARGS__); break;                                                                                \
    case 4: DO##_4(__VA_ARGS__); break;                                                                                \
    case 8: DO##_8(__VA_ARGS__); break;                                                                                \
    }

/* size: of a word, in bytes. hidden [2][n]. pads [2][n][blocks]: pi of what `ot_tweak` gave. */
void ot_send(const row *hidden, row *pads, int64_t n, int64_t blocks, int64_t words, int size, int xored,
             const void *values, void *share, void *payload)
{
    BY_SIZE(send, hidden, pads, n, blocks, words, xored, values, share, payload)
}

/* hidden [n]. pads [n][blocks]. bits [n] of 0 or 1. */
void ot_take(const row *hidden, row *pads, int64_t n, int64_t blocks, int64_t words, int size, int xored,
             const uint8_t *bits, const void *payload, void *share)
{
    BY_SIZE(take, hidden, pads, n, blocks, words, xored, bits, payload, share)
}
