/* Rows of timing files of a fixed width: whether they are laid out as the first is, and the numbers that they spell. */

#include <stdint.h>
#include <string.h>

enum { WORD = 8, BLOCK = 64 };

/* A run of at most eight digits: the first byte of a word that it is in, its column, 10 to the number of its digits, and
 * the shift and the mask that leave it alone in that word. */
typedef struct {
    int64_t start, column, scale;
    uint64_t shift, mask;
} Run;

/* Eight bytes, the first of them lowest. */
static inline uint64_t load(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, WORD);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The number that eight digits spell, the first of them in the lowest byte: neighbours are joined three times. */
static inline uint64_t join(uint64_t digits)
{
    digits = (digits * (10 << 8 | 1) >> 8) & 0x00FF00FF00FF00FF;
    digits = (digits * (100 << 16 | 1) >> 16) & 0x0000FFFF0000FFFF;
    return digits * (10000ULL << 32 | 1) >> 32;
}

/* Whether a row has a digit where it is `forbidden`, none where `filler` is one, another character than `filler`, or a
 * digit that ends `within` a number. */
static int is_odd(const uint8_t *restrict row, int width, const uint8_t *restrict filler,
                  const uint8_t *restrict forbidden, const uint8_t *restrict within)
{
    uint8_t bad = row[width - 1] ^ filler[width - 1];

    for (int i = 0; i < width - 1; i++) {
        const uint8_t digit = (uint8_t)(row[i] - '0') < 10 ? 0xFF : 0;
        const uint8_t next = (uint8_t)(row[i + 1] - '0') < 10 ? 0xFF : 0;

        bad |= (digit & (forbidden[i] | (within[i] & ~next))) | (~digit & (row[i] ^ filler[i]));
    }
    return bad;
}

/* Puts a run of some rows behind the digits that their numbers have so far, or begins these; returns them all, or-ed. */
static uint64_t append(const Run *run, int begins, const uint8_t *rows, int n_rows, int width, uint64_t *restrict numbers)
{
    const Run r = *run;
    const uint8_t *from = rows + r.start;
    uint64_t all = 0;

    for (int i = 0; i < n_rows; i++, from += width) {
        const uint64_t digits = join((load(from) << r.shift) & r.mask);
        numbers[i] = begins ? digits : numbers[i] * (uint64_t)r.scale + digits;
        all |= numbers[i];
    }
    return all;
}

/* Writes the numbers of `n_rows` rows of `width` bytes, a column after the other; returns 0, or -1 if a row is odd or a
 * number has more than 63 bits. Rows are taken in blocks that stay in the processor's cache. */
int ledger_timing_rows(const uint8_t *rows, long long n_rows, int width, const uint8_t *filler, const uint8_t *forbidden,
                       const uint8_t *within, const Run *runs, int n_runs, uint64_t *columns)
{
    if (width < WORD)
        return -1;
    for (long long first = 0; first < n_rows; first += BLOCK, rows += (long long)BLOCK * width) {
        const int n = n_rows - first < BLOCK ? (int)(n_rows - first) : BLOCK;

        for (int i = 0; i < n; i++)
            if (is_odd(rows + i * width, width, filler, forbidden, within))
                return -1;
        for (int i = 0; i < n_runs; i++) {
            const int begins = i == 0 || runs[i].column != runs[i - 1].column;

            if (append(runs + i, begins, rows, n, width, columns + runs[i].column * n_rows + first) >> 63)
                return -1;
        }
    }
    return 0;
}
