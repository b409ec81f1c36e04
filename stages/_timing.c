/* Rows of timing files of a fixed width: whether they are laid out as the first is, and the numbers that they spell. */

#include <stdint.h>
#include <string.h>

enum { WORD = 8, MOST_COLUMNS = 8 };

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
    digits = (digits * 10 + (digits >> 8)) & 0x00FF00FF00FF00FF;
    digits = (digits * 100 + (digits >> 16)) & 0x0000FFFF0000FFFF;
    return (digits * 10000 + (digits >> 32)) & 0xFFFFFFFF;
}

/* Whether a row has a digit where it is `forbidden`, none where `filler` is one, another character than `filler`, or a
 * digit that ends `within` a number. */
static int is_odd(const uint8_t *restrict row, int width, const uint8_t *restrict filler,
                  const uint8_t *restrict forbidden, const uint8_t *restrict within)
{
    uint8_t bad = row[width - 1] != filler[width - 1];

    for (int i = 0; i < width - 1; i++) {
        const uint8_t here = (uint8_t)(row[i] - '0') < 10, next = (uint8_t)(row[i + 1] - '0') < 10;
        bad |= (uint8_t)(here & (forbidden[i] | (within[i] & (next ^ 1))));
        bad |= (uint8_t)((here ^ 1) & (row[i] != filler[i]));
    }
    return bad;
}

/* Writes the numbers of `n_rows` rows of `width` bytes, a column after the other; returns 0, or -1 if a row is odd or a
 * number has more than 63 bits. */
int ledger_timing_rows(const uint8_t *rows, long long n_rows, int width, const uint8_t *filler, const uint8_t *forbidden,
                       const uint8_t *within, const Run *runs, int n_runs, int n_columns, int64_t *columns)
{
    if (width < WORD || n_columns > MOST_COLUMNS)
        return -1;
    for (long long row = 0; row < n_rows; row++, rows += width) {
        uint64_t numbers[MOST_COLUMNS] = {0}, all = 0;

        if (is_odd(rows, width, filler, forbidden, within))
            return -1;
        for (int i = 0; i < n_runs; i++) {
            const Run *run = runs + i;
            const uint64_t digits = join((load(rows + run->start) << run->shift) & run->mask);
            numbers[run->column] = numbers[run->column] * (uint64_t)run->scale + digits;
        }
        for (int i = 0; i < n_columns; i++) {
            all |= numbers[i];
            columns[i * n_rows + row] = (int64_t)numbers[i];
        }
        if (all >> 63)
            return -1;
    }
    return 0;
}
