/* The element by element part of the comparison in protocols/relu.py, one thread. Optional: sign.py has the same in torch,
   and the tables that are handed in here. n is the number of entries; every array has n of them in its last dimension
   unless it says otherwise. */

#include <stdint.h>

#define CHUNKS 5 /* above the lowest one */
#define WORDS 3

/* The dealer's tables for masks r. lower, top, lowest: [16], by the value of a chunk of r. table: [CHUNKS][n]. */
void sign_tables(const int64_t *r, int64_t n, int low_bit, const uint32_t *lower, const uint32_t *top,
                 const uint16_t *lowest, uint32_t *table, uint16_t *lowest_table)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t window = (uint32_t)((uint64_t)r[i] >> low_bit);
        lowest_table[i] = lowest[window & 15];
        for (int k = 0; k < CHUNKS; k++)
            table[k * n + i] = (k < CHUNKS - 1 ? lower : top)[window >> 4 * (k + 1) & 15];
    }
}

/* words [n][WORDS] = ones [1024][WORDS] at the low ten bits of mask. */
void sign_words(const uint16_t *mask, int64_t n, const uint32_t *ones, uint32_t *words)
{
    for (int64_t i = 0; i < n; i++)
        for (int w = 0; w < WORDS; w++)
            words[i * WORDS + w] = ones[(mask[i] & 1023) * WORDS + w];
}

/* This party's shares of the ten inputs of the gate, and of the sign without a borrow, at the public c. */
void sign_inputs(const int64_t *c, int64_t n, int low_bit, const uint32_t *table, const uint16_t *lowest_table,
                 uint16_t *bits, uint8_t *plain)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t window = (uint32_t)((uint64_t)c[i] >> low_bit);
        uint32_t top = table[(CHUNKS - 1) * n + i] >> (window >> 4 * CHUNKS & 15);
        uint32_t found = (top & 1) | (lowest_table[i] >> (window & 15) & 1u) << (2 * CHUNKS - 1);
        plain[i] = top >> 16 & 1;
        for (int k = 1; k < CHUNKS; k++) {
            uint32_t both = table[(k - 1) * n + i] >> (window >> 4 * k & 15); /* bit 16: less, bit 0: equal */
            found |= ((both >> 16 & 1) | (both & 1) << 1) << (2 * (CHUNKS - k) - 1);
        }
        bits[i] = (uint16_t)found;
    }
}

/* This party's share of the gate: the parity of its words [n][WORDS] where counts [1024][WORDS], at the low ten bits of
   the opened inputs, has ones. */
void sign_gate(const uint16_t *opened, int64_t n, const uint32_t *counts, const uint32_t *words, uint8_t *share)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t sum = 0;
        for (int w = 0; w < WORDS; w++)
            sum ^= counts[(opened[i] & 1023) * WORDS + w] & words[i * WORDS + w];
        share[i] = (uint8_t)__builtin_parity(sum);
    }
}
