/* c = a b or c += a b mod 2^64, one thread. Optional: without it products.py multiplies with float64 limbs.

   Blocks of both operands are packed into zero-padded panels, for any strides, and a kernel multiplies ROWS rows by
   COLUMNS columns (the scheme is GotoBLAS', Goto and van de Geijn 2008). The kernel is chosen when the program runs,
   so one build fits every x86-64. All arithmetic is unsigned: it wraps. */

#include <stdint.h>
#include <string.h>

#define ROWS 4
#define COLUMNS 8
#define DEPTH 256 /* inner dimension of one block, at most: a panel of a and one of b fit the first cache, 24 KiB */
#define WIDTH 64  /* columns of b that are packed at a time: 128 KiB, for the second cache */

/* out [ROWS][COLUMNS] = a b, with a [depth][ROWS] and b [depth][COLUMNS] packed. */
typedef void kernel(const uint64_t *a, const uint64_t *b, int64_t depth, uint64_t *out);

static void portable(const uint64_t *a, const uint64_t *b, int64_t depth, uint64_t *out)
{
    for (int half = 0; half < COLUMNS; half += 4) {
        uint64_t sum[ROWS][4] = {{0}};
        for (int64_t p = 0; p < depth; p++)
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < 4; j++)
                    sum[r][j] += a[p * ROWS + r] * b[p * COLUMNS + half + j];
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < 4; j++)
                out[r * COLUMNS + half + j] = sum[r][j];
    }
}

#if defined(__x86_64__)
#include <immintrin.h>

/* There is no 64-bit product. With x = x0 + 2^32 x1 and y = y0 + 2^32 y1, x y = x0 y0 + 2^32 (x0 y1 + x1 y0), and of
   the sum in brackets 32 bits count: one 32-bit product of x with the halves of y swapped gives both of its terms. */
__attribute__((target("avx2"))) static void avx2(const uint64_t *a, const uint64_t *b, int64_t depth, uint64_t *out)
{
    for (int half = 0; half < COLUMNS; half += 4) {
        __m256i low[ROWS], cross[ROWS];
        for (int r = 0; r < ROWS; r++)
            low[r] = cross[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
        for (int64_t p = 0; p < depth; p++) {
            __m256i y = _mm256_loadu_si256((const __m256i *)(b + p * COLUMNS + half));
            __m256i swapped = _mm256_shuffle_epi32(y, 0xB1);
            for (int r = 0; r < ROWS; r++) {
                __m256i x = _mm256_set1_epi64x((long long)a[p * ROWS + r]);
                low[r] = _mm256_add_epi64(low[r], _mm256_mul_epu32(x, y));
                cross[r] = _mm256_add_epi32(cross[r], _mm256_mullo_epi32(x, swapped));
            }
        }
        for (int r = 0; r < ROWS; r++) {
            __m256i sum = _mm256_add_epi32(cross[r], _mm256_srli_epi64(cross[r], 32));
            sum = _mm256_add_epi64(low[r], _mm256_slli_epi64(sum, 32));
            _mm256_storeu_si256((__m256i *)(out + r * COLUMNS + half), sum);
        }
    }
}

__attribute__((target("avx512f,avx512dq"))) static void avx512(const uint64_t *a, const uint64_t *b, int64_t depth,
                                                               uint64_t *out)
{
    __m512i sum[ROWS];
    for (int r = 0; r < ROWS; r++)
        sum[r] = _mm512_setzero_si512();
    for (int64_t p = 0; p < depth; p++) {
        __m512i y = _mm512_loadu_si512(b + p * COLUMNS);
        for (int r = 0; r < ROWS; r++)
            sum[r] = _mm512_add_epi64(sum[r], _mm512_mullo_epi64(_mm512_set1_epi64((long long)a[p * ROWS + r]), y));
    }
    for (int r = 0; r < ROWS; r++)
        _mm512_storeu_si512(out + r * COLUMNS, sum[r]);
}
#endif

/* NULL where this machine cannot run it. */
static kernel *choose(int wanted)
{
#if defined(__x86_64__)
    if (wanted == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") ? avx512 : 0;
    if (wanted == 1)
        return __builtin_cpu_supports("avx2") ? avx2 : 0;
#endif
    return wanted == 0 ? portable : 0;
}

static int64_t least(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

/* packed [depth][width] = x [depth][count], whose entries are at multiples of `stride` and `step`; then zeros. */
static inline void pack(uint64_t *packed, const uint64_t *x, int64_t depth, int64_t stride, int64_t count, int64_t step,
                        const int width)
{
    for (int64_t p = 0; p < depth; p++, packed += width, x += stride)
        if (count < width)
            for (int j = 0; j < width; j++)
                packed[j] = j < count ? x[j * step] : 0;
        else if (step == 1)
            memcpy(packed, x, width * sizeof *x);
        else
            for (int j = 0; j < width; j++)
                packed[j] = x[j * step];
}

/* to [rows][columns] of c, whose rows are `width` apart, = or += out [ROWS][COLUMNS]. */
static inline void put(uint64_t *to, int64_t width, int add, const uint64_t *out, const int64_t rows,
                       const int64_t columns)
{
    for (int64_t r = 0; r < rows; r++, to += width, out += COLUMNS)
        for (int64_t s = 0; s < columns; s++)
            to[s] = add ? to[s] + out[s] : out[s];
}

/* a [n, k] and b [k, m] with strides counted in entries; c [n, m] contiguous. `add`: c += a b, else c = a b. `wanted` is
   the kernel: 0 portable, 1 AVX2, 2 AVX-512, -1 the best one here. Returns 0, or 1 where this machine cannot run it. */
int ring_matmul(int wanted, int add, const uint64_t *a, int64_t a_row, int64_t a_column, const uint64_t *b,
                int64_t b_row, int64_t b_column, uint64_t *c, int64_t n, int64_t k, int64_t m)
{
    uint64_t left[DEPTH * ROWS], right[DEPTH * WIDTH], out[ROWS * COLUMNS];
    kernel *run = choose(wanted < 0 ? 2 : wanted);
    for (int next = 1; wanted < 0 && !run; next--)
        run = choose(next);
    if (!run)
        return 1;
    int64_t blocks = k ? (k - 1) / DEPTH + 1 : 1, step = (k + blocks - 1) / blocks; /* of about the same depth */
    for (int64_t p = 0; blocks; blocks--, p += step, add = 1) {
        int64_t depth = least(step, k - p);
        for (int64_t side = 0; side < m; side += WIDTH) {
            int64_t end = least(side + WIDTH, m);
            for (int64_t j = side; j < end; j += COLUMNS)
                pack(right + (j - side) * depth, b + p * b_row + j * b_column, depth, b_row, end - j, b_column, COLUMNS);
            for (int64_t i = 0; i < n; i += ROWS) {
                pack(left, a + i * a_row + p * a_column, depth, a_column, n - i, a_row, ROWS);
                for (int64_t j = side; j < end; j += COLUMNS) {
                    run(left, right + (j - side) * depth, depth, out);
                    if (n - i >= ROWS && end - j >= COLUMNS)
                        put(c + i * m + j, m, add, out, ROWS, COLUMNS);
                    else
                        put(c + i * m + j, m, add, out, least(ROWS, n - i), least(COLUMNS, end - j));
                }
            }
        }
    }
    return 0;
}
