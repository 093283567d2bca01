/* nc_fixed.h: the fixed-point helpers that every exported controller shares.
 *
 * Freestanding C99 and C++: needs <stdint.h> alone; no heap, no library call, no float, no 64-bit arithmetic, and
 * nothing undefined as long as each argument keeps the range its comment states. The exporter proves those ranges
 * for all inputs and all histories, and refuses a controller for which it cannot.
 *
 * One rounding rule everywhere: half up, (x + 2^(n-1)) >> n with an arithmetic shift.
 */
#ifndef NC_FIXED_H
#define NC_FIXED_H
#define NC_FIXED_VERSION 2

#include <stdint.h>

/* Qualifier of constant tables. On AVR flash is another address space, which avr-gcc knows in GNU C (-std=gnu99) alone:
 * compiled as C++ or strict C the tables take RAM. */
#ifndef NC_CONST
#ifdef __FLASH
#define NC_CONST const __flash
#else
#define NC_CONST const
#endif
#endif

/* C leaves the right shift of a negative number to the compiler. All known ones shift arithmetically; on one that
 * does not, this line fails to compile, and nc_asr below is the one place to change. */
typedef char nc_requires_an_arithmetic_right_shift[((-1 >> 1) == -1) ? 1 : -1];

/* x 2^-n, rounded down; 0 <= n <= 31. */
static inline int32_t nc_asr(int32_t x, unsigned n)
{
    return x >> n;
}

/* x 2^-n, rounded half up; 0 <= n <= 30, |x| < 2^30. */
static inline int32_t nc_round_shift(int32_t x, unsigned n)
{
    return nc_asr(x + (int32_t)((UINT32_C(1) << n) >> 1), n);
}

/* x clipped into [low, high]. */
static inline int32_t nc_clip(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : (x > high ? high : x);
}

/* a m 2^-16, rounded half up; |a| < 2^30. The low half's product needs the unsigned range: 65535^2 + 2^15 < 2^32. */
static inline int32_t nc_mul_q16_u16(int32_t a, uint16_t m)
{
    return nc_asr(a, 16) * (int32_t)m + (int32_t)((((uint32_t)a & 0xFFFFu) * m + 0x8000u) >> 16);
}

/* The same for a signed m: 65535 * 32767 + 2^15 < 2^31. */
static inline int32_t nc_mul_q16_s16(int32_t a, int16_t m)
{
    return nc_asr(a, 16) * m + nc_asr((int32_t)((uint32_t)a & 0xFFFFu) * m + 0x8000, 16);
}

/* One piece of the logistic: on [k/2, (k+1)/2] it is 1/2 + c0 + t (c1 + t (c2 + t c3)) with t from 0 to 1. */
typedef struct {
    uint16_t c0; /* 17 fractional bits */
    uint16_t c1; /* 18 */
    int16_t c2;  /* 21 */
    int16_t c3;  /* 21 */
} nc_piece_t;

/* Up to 11; 176 bytes, one copy a translation unit. */
static NC_CONST nc_piece_t nc_pieces[22] = {
    {0, 32776, -296, -5098}, {16051, 30823, -15916, -2921}, {30285, 25789, -24567, -306}, {41625, 19558, -25199, 1325},
    {49912, 13763, -21011, 1810}, {55593, 9186, -15491, 1629}, {59320, 5918, -10590, 1232}, {61694, 3727, -6911, 850},
    {63179, 2313, -4383, 557}, {64096, 1423, -2731, 353}, {64659, 871, -1684, 220}, {65003, 531, -1032, 136},
    {65212, 323, -630, 83}, {65339, 196, -383, 51}, {65417, 119, -233, 31}, {65464, 72, -142, 19},
    {65492, 44, -86, 11}, {65509, 27, -52, 7}, {65520, 16, -32, 4}, {65526, 10, -19, 3},
    {65530, 6, -12, 2}, {65532, 4, -7, 1}
};

