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
#define NC_FIXED_VERSION 1

#include <stdint.h>

/* Qualifier of constant tables. Define it before the first include where flash is another address space:
 * avr-gcc: -std=gnu99 -DNC_CONST='const __flash'. */
#ifndef NC_CONST
#define NC_CONST const
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

/* 2^17 (logistic(x) - 1/2): x in [0, 4) by 1/32, then in [4, 12) by 1/16; 512 bytes, one copy a translation unit. */
static NC_CONST uint16_t nc_logistic_table[256] = {
    0, 1024, 2047, 3070, 4091, 5110, 6126, 7140, 8150, 9156, 10158, 11155, 12146, 13132, 14112, 15085,
    16051, 17010, 17961, 18904, 19839, 20765, 21681, 22588, 23486, 24373, 25251, 26117, 26973, 27818, 28652, 29475,
    30286, 31086, 31873, 32649, 33413, 34165, 34904, 35632, 36347, 37050, 37740, 38419, 39085, 39738, 40380, 41009,
    41626, 42231, 42824, 43404, 43973, 44530, 45076, 45610, 46132, 46643, 47143, 47631, 48109, 48576, 49032, 49477,
    49912, 50337, 50752, 51157, 51552, 51938, 52314, 52681, 53039, 53388, 53728, 54059, 54382, 54697, 55004, 55303,
    55594, 55877, 56153, 56421, 56683, 56937, 57185, 57426, 57661, 57889, 58111, 58327, 58537, 58741, 58939, 59132,
    59320, 59503, 59680, 59852, 60020, 60183, 60341, 60494, 60644, 60789, 60930, 61067, 61200, 61329, 61454, 61576,
    61694, 61809, 61921, 62029, 62134, 62236, 62335, 62431, 62524, 62615, 62703, 62788, 62871, 62952, 63030, 63105,
    63179, 63319, 63452, 63576, 63693, 63803, 63907, 64004, 64096, 64183, 64264, 64340, 64412, 64480, 64543, 64603,
    64659, 64712, 64761, 64808, 64852, 64893, 64932, 64968, 65003, 65035, 65065, 65094, 65120, 65145, 65169, 65191,
    65212, 65232, 65250, 65267, 65284, 65299, 65313, 65327, 65339, 65351, 65362, 65373, 65383, 65392, 65401, 65409,
    65417, 65424, 65431, 65437, 65443, 65449, 65454, 65459, 65464, 65468, 65472, 65476, 65480, 65483, 65486, 65489,
    65492, 65495, 65497, 65500, 65502, 65504, 65506, 65508, 65509, 65511, 65512, 65514, 65515, 65516, 65518, 65519,
    65520, 65521, 65522, 65523, 65523, 65524, 65525, 65526, 65526, 65527, 65527, 65528, 65528, 65529, 65529, 65530,
    65530, 65530, 65531, 65531, 65531, 65532, 65532, 65532, 65532, 65533, 65533, 65533, 65533, 65533, 65534, 65534,
    65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535
};

/* Logistic by table and linear interpolation; returns 0..32767, 15 fractional bits.
 * x: 21 - left fractional bits, any value; 0 <= left <= 17. Beyond +-11.94 the table's last entry holds. */
static inline int16_t nc_logistic(int32_t x, unsigned left)
{
    const uint32_t fold = UINT32_C(4) << 21;
    const uint32_t end = UINT32_C(191) << 17; /* folded, this is entry 255 */
    const uint32_t half_up = (UINT32_C(1) << 30) + 0x8000u; /* 1/2 with 31 fractional bits, and the rounding */
    uint32_t a = x < 0 ? 0u - (uint32_t)x : (uint32_t)x;
    NC_CONST uint16_t *entry;
    uint32_t rise, s;

    if (a <= fold >> left) {
        a <<= left;
    } else if (a < end >> left) { /* beyond 4 the entries lie 1/16 apart */
        a = ((a << left) >> 1) + (fold >> 1);
    } else {
        a = (UINT32_C(255) << 16) - 1u;
    }
    entry = &nc_logistic_table[a >> 16];
    rise = ((uint32_t)entry[0] << 14) + (uint32_t)(entry[1] - entry[0]) * ((a & 0xFFFFu) >> 2); /* below 2^30 */
    s = (x < 0 ? half_up - rise : half_up + rise) >> 16;
    return (int16_t)(s - (s >> 15)); /* 1.0, which Q15 cannot hold, becomes 32767 */
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
