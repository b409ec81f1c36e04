/* RICE_1 streams of tiles of 16-bit pixels, as cfitsio's ricecomp.c makes them (FITS 4.0 sec. 10.4.1), byte for byte.
 *
 * A stream is the first pixel, then blocks of differences between neighbours, folded so that small ones of either sign
 * are small numbers. A block says how many low bits of its numbers are written as they are (4 bits); what is above them
 * is written in unary. Blocks of zeros, and blocks that no such code suits, have marks of their own.
 */

#include <stdint.h>

enum {
    BLOCK = 32,      /* pixels; cfitsio writes no other number */
    MARK_BITS = 4,   /* of what a block says of itself, for 16-bit pixels */
    LARGEST = 14,    /* low bits from which on a block is stored as it is */
    PIXEL_BITS = 16,
    MOST_ZEROS = 40, /* before a number of which the whole is known, with its low bits, when 56 bits are */
    MOST_BYTES = 4 * BLOCK + 16 /* more than one block can become */
};

typedef struct {
    uint64_t bits; /* those not written yet, at the low end */
    int n;         /* how many: below 32 between calls */
    uint8_t *to;
} Writer;

static inline void put(Writer *w, uint32_t value, int n) /* n of 0 to 32 bits */
{
    w->bits = (w->bits << n) | value;
    w->n += n;
    if (w->n >= 32) {
        w->n -= 32;
        uint32_t word = (uint32_t)(w->bits >> w->n);
        *w->to++ = (uint8_t)(word >> 24);
        *w->to++ = (uint8_t)(word >> 16);
        *w->to++ = (uint8_t)(word >> 8);
        *w->to++ = (uint8_t)word;
    }
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
        for (int i = 0; i < n; i++)
            values[i + 1] = (uint16_t)(from[2 * i] << 8 | from[2 * i + 1]);
        last = values[n];
        for (int i = 0; i < n; i++) {
            const int16_t difference = (int16_t)(uint16_t)(values[i + 1] - values[i]);
            folded[i] = (uint16_t)((uint32_t)(uint16_t)difference << 1 ^ (uint32_t)(difference >> 15));
            sum += folded[i];
        }
        /* how many low bits: cfitsio takes the mean for it, computed as a floating-point number and cut off */
        const int half = n / 2;
        uint32_t mean = sum > (uint32_t)(half + 1) ? (sum - half - 1) / n : 0;
        int low = 0;
        for (mean = (uint16_t)mean >> 1; mean > 0; mean >>= 1)
            low++;
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
                uint32_t code = (folded[i] & mask) | 1u << low;

                if (i + 1 < n) { /* two at once, as most are short */
                    const int more = (int)(folded[i + 1] >> low) + 1 + low;
                    if (bits + more <= 32) {
                        put(&w, code << more | (folded[i + 1] & mask) | 1u << low, bits + more);
                        i++;
                        continue;
                    }
                }
                for (; bits > 32 && high >= 32; high -= 32, bits -= 32)
                    put(&w, 0, 32);
                if (bits > 32) {
                    put(&w, 0, (int)high);
                    bits -= (int)high;
                }
                put(&w, code, bits);
            }
        }
    }
    if (w.n > 0) { /* the last byte is filled with zeros */
        const int n_bytes = (w.n + 7) / 8;
        const uint32_t rest = (uint32_t)(w.bits << (32 - w.n));
        for (int i = 0; i < n_bytes; i++)
            *w.to++ = (uint8_t)(rest >> (24 - 8 * i));
    }
    return w.to - stream;
}

typedef struct {
    uint64_t bits; /* the next ones, at the high end; below the first `n` there are none, or some of those to come */
    int n;         /* how many are known */
    const uint8_t *from, *end;
} Reader;

static inline uint64_t next_bytes(const uint8_t *from) /* eight; one load and one swap, to a compiler */
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | from[i];
    return word;
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

/* Reads `n` numbers with `low` low bits each; 0 if the stream ends before. */
static int codes(Reader *r, int low, int n, uint32_t *values)
{
    uint64_t bits = r->bits; /* what `r` says is kept in variables of its own: this is where the time goes */
    int known = r->n;
    const uint8_t *from = r->from;

    for (int i = 0; i < n; i++) {
        if (r->end - from >= 8) {
            bits |= next_bytes(from) >> known;
            from += (63 - known) >> 3;
            known |= 56;
            const int zeros = __builtin_clzll(bits | 1);
            if (zeros <= MOST_ZEROS) {
                const uint64_t rest = bits << zeros << 1;
                values[i] = (uint32_t)(rest >> 1 >> (63 - low)) | (uint32_t)zeros << low;
                bits = rest << low;
                known -= zeros + 1 + low;
                continue;
            }
        }
        uint32_t zeros;
        r->bits = bits, r->n = known, r->from = from;
        if (!count(r, &zeros) || !get(r, low, &values[i]))
            return 0;
        values[i] |= zeros << low;
        bits = r->bits, known = r->n, from = r->from;
    }
    r->bits = bits, r->n = known, r->from = from;
    return 1;
}

/* Reads `n_pixels` pixels, at least one, in the byte order of this machine, from a stream of `size` bytes; returns 0, or
 * -1 if it ends before. */
int ledger_rice16_read(const uint8_t *stream, long long size, int16_t *pixels, long long n_pixels)
{
    Reader r = {0, 0, stream, stream + size};
    uint32_t last, mark, values[BLOCK];

    if (!get(&r, PIXEL_BITS, &last))
        return -1;
    for (long long start = 0; start < n_pixels; start += BLOCK) {
        const int n = n_pixels - start < BLOCK ? (int)(n_pixels - start) : BLOCK;

        if (!get(&r, MARK_BITS, &mark))
            return -1;
        const int low = (int)mark - 1;
        if (low == LARGEST) {
            for (int i = 0; i < n; i++)
                if (!get(&r, PIXEL_BITS, &values[i]))
                    return -1;
        } else if (low >= 0 && !codes(&r, low, n, values)) {
            return -1;
        }
        for (int i = 0; i < n; i++) {
            if (low >= 0)
                last += values[i] >> 1 ^ -(values[i] & 1);
            pixels[start + i] = (int16_t)(uint16_t)last;
        }
    }
    return 0;
}