/* logistic(|x|) - 1/2 with 31 fractional bits, below 2^30. x: 21 - left fractional bits, any value; 0 <= left <= 18.
 * Beyond 11 it stays at the last entry's end. */
static inline uint32_t nc_half(int32_t x, unsigned left)
{
    const uint32_t end = UINT32_C(22) << 20;
    uint32_t a = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
    NC_CONST nc_piece_t *piece;
    int32_t t, slope;

    a = a < end >> left ? a << left : end - 1u;
    piece = &nc_pieces[a >> 20];
    t = (int32_t)((a >> 5) & 0x7FFFu);
    slope = piece->c2 + nc_asr(piece->c3 * t, 15);
    slope = (int32_t)piece->c1 + nc_asr(slope * t, 18);
    return ((uint32_t)piece->c0 << 14) + ((uint32_t)(slope * t) >> 2);
}

/* Logistic; returns 0..32767, 15 fractional bits; see nc_half. */
static inline int16_t nc_logistic(int32_t x, unsigned left)
{
    const uint32_t half_up = (UINT32_C(1) << 30) + 0x8000u; /* 1/2 with 31 fractional bits, and the rounding */
    const uint32_t half = nc_half(x, left);
    const uint32_t s = (x < 0 ? half_up - half : half_up + half) >> 16;
    return (int16_t)(s - (s >> 15)); /* 1.0, which Q15 cannot hold, becomes 32767 */
}

/* tanh x = 2 logistic(2 x) - 1; returns -32767..32767, 15 fractional bits; left: up to 17, see nc_half. */
static inline int16_t nc_tanh(int32_t x, unsigned left)
{
    const uint32_t t = (nc_half(x, left + 1u) + 0x4000u) >> 15;
    const int32_t size = (int32_t)(t - (t >> 15));
    return (int16_t)(x < 0 ? -size : size);
}

/* x (1 - d) with d = m 2^-(16 + shift), rounded half up twice; |x| < 2^30, 0 <= shift <= 30. */
static inline int32_t nc_decayed(int32_t x, uint16_t m, unsigned shift)
{
    return x - nc_round_shift(nc_mul_q16_u16(x, m), shift);
}

/* Inner products: w points to rows of n >= 1 weights, x to n numbers. nc_dot_* takes one row; nc_dot2_* takes two that
 * follow each other and loads x once for both. Each partial sum is proven to stay below 2^30 in magnitude, so the
 * order of summation does not matter. The plain C path defines the result; NC_PORTABLE selects it everywhere. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && !defined(NC_PORTABLE)
#define NC_DOT_DSP
#elif defined(__GNUC__) && defined(__thumb__) && !defined(__thumb2__) && !defined(NC_PORTABLE)
#define NC_DOT_THUMB1
#endif

static inline int32_t nc_dot_s8(NC_CONST int8_t *w, const int16_t *x, int n)
{
    int32_t sum = 0;
    int j;
    for (j = 0; j < n; j++) {
        sum += (int32_t)w[j] * x[j];
    }
    return sum;
}

#ifdef NC_DOT_DSP
/* Two neighbours in one word. Not a call: a load, which Armv7E-M allows at any address. */
static inline int32_t nc_pair(NC_CONST int16_t *p)
{
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return pair;
}

static inline int32_t nc_dot_s16(NC_CONST int16_t *w, const int16_t *x, int n)
{
    int32_t sum = 0;
    int j;
    for (j = 0; j + 1 < n; j += 2) {
        sum = __builtin_arm_smlad(nc_pair(w + j), nc_pair(x + j), sum); /* two products and their sum */
    }
    return j < n ? sum + (int32_t)w[j] * x[j] : sum;
}

