/* Rows of timing files of a fixed width: whether they are laid out as the first is, and the numbers that they spell. */

#include <stdint.h>
#include <string.h>

enum { WORD = 8 };

/* Compiled twice, where the loader can choose: for any processor, and for those that do 32 bytes at a time. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDEST __attribute__((target_clones("avx2", "default")))
#else
#define WIDEST
#endif

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

/* Whether rows have a digit where it is `forbidden`, none where `filler` is one, another character than `filler`, or a
 * digit that ends `within` a number; what belongs to each of their bytes is at the same place in these. */
WIDEST static int are_odd(const uint8_t *restrict rows, int n_bytes, const uint8_t *restrict filler,
                          const uint8_t *restrict forbidden, const uint8_t *restrict within)
{
    uint8_t bad = rows[n_bytes - 1] ^ filler[n_bytes - 1];

    for (int i = 0; i < n_bytes - 1; i++) {
        const uint8_t digit = (uint8_t)(rows[i] - '0') < 10 ? 0xFF : 0;
        const uint8_t next = (uint8_t)(rows[i + 1] - '0') < 10 ? 0xFF : 0;

        bad |= (digit & (forbidden[i] | (within[i] & ~next))) | (~digit & (rows[i] ^ filler[i]));
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
 * number has more than 63 bits. Rows are taken in blocks, which stay in the processor's cache; `filler`, `forbidden` and
 * `within` are of a whole block. */
int ledger_timing_rows(const uint8_t *rows, long long n_rows, int width, int block, const uint8_t *filler,
                       const uint8_t *forbidden, const uint8_t *within, const Run *runs, int n_runs, uint64_t *columns)
{
    if (width < WORD)
        return -1;
    for (long long first = 0; first < n_rows; first += block, rows += (long long)block * width) {
        const int n = n_rows - first < block ? (int)(n_rows - first) : block;

        if (are_odd(rows, n * width, filler, forbidden, within))
            return -1;
        for (int i = 0; i < n_runs; i++) {
            const int begins = i == 0 || runs[i].column != runs[i - 1].column;

            if (append(runs + i, begins, rows, n, width, columns + runs[i].column * n_rows + first) >> 63)
                return -1;
        }
    }
    return 0;
}
