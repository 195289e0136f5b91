/* The bit work of the extension in extension.py, one thread. Optional: native.py has the same in numpy.
   Vectors are of GCC's and clang's kind, so one source fits every processor; the widest that this one has is chosen when
   the program runs. */

#include <stdint.h>
#include <string.h>

#define LEAVES 16
#define BITS 4    /* of a leaf's number */
#define COLUMNS 128
#define LANES 8   /* words of a column that are turned together */

typedef uint64_t lanes __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

/* sum = xor of all leaves; columns[j] = xor of those whose number has bit j, and of correction where delta has bit j.
   leaves [LEAVES][words], correction [words] or null, columns [BITS][words], sum [words] or null. */
#define FOLD(NAME, TARGET)                                                                                             \
    TARGET static void NAME(const uint64_t *leaves, int64_t words, const uint64_t *correction, int delta,              \
                            uint64_t *columns, uint64_t *sum)                                                          \
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
                if (correction && delta >> j & 1)                                                                      \
                    found[j] ^= *(const lanes *)(correction + w);                                                      \
                *(lanes *)(columns + j * words + w) = found[j];                                                        \
            }                                                                                                          \
            if (sum)                                                                                                   \
                *(lanes *)(sum + w) = x[0];                                                                            \
        }                                                                                                              \
    }

/* rows [64 words][2] from columns [COLUMNS][words]: bit k of row i is bit i of column k. Blocks of 64 x 64 bits are turned
   by swapping ever smaller squares (Warren, Hacker's Delight, 7-3), LANES blocks at a time. */
#define TURN(NAME, TARGET)                                                                                             \
    TARGET static void NAME(const uint64_t *columns, int64_t words, uint64_t *rows)                                    \
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

FOLD(fold_plain, )
TURN(turn_plain, )

#if defined(__x86_64__)
FOLD(fold_avx2, __attribute__((target("avx2"))))
TURN(turn_avx2, __attribute__((target("avx2"))))
FOLD(fold_avx512, __attribute__((target("avx512f"))))
TURN(turn_avx512, __attribute__((target("avx512f"))))
#define CHOSEN(NAME, ...)                                                                                              \
    (__builtin_cpu_supports("avx512f") ? NAME##_avx512(__VA_ARGS__)                                                    \
     : __builtin_cpu_supports("avx2")  ? NAME##_avx2(__VA_ARGS__)                                                      \
                                       : NAME##_plain(__VA_ARGS__))
#else
#define CHOSEN(NAME, ...) NAME##_plain(__VA_ARGS__)
#endif

void ot_fold(const uint64_t *leaves, int64_t words, const uint64_t *correction, int delta, uint64_t *columns,
             uint64_t *sum)
{
    CHOSEN(fold, leaves, words, correction, delta, columns, sum);
}

void ot_turn(const uint64_t *columns, int64_t words, uint64_t *rows)
{
    CHOSEN(turn, columns, words, rows);
}