static inline void nc_dot2_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t sums[2])
{
    int32_t a = 0, b = 0;
    int j;
    for (j = 0; j + 1 < n; j += 2) {
        const int32_t xx = nc_pair(x + j);
        a = __builtin_arm_smlad(nc_pair(w + j), xx, a);
        b = __builtin_arm_smlad(nc_pair(w + n + j), xx, b);
    }
    if (j < n) {
        a += (int32_t)w[j] * x[j];
        b += (int32_t)w[n + j] * x[j];
    }
    sums[0] = a;
    sums[1] = b;
}
#else
static inline int32_t nc_dot_s16(NC_CONST int16_t *w, const int16_t *x, int n)
{
    int32_t sum = 0;
    int j;
    for (j = 0; j < n; j++) {
        sum += (int32_t)w[j] * x[j];
    }
    return sum;
}
#endif

#ifdef NC_DOT_THUMB1
/* Eight low registers are too few for what compilers make of the loops below: they spill in the innermost one. Here
 * j counts up to 0 and indexes from the rows' ends, and the sums live in r12 and lr, which every compiler can spare.
 * An even n takes two columns a round. */
#define NC_DOT2_COLUMN(load_x, load_w, step)                                           \
    load_x "\n"                                                                        \
    load_w " %[a], [%[w], %[j]]\n"                                                     \
    "muls %[a], %[b], %[a]\n"                                                          \
    "add r12, %[a]\n"                                                                  \
    load_w " %[a], [%[v], %[j]]\n"                                                     \
    "muls %[a], %[b], %[a]\n"                                                          \
    "add lr, %[a]\n"                                                                   \
    "adds %[j], #" step "\n"

#define NC_DOT2_THUMB1(columns)                                                        \
    __asm__(".syntax unified\n"                                                        \
            "movs %[a], #0\n"                                                          \
            "mov r12, %[a]\n"                                                          \
            "mov lr, %[a]\n"                                                           \
            "1: " columns                                                              \
            "bne 1b\n"                                                                 \
            "mov %[a], r12\n"                                                          \
            "mov %[b], lr"                                                             \
            : [a] "=&l"(sums[0]), [b] "=&l"(sums[1]), [j] "+l"(j)                      \
            : [x] "l"(x + n), [w] "l"(w + n), [v] "l"(w + 2 * n)                       \
            : "r12", "lr", "cc", "memory")

#define NC_DOT2_S16 NC_DOT2_COLUMN("ldrsh %[b], [%[x], %[j]]", "ldrsh", "2")
#define NC_DOT2_S8 NC_DOT2_COLUMN("lsls %[b], %[j], #1\nldrsh %[b], [%[x], %[b]]", "ldrsb", "1")

static inline void nc_dot2_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t sums[2])
{
    int32_t j = -2 * n;
    if (n % 2 == 0) {
        NC_DOT2_THUMB1(NC_DOT2_S16 NC_DOT2_S16);
    } else {
        NC_DOT2_THUMB1(NC_DOT2_S16);
    }
}

static inline void nc_dot2_s8(NC_CONST int8_t *w, const int16_t *x, int n, int32_t sums[2])
{
    int32_t j = -n;
    if (n % 2 == 0) {
        NC_DOT2_THUMB1(NC_DOT2_S8 NC_DOT2_S8);
    } else {
        NC_DOT2_THUMB1(NC_DOT2_S8);
    }
}
#else
#ifndef NC_DOT_DSP
static inline void nc_dot2_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t sums[2])
{
    int32_t a = 0, b = 0;
    int j;
    for (j = 0; j < n; j++) {
        a += (int32_t)w[j] * x[j];
        b += (int32_t)w[n + j] * x[j];
    }
    sums[0] = a;
    sums[1] = b;
}
#endif

static inline void nc_dot2_s8(NC_CONST int8_t *w, const int16_t *x, int n, int32_t sums[2])
{
    int32_t a = 0, b = 0;
    int j;
    for (j = 0; j < n; j++) {
        a += (int32_t)w[j] * x[j];
        b += (int32_t)w[n + j] * x[j];
    }
    sums[0] = a;
    sums[1] = b;
}
#endif

#endif /* NC_FIXED_H */
