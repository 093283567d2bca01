/* nc_packed.h: inner products of weights of 4, 3 and 2 bits; nc_fixed.h stands before it.
 *
 * A row of n weights begins at a byte and takes NC_PACKED_BYTES(n, bits) of them, a string of bits from the lowest of
 * the first byte on: weight j is bits j * bits to j * bits + bits - 1 of it, in two's complement. What is left of the
 * last byte is 0.
 */
#ifndef NC_PACKED_H
#define NC_PACKED_H
#define NC_PACKED_VERSION 1

#define NC_PACKED_BYTES(n, bits) ((((n) * (int)(bits)) + 7) / 8)

/* The weight in the lowest bits of held. No negative number is shifted. */
static inline int8_t nc_unpack(unsigned held, unsigned bits)
{
    const unsigned sign = 1u << (bits - 1u);
    const unsigned shifted = (held & ((sign << 1) - 1u)) ^ sign; /* the weight + sign, not negative */
    return (int8_t)((int)shifted - (int)sign);
}

#ifdef NC_AVR
/* As nc_dot_s8, but for where a weight comes from: held has the bits that are read and not yet used, left says how many.
 * take makes held and left ready for another byte's bits, drop shifts held by a weight's. */
#define NC_AVR_DOT(bits, mask, sign, low, take, drop)                                  \
    int32_t sum = 0;                                                                   \
    uint16_t held = 0;                                                                 \
    int8_t a;                                                                          \
    uint8_t left = 0, extra;                                                           \
    int16_t b;                                                                         \
    __asm__ __volatile__("1: cpi %[left], " bits "\n"                                  \
            "brsh 2f\n"                                                                \
            take                                                                       \
            "2: mov %[a], %A[held]\n"                                                  \
            "andi %[a], " mask "\n"                                                    \
            "sbrc %[a], " sign "\n"                                                    \
            "ori %[a], " low "\n"                                                      \
            drop                                                                       \
            "subi %[left], " bits "\n"                                                 \
            "ld %A[b], X+\n"                                                           \
            "ld %B[b], X+\n"                                                           \
            "muls %[a], %B[b]\n"                                                       \
            "sbc %[extra], %[extra]\n"                                                 \
            "add %B[sum], r0\n"                                                        \
            "adc %C[sum], r1\n"                                                        \
            "adc %D[sum], %[extra]\n"                                                  \
            "mulsu %[a], %A[b]\n"                                                      \
            "sbc %[extra], %[extra]\n"                                                 \
            "add %A[sum], r0\n"                                                        \
            "adc %B[sum], r1\n"                                                        \
            "adc %C[sum], %[extra]\n"                                                  \
            "adc %D[sum], %[extra]\n"                                                  \
            "sbiw %[n], 1\n"                                                           \
            "brne 1b\n"                                                                \
            "clr r1"                                                                   \
            : [sum] "+r"(sum), [a] "=&a"(a), [b] "=&a"(b), [extra] "=&r"(extra), [held] "+r"(held), [left] "+d"(left), \
              [n] "+w"(n), [x] "+x"(x), [w] "+z"(w)                                    \
            :                                                                          \
            : "r0", "memory");                                                         \
    return sum

#define NC_AVR_BYTE NC_AVR_LOAD "%A[held], Z+\n" "ldi %[left], 8\n"

NC_AVR_CALL static int32_t nc_dot_s4(NC_CONST uint8_t *w, const int16_t *x, int n)
{
    NC_AVR_DOT("4", "15", "3", "240", NC_AVR_BYTE, "swap %A[held]\n");
}

/* A byte goes to 0, 1 or 2 bits that are left. */
NC_AVR_CALL static int32_t nc_dot_s3(NC_CONST uint8_t *w, const int16_t *x, int n)
{
    NC_AVR_DOT("3", "7", "2", "248",
        NC_AVR_LOAD "r0, Z+\n"
        "mov %[extra], %[left]\n"
        "rjmp 4f\n"
        "3: lsl r0\n"
        "rol %B[held]\n"
        "4: dec %[extra]\n"
        "brpl 3b\n"
        "or %A[held], r0\n"
        "subi %[left], -8\n",
        "lsr %B[held]\n" "ror %A[held]\n" "lsr %B[held]\n" "ror %A[held]\n" "lsr %B[held]\n" "ror %A[held]\n");
}

NC_AVR_CALL static int32_t nc_dot_s2(NC_CONST uint8_t *w, const int16_t *x, int n)
{
    NC_AVR_DOT("2", "3", "1", "252", NC_AVR_BYTE, "lsr %A[held]\n" "lsr %A[held]\n");
}
#else
/* One row, weight by weight. */
static inline int32_t nc_dot_packed(NC_CONST uint8_t *w, const int16_t *x, int n, unsigned bits)
{
    int32_t sum = 0;
    unsigned held = 0u, left = 0u; /* bits that are read and not yet used, and how many */
    int j;
    for (j = 0; j < n; j++) {
        if (left < bits) {
            held |= (unsigned)*w << left;
            left += 8u;
            w++;
        }
        sum += (int32_t)nc_unpack(held, bits) * x[j];
        held >>= bits;
        left -= bits;
    }
    return sum;
}

static inline int32_t nc_dot_s4(NC_CONST uint8_t *w, const int16_t *x, int n)
{
    return nc_dot_packed(w, x, n, 4u);
}

