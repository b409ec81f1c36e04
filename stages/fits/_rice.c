/* RICE_1 streams of tiles of 16-bit pixels, as cfitsio's ricecomp.c makes them (FITS 4.0 sec. 10.4.1), byte for byte.
 *
 * A stream is the first pixel, then blocks of differences between neighbours, folded so that small ones of either sign
 * are small numbers. A block says how many low bits of its numbers are written as they are (4 bits); what is above them
 * is written in unary. Blocks of zeros, and blocks that no such code suits, have marks of their own.
 */

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BIG_ENDIAN_16(value) ((uint16_t)((value) << 8 | (value) >> 8))
#else
#define BIG_ENDIAN_16(value) (value)
#endif

enum {
    BLOCK = 32,      /* pixels; cfitsio writes no other number */
    MARK_BITS = 4,   /* of what a block says of itself, for 16-bit pixels */
    LARGEST = 14,    /* low bits from which on a block is stored as it is */
    PIXEL_BITS = 16,
    MOST_BITS = 56,  /* written at once */
    MOST_ZEROS = 40, /* before a number of which the whole is known, with its low bits, when 56 bits are */
    MOST_BYTES = 4 * BLOCK + 16 /* more than one block can become */
};

static inline uint64_t swapped(uint64_t word) /* from or to the order of bytes in a stream: the highest first */
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(word);
#else
    return word;
#endif
}

typedef struct {
    uint64_t bits; /* those of a byte that is not full yet, at the low end; above them there are old ones */
    int n;         /* how many: below 8 between calls */
    uint8_t *to;   /* that byte; what is behind it is written over */
} Writer;

static inline void put(Writer *w, uint64_t value, int n) /* n of 1 to 56 bits */
{
    w->bits = w->bits << n | value;
    w->n += n;
    const uint64_t bytes = swapped(w->bits << (64 - w->n));
    memcpy(w->to, &bytes, sizeof bytes); /* always eight: without a branch that nobody could foresee */
    w->to += w->n >> 3;
    w->n &= 7;
}

/* Writes the stream of `n_pixels` big-endian pixels, at least one; returns its length in bytes, or -1 if `size` bytes
 * might be too few. */
long long ledger_rice16(const uint8_t *pixels, long long n_pixels, uint8_t *stream, long long size)
{
    Writer w = {0, 0, stream};
    uint16_t last = (uint16_t)(pixels[0] << 8 | pixels[1]);
    uint16_t values[BLOCK + 1];
    uint32_t folded[BLOCK];

    if (size < MOST_BYTES)
        return -1;
    put(&w, last, PIXEL_BITS);
    for (long long start = 0; start < n_pixels; start += BLOCK) {
        const int n = n_pixels - start < BLOCK ? (int)(n_pixels - start) : BLOCK;
        const uint8_t *from = pixels + 2 * start;
        uint32_t sum = 0;

        if (stream + size - w.to < MOST_BYTES)
            return -1;
        values[0] = last;
        memcpy(values + 1, from, 2 * (size_t)n);
        for (int i = 1; i <= n; i++)
            values[i] = BIG_ENDIAN_16(values[i]);
        last = values[n];
        for (int i = 0; i < n; i++) {
            const int16_t difference = (int16_t)(uint16_t)(values[i + 1] - values[i]);
            folded[i] = (uint16_t)((uint32_t)(uint16_t)difference << 1 ^ (uint32_t)(difference >> 15));
            sum += folded[i];
        }
        /* how many low bits: cfitsio takes the mean for it, computed as a floating-point number and cut off */
        const int half = n / 2;
        uint32_t mean = sum > (uint32_t)(half + 1) ? (sum - half - 1) / n : 0;
        mean = (uint16_t)mean >> 1;
        const int low = mean ? 32 - __builtin_clz(mean) : 0;
        if (low >= LARGEST) {
            put(&w, LARGEST + 1, MARK_BITS);
            for (int i = 0; i < n; i++)
                put(&w, folded[i], PIXEL_BITS);
        } else if (low == 0 && sum == 0) {
            put(&w, 0, MARK_BITS);
        } else {
            const uint32_t mask = (1u << low) - 1;
            put(&w, low + 1, MARK_BITS);
            for (int i = 0; i < n; i++) {
                uint32_t high = folded[i] >> low;
                int bits = (int)high + 1 + low;
                uint64_t code = (folded[i] & mask) | 1u << low;

                if (i + 1 < n) { /* two at once, as most are short */
                    const int more = (int)(folded[i + 1] >> low) + 1 + low;
                    if (bits + more <= MOST_BITS) {
                        put(&w, code << more | (folded[i + 1] & mask) | 1u << low, bits + more);
                        i++;
                        continue;
                    }
                }
                for (; bits > MOST_BITS && high >= MOST_BITS; high -= MOST_BITS, bits -= MOST_BITS)
                    put(&w, 0, MOST_BITS);
                if (bits > MOST_BITS) {
                    put(&w, 0, (int)high);
                    bits -= (int)high;
                }
                put(&w, code, bits);
            }
        }
    }
    return w.to - stream + (w.n > 0); /* the last byte is filled with zeros */
}

typedef struct {
    uint64_t bits; /* the next ones, at the high end; below the first `n` there are none, or some of those to come */
    int n;         /* how many are known */
    const uint8_t *from, *end;
} Reader;

static inline uint64_t next_bytes(const uint8_t *from) /* eight */
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return swapped(word);
}