static inline int32_t nc_dot_s3(NC_CONST uint8_t *w, const int16_t *x, int n)
{
    return nc_dot_packed(w, x, n, 3u);
}

static inline int32_t nc_dot_s2(NC_CONST uint8_t *w, const int16_t *x, int n)
{
    return nc_dot_packed(w, x, n, 2u);
}
#endif

/* NC_ROWS rows. Where code may be long, whole bytes (of 3 bits: three of them, with 8 weights) are taken at once. */
#if NC_ROWS == 1 || defined(__OPTIMIZE_SIZE__)
static inline void nc_dots_s4(NC_CONST uint8_t *w, const int16_t *x, int n, int32_t *sums)
{
    int r;
    for (r = 0; r < NC_ROWS; r++) {
        sums[r] = nc_dot_s4(w + r * NC_PACKED_BYTES(n, 4), x, n);
    }
}

static inline void nc_dots_s3(NC_CONST uint8_t *w, const int16_t *x, int n, int32_t *sums)
{
    int r;
    for (r = 0; r < NC_ROWS; r++) {
        sums[r] = nc_dot_s3(w + r * NC_PACKED_BYTES(n, 3), x, n);
    }
}

static inline void nc_dots_s2(NC_CONST uint8_t *w, const int16_t *x, int n, int32_t *sums)
{
    int r;
    for (r = 0; r < NC_ROWS; r++) {
        sums[r] = nc_dot_s2(w + r * NC_PACKED_BYTES(n, 2), x, n);
    }
}
#else
#define NC_PACKED_TAKE(r, k, bits) \
    s[r] += (int32_t)nc_unpack((unsigned)(held >> ((k) * (bits))), bits) * x[j + (k)];
#define NC_PACKED_PUT(r) sums[r] = s[r];

static inline void nc_dots_s4(NC_CONST uint8_t *w, const int16_t *x, int n, int32_t *sums)
{
    const int row = NC_PACKED_BYTES(n, 4);
    int32_t s[NC_ROWS] = {0};
    int j;
    for (j = 0; j + 1 < n; j += 2) {
#define NC_PACKED_WHOLE(r) { \
        const unsigned held = w[(r) * row]; \
        NC_PACKED_TAKE(r, 0, 4u) NC_PACKED_TAKE(r, 1, 4u) }
        NC_FOR_ROWS(NC_PACKED_WHOLE)
#undef NC_PACKED_WHOLE
        w++;
    }
    if (j < n) {
#define NC_PACKED_REST(r) s[r] += (int32_t)nc_unpack(w[(r) * row], 4u) * x[j];
        NC_FOR_ROWS(NC_PACKED_REST)
#undef NC_PACKED_REST
    }
    NC_FOR_ROWS(NC_PACKED_PUT)
}

static inline void nc_dots_s3(NC_CONST uint8_t *w, const int16_t *x, int n, int32_t *sums)
{
    const int row = NC_PACKED_BYTES(n, 3);
    int32_t s[NC_ROWS] = {0};
    int j;
    for (j = 0; j + 7 < n; j += 8) {
#define NC_PACKED_WHOLE(r) { \
        NC_CONST uint8_t *const at = w + (r) * row; \
        const uint32_t held = (uint32_t)at[0] | ((uint32_t)at[1] << 8) | ((uint32_t)at[2] << 16); \
        NC_PACKED_TAKE(r, 0, 3u) NC_PACKED_TAKE(r, 1, 3u) NC_PACKED_TAKE(r, 2, 3u) NC_PACKED_TAKE(r, 3, 3u) \
        NC_PACKED_TAKE(r, 4, 3u) NC_PACKED_TAKE(r, 5, 3u) NC_PACKED_TAKE(r, 6, 3u) NC_PACKED_TAKE(r, 7, 3u) }
        NC_FOR_ROWS(NC_PACKED_WHOLE)
#undef NC_PACKED_WHOLE
        w += 3;
    }
    if (j < n) {
#define NC_PACKED_REST(r) s[r] += nc_dot_s3(w + (r) * row, x + j, n - j);
        NC_FOR_ROWS(NC_PACKED_REST)
#undef NC_PACKED_REST
    }
    NC_FOR_ROWS(NC_PACKED_PUT)
}

static inline void nc_dots_s2(NC_CONST uint8_t *w, const int16_t *x, int n, int32_t *sums)
{
    const int row = NC_PACKED_BYTES(n, 2);
    int32_t s[NC_ROWS] = {0};
    int j;
    for (j = 0; j + 3 < n; j += 4) {
#define NC_PACKED_WHOLE(r) { \
        const unsigned held = w[(r) * row]; \
        NC_PACKED_TAKE(r, 0, 2u) NC_PACKED_TAKE(r, 1, 2u) NC_PACKED_TAKE(r, 2, 2u) NC_PACKED_TAKE(r, 3, 2u) }
        NC_FOR_ROWS(NC_PACKED_WHOLE)
#undef NC_PACKED_WHOLE
        w++;
    }
    if (j < n) {
#define NC_PACKED_REST(r) s[r] += nc_dot_s2(w + (r) * row, x + j, n - j);
        NC_FOR_ROWS(NC_PACKED_REST)
#undef NC_PACKED_REST
    }
    NC_FOR_ROWS(NC_PACKED_PUT)
}
#undef NC_PACKED_TAKE
#undef NC_PACKED_PUT
#endif

#endif /* NC_PACKED_H */