static inline void fill(Reader *r) /* to at least 56 bits, as far as there are any */
{
    if (r->end - r->from >= 8) {
        r->bits |= next_bytes(r->from) >> r->n;
        r->from += (63 - r->n) >> 3;
        r->n |= 56;
    } else {
        while (r->n <= 56 && r->from < r->end) {
            r->bits |= (uint64_t)*r->from++ << (56 - r->n);
            r->n += 8;
        }
    }
}

static inline int get(Reader *r, int n, uint32_t *value) /* n of 0 to 16 bits; 0 if there are fewer */
{
    if (r->n < n) {
        fill(r);
        if (r->n < n)
            return 0;
    }
    *value = n ? (uint32_t)(r->bits >> (64 - n)) : 0;
    r->bits <<= n;
    r->n -= n;
    return 1;
}

static inline int count(Reader *r, uint32_t *zeros) /* those before the next one, which is taken too */
{
    *zeros = 0;
    for (;;) {
        if (r->n < 32)
            fill(r);
        if (r->n == 0)
            return 0;
        const int found = r->bits ? __builtin_clzll(r->bits) : 64;
        if (found < r->n) {
            *zeros += (uint32_t)found;
            r->bits = r->bits << found << 1;
            r->n -= found + 1;
            return 1;
        }
        *zeros += (uint32_t)r->n;
        r->bits <<= r->n; /* below 64 */
        r->n = 0;
    }
}

/* Reads one number with `low` low bits, however long it is or however near the end; 0 if the stream ends before. */
static __attribute__((noinline)) int number(Reader *r, int low, uint32_t *value)
{
    uint32_t zeros;

    if (!count(r, &zeros) || !get(r, low, value))
        return 0;
    *value |= zeros << low;
    return 1;
}

/* Reads `n` pixels as differences with `low` low bits each, the first of them to `last`, and returns the last in its
 * place; 0 if the stream ends before. */
static inline int differences(Reader *r, int low, int n, uint32_t *last, int16_t *pixels)
{
    Reader here = *r; /* of its own: this is where the time goes */
    uint32_t pixel = *last, value;

    for (int i = 0; i < n; i++) {
        int zeros = MOST_ZEROS + 1;
        if (here.end - here.from >= 8) {
            here.bits |= next_bytes(here.from) >> here.n;
            here.from += (63 - here.n) >> 3;
            here.n |= 56;
            zeros = __builtin_clzll(here.bits | 1);
        }
        if (zeros <= MOST_ZEROS) {
            const uint64_t rest = here.bits << zeros << 1;
            value = (uint32_t)(rest >> 1 >> (63 - low)) | (uint32_t)zeros << low;
            here.bits = rest << low;
            here.n -= zeros + 1 + low;
        } else {
            *r = here;
            if (!number(r, low, &value))
                return 0;
            here = *r;
        }
        pixel += value >> 1 ^ -(value & 1);
        pixels[i] = (int16_t)(uint16_t)pixel;
    }
    *r = here;
    *last = pixel;
    return 1;
}

/* Reads a block of `n` pixels that follow `last`, which becomes the last of them; 0 if the stream ends before. */
static inline int block(Reader *r, int n, uint32_t *last, int16_t *pixels)
{
    uint32_t mark, value;

    if (!get(r, MARK_BITS, &mark))
        return 0;
    const int low = (int)mark - 1;
    if (low >= 0 && low < LARGEST)
        return differences(r, low, n, last, pixels);
    for (int i = 0; i < n; i++) { /* all alike, or each as it is */
        if (low == LARGEST) {
            if (!get(r, PIXEL_BITS, &value))
                return 0;
            *last += value >> 1 ^ -(value & 1);
        }
        pixels[i] = (int16_t)(uint16_t)*last;
    }
    return 1;
}

/* Reads `n_pixels` pixels, at least one, in the byte order of this machine, from a stream of `size` bytes; returns 0, or
 * -1 if it ends before. */
int ledger_rice16_read(const uint8_t *stream, long long size, int16_t *pixels, long long n_pixels)
{
    Reader r = {0, 0, stream, stream + size};
    uint32_t last;

    if (!get(&r, PIXEL_BITS, &last))
        return -1;
    for (long long start = 0; start < n_pixels; start += BLOCK) {
        const int n = n_pixels - start < BLOCK ? (int)(n_pixels - start) : BLOCK;
        if (!block(&r, n, &last, pixels + start))
            return -1;
    }
    return 0;
}

/* Reads a stream in the same way, and returns 0 if its pixels are these big-endian ones, or -1. */
int ledger_rice16_compare(const uint8_t *stream, long long size, const uint8_t *pixels, long long n_pixels)
{
    Reader r = {0, 0, stream, stream + size};
    uint32_t last;
    int16_t found[BLOCK];

    if (!get(&r, PIXEL_BITS, &last))
        return -1;
    for (long long start = 0; start < n_pixels; start += BLOCK) {
        const int n = n_pixels - start < BLOCK ? (int)(n_pixels - start) : BLOCK;
        uint16_t differing = 0;

        if (!block(&r, n, &last, found))
            return -1;
        for (int i = 0; i < n; i++) {
            uint16_t pixel;
            memcpy(&pixel, pixels + 2 * (start + i), sizeof pixel);
            differing |= (uint16_t)(BIG_ENDIAN_16(pixel) ^ (uint16_t)found[i]);
        }
        if (differing)
            return -1;
    }
    return 0;
}
