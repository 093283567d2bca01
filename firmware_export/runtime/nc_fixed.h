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
#if defined(__FLASH) && !defined(__STRICT_ANSI__)
#define NC_FLASH
#define NC_CONST const __flash
#else
#define NC_CONST const
#endif
#endif

/* C leaves the right shift of a negative number to the compiler. All known ones shift arithmetically; on one that
 * does not, this line fails to compile, and nc_asr below is the one place to change. */
typedef char nc_requires_an_arithmetic_right_shift[((-1 >> 1) == -1) ? 1 : -1];

/* Which instructions there are. NC_PORTABLE selects the plain C path everywhere; it defines the results. SMLAD and SMMULR
 * came with Armv6 and its SIMD32, later than __ARM_FEATURE_DSP; GCC has builtins for them from version 10 on. */
#if defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && !defined(NC_PORTABLE)
#ifdef __has_builtin
#if __has_builtin(__builtin_arm_smlad) && __has_builtin(__builtin_arm_smlawb)
#define NC_DSP
#endif
#endif
#elif defined(__GNUC__) && defined(__thumb__) && !defined(__thumb2__) && !defined(NC_PORTABLE)
#define NC_THUMB1
#elif defined(__GNUC__) && defined(__AVR_HAVE_MUL__) && defined(__OPTIMIZE__) && !defined(NC_PORTABLE)
#define NC_AVR
#endif

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
#ifdef NC_DSP
    int32_t product; /* the upper word of (2 a) (m 2^15) + 2^31 */
    __asm__("smmulr %0, %1, %2" : "=r"(product) : "r"(a * 2), "r"((int32_t)((uint32_t)m << 15)));
    return product;
#else
    return nc_asr(a, 16) * (int32_t)m + (int32_t)((((uint32_t)a & 0xFFFFu) * m + 0x8000u) >> 16);
#endif
}

/* How far a state goes towards its goal in a step: m 2^-(16 + s), 32768 <= m <= 65535, 0 <= s <= 15. */
#ifdef NC_DSP
#define NC_RATE(m, s) ((uint32_t)(m) << (15 - (s)))
#else
#define NC_RATE(m, s) ((uint32_t)(m) | ((uint32_t)(s) << 16))
#endif

/* away times the rate, rounded half up once; |away| < 2^30; fast: whether any rate has s = 0. */
static inline int32_t nc_towards(int32_t away, uint32_t rate, int fast)
{
#ifdef NC_DSP
    int32_t product; /* the upper word of (2 away) rate + 2^31 */
    (void)fast;
    __asm__("smmulr %0, %1, %2" : "=r"(product) : "r"(away * 2), "r"(rate));
    return product;
#else
    const uint32_t m = rate & 0xFFFFu;
    const unsigned s = (unsigned)(rate >> 16);
    uint32_t low = ((uint32_t)away & 0xFFFFu) * m;
    if ((fast != 0) && (s == 0u)) {
        low += 0x8000u; /* else the shift rounds */
    }
    low >>= 16;
    return nc_round_shift(nc_asr(away, 16) * (int32_t)m + (int32_t)low, s);
#endif
}

/* The same for a signed m: 65535 * 32767 + 2^15 < 2^31. */
static inline int32_t nc_mul_q16_s16(int32_t a, int16_t m)
{
    const uint32_t low = (uint32_t)a & 0xFFFFu;
    return nc_asr(a, 16) * m + nc_asr((int32_t)low * m + 0x8000, 16);
}

/* One piece of the logistic: on [k/2, (k+1)/2] it is 1/2 + c0 + t (c1 + t (c2 + t c3)) with t from 0 to 1. */
typedef struct {
    uint16_t c0; /* 17 fractional bits */
    uint16_t c1; /* 18, as have the others */
    int16_t c2;
    int16_t c3;
} nc_piece_t;

/* Up to 11; 176 bytes, one copy a translation unit. */
static NC_CONST nc_piece_t nc_pieces[22] = {
    {0, 32775, -37, -635}, {16051, 30821, -1987, -365}, {30285, 25789, -3072, -36}, {41625, 19557, -3151, 169},
    {49912, 13765, -2629, 227}, {55593, 9184, -1933, 204}, {59320, 5918, -1322, 153}, {61694, 3729, -865, 106},
    {63179, 2311, -547, 71}, {64096, 1421, -341, 47}, {64659, 872, -213, 29}, {65003, 529, -130, 20},
    {65212, 321, -77, 12}, {65339, 198, -49, 7}, {65417, 119, -31, 6}, {65464, 70, -16, 3},
    {65492, 44, -10, 2}, {65509, 29, -10, 4}, {65520, 14, -2, 2}, {65526, 12, -5, 2},
    {65530, 5, 0, 0}, {65532, 4, 0, 0}
};

/* c + (m t 2^-16), rounded down: a step of Horner's scheme. */
static inline int32_t nc_horner(int32_t c, int32_t m, uint16_t t)
{
#ifdef NC_DSP
    return __builtin_arm_smlawb((int32_t)t, m, c);
#else
    return c + nc_asr((int32_t)(int16_t)m * (int32_t)t, 16);
#endif
}

/* -1 for negative x, else 0. */
static inline uint32_t nc_sign(int32_t x)
{
    return (uint32_t)nc_asr(x, 31);
}

/* logistic(|x|) - 1/2 with 31 fractional bits, below 2^30. x: 17 - left fractional bits, any value; 0 <= left <= 17.
 * Beyond 11 it stays at the last piece's end. */
static inline uint32_t nc_half(int32_t x, unsigned left)
{
    const uint32_t end = UINT32_C(22) << 16;
    uint32_t a = ((uint32_t)x ^ nc_sign(x)) - nc_sign(x);
    NC_CONST nc_piece_t *piece;
    uint16_t t;
    int32_t slope;

    a = a < end >> left ? a << left : end - 1u;
    piece = &nc_pieces[a >> 16];
    t = (uint16_t)(a & 0xFFFFu);
    slope = nc_horner(piece->c1, nc_horner(piece->c2, piece->c3, t), t);
    return ((uint32_t)piece->c0 << 14) + ((uint32_t)slope * t >> 3);
}

/* Logistic; returns 1..32767, 15 fractional bits; see nc_half. */
static inline int16_t nc_logistic(int32_t x, unsigned left)
{
    const uint32_t half_up = (UINT32_C(1) << 30) + 0x8000u; /* 1/2 with 31 fractional bits, and the rounding */
    return (int16_t)((half_up + ((nc_half(x, left) ^ nc_sign(x)) - nc_sign(x))) >> 16);
}

/* tanh x = 2 logistic(2 x) - 1; returns -32767..32767, 15 fractional bits; left: up to 16, see nc_half. */
static inline int16_t nc_tanh(int32_t x, unsigned left)
{
    const uint32_t size = (nc_half(x, left + 1u) + 0x4000u) >> 15;
    const uint32_t t = (size ^ nc_sign(x)) - nc_sign(x);
    return (int16_t)(int32_t)t;
}

/* Inner products: w points to rows of n >= 1 weights that follow each other, x to n numbers. nc_dot_* takes one row,
 * nc_dots_* NC_ROWS rows, and loads x once for all of them. Each partial sum is proven to stay below 2^30 in magnitude,
 * so the order of summation does not matter. NC_FOR_ROWS(f) is f(0) f(1) ... */
#if defined(NC_DSP) && !defined(__OPTIMIZE_SIZE__)
#define NC_ROWS 4
#define NC_FOR_ROWS(f) f(0) f(1) f(2) f(3)
#elif defined(NC_AVR)
#define NC_ROWS 1
#define NC_FOR_ROWS(f) f(0)
#else
#define NC_ROWS 2
#define NC_FOR_ROWS(f) f(0) f(1)
#endif

#ifdef NC_AVR
/* Products of 8 bits, summed up in 32: compilers call a function for each. The carry after a signed product is its
 * sign. Weights come from flash by lpm where the tables are there. Volatile, as compilers move what they take for a
 * function of its registers out of loops, whatever memory it reads. Never inlined: two pointers, a counter and a sum
 * take most of the registers, and in the middle of a large function compilers find no room for them. */
#define NC_AVR_CALL __attribute__((noinline, unused))
#ifdef NC_FLASH
#define NC_AVR_LOAD "lpm "
#else
#define NC_AVR_LOAD "ld "
#endif

NC_AVR_CALL static int32_t nc_dot_s8(NC_CONST int8_t *w, const int16_t *x, int n)
{
    int32_t sum = 0;
    int8_t a;
    int16_t b;
    uint8_t sign;
    __asm__ __volatile__("1: " NC_AVR_LOAD "%[a], Z+\n"
            "ld %A[b], X+\n"
            "ld %B[b], X+\n"
            "muls %[a], %B[b]\n"
            "sbc %[sign], %[sign]\n"
            "add %B[sum], r0\n"
            "adc %C[sum], r1\n"
            "adc %D[sum], %[sign]\n"
            "mulsu %[a], %A[b]\n"
            "sbc %[sign], %[sign]\n"
            "add %A[sum], r0\n"
            "adc %B[sum], r1\n"
            "adc %C[sum], %[sign]\n"
            "adc %D[sum], %[sign]\n"
            "sbiw %[n], 1\n"
            "brne 1b\n"
            "clr r1"
            : [sum] "+r"(sum), [a] "=&a"(a), [b] "=&a"(b), [sign] "=&r"(sign), [n] "+w"(n), [x] "+x"(x), [w] "+z"(w)
            :
            : "r0", "memory");
    return sum;
}

NC_AVR_CALL static int32_t nc_dot_s16(NC_CONST int16_t *w, const int16_t *x, int n)
{
    int32_t sum = 0;
    int16_t a, b;
    uint8_t sign;
    __asm__ __volatile__("1: " NC_AVR_LOAD "%A[a], Z+\n"
            NC_AVR_LOAD "%B[a], Z+\n"
            "ld %A[b], X+\n"
            "ld %B[b], X+\n"
            "muls %B[a], %B[b]\n"
            "add %C[sum], r0\n"
            "adc %D[sum], r1\n"
            "mulsu %B[a], %A[b]\n"
            "sbc %[sign], %[sign]\n"
            "add %B[sum], r0\n"
            "adc %C[sum], r1\n"
            "adc %D[sum], %[sign]\n"
            "mulsu %B[b], %A[a]\n"
            "sbc %[sign], %[sign]\n"
            "add %B[sum], r0\n"
            "adc %C[sum], r1\n"
            "adc %D[sum], %[sign]\n"
            "mul %A[a], %A[b]\n"
            "clr %[sign]\n"
            "add %A[sum], r0\n"
            "adc %B[sum], r1\n"
            "adc %C[sum], %[sign]\n"
            "adc %D[sum], %[sign]\n"
            "sbiw %[n], 1\n"
            "brne 1b\n"
            "clr r1"
            : [sum] "+r"(sum), [a] "=&a"(a), [b] "=&a"(b), [sign] "=&r"(sign), [n] "+w"(n), [x] "+x"(x), [w] "+z"(w)
            :
            : "r0", "memory");
    return sum;
}
#else
static inline int32_t nc_dot_s8(NC_CONST int8_t *w, const int16_t *x, int n)
{
    int32_t sum = 0;
    int j;
    for (j = 0; j < n; j++) {
        sum += (int32_t)w[j] * x[j];
    }
    return sum;
}

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

#if NC_ROWS == 4
/* Two neighbours in one word. Not a call: a load, which Armv7E-M allows at any address. */
static inline int32_t nc_pair(NC_CONST int16_t *p)
{
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return pair;
}

static inline void nc_dots_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t *sums)
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    int j;
    for (j = 0; j + 3 < n; j += 4) { /* two products and their sum an instruction */
        const int32_t x0 = nc_pair(x + j), x2 = nc_pair(x + j + 2);
        a = __builtin_arm_smlad(nc_pair(w + j), x0, a);
        b = __builtin_arm_smlad(nc_pair(w + n + j), x0, b);
        c = __builtin_arm_smlad(nc_pair(w + 2 * n + j), x0, c);
        d = __builtin_arm_smlad(nc_pair(w + 3 * n + j), x0, d);
        a = __builtin_arm_smlad(nc_pair(w + j + 2), x2, a);
        b = __builtin_arm_smlad(nc_pair(w + n + j + 2), x2, b);
        c = __builtin_arm_smlad(nc_pair(w + 2 * n + j + 2), x2, c);
        d = __builtin_arm_smlad(nc_pair(w + 3 * n + j + 2), x2, d);
    }
    for (j = n & ~3; j < n; j++) {
        a += (int32_t)w[j] * x[j];
        b += (int32_t)w[n + j] * x[j];
        c += (int32_t)w[2 * n + j] * x[j];
        d += (int32_t)w[3 * n + j] * x[j];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

static inline void nc_dots_s8(NC_CONST int8_t *w, const int16_t *x, int n, int32_t *sums)
{
    int32_t a = 0, b = 0, c = 0, d = 0;
    int j;
    for (j = 0; j < n; j++) {
        a += (int32_t)w[j] * x[j];
        b += (int32_t)w[n + j] * x[j];
        c += (int32_t)w[2 * n + j] * x[j];
        d += (int32_t)w[3 * n + j] * x[j];
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
#elif NC_ROWS == 1
static inline void nc_dots_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t *sums)
{
    sums[0] = nc_dot_s16(w, x, n);
}

static inline void nc_dots_s8(NC_CONST int8_t *w, const int16_t *x, int n, int32_t *sums)
{
    sums[0] = nc_dot_s8(w, x, n);
}
#elif defined(NC_THUMB1)
/* Eight low registers are too few for what compilers make of the loops below: they spill in the innermost one. Here
 * j counts up to 0 and indexes from the rows' ends, and the sums live in r12 and lr, which every compiler can spare.
 * An even n takes two columns a round. */
#define NC_DOTS_COLUMN(load_x, load_w, step)                                           \
    load_x "\n"                                                                        \
    load_w " %[a], [%[w], %[j]]\n"                                                     \
    "muls %[a], %[b], %[a]\n"                                                          \
    "add r12, %[a]\n"                                                                  \
    load_w " %[a], [%[v], %[j]]\n"                                                     \
    "muls %[a], %[b], %[a]\n"                                                          \
    "add lr, %[a]\n"                                                                   \
    "adds %[j], #" step "\n"

#define NC_DOTS_THUMB1(columns)                                                        \
    __asm__ __volatile__(".syntax unified\n"                                                        \
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

#define NC_DOTS_S16 NC_DOTS_COLUMN("ldrsh %[b], [%[x], %[j]]", "ldrsh", "2")
#define NC_DOTS_S8 NC_DOTS_COLUMN("lsls %[b], %[j], #1\nldrsh %[b], [%[x], %[b]]", "ldrsb", "1")

static inline void nc_dots_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t *sums)
{
    int32_t j = -2 * n;
#ifndef __OPTIMIZE_SIZE__
    if (n % 2 == 0) {
        NC_DOTS_THUMB1(NC_DOTS_S16 NC_DOTS_S16);
        return;
    }
#endif
    NC_DOTS_THUMB1(NC_DOTS_S16);
}

static inline void nc_dots_s8(NC_CONST int8_t *w, const int16_t *x, int n, int32_t *sums)
{
    int32_t j = -n;
#ifndef __OPTIMIZE_SIZE__
    if (n % 2 == 0) {
        NC_DOTS_THUMB1(NC_DOTS_S8 NC_DOTS_S8);
        return;
    }
#endif
    NC_DOTS_THUMB1(NC_DOTS_S8);
}
#else
static inline void nc_dots_s16(NC_CONST int16_t *w, const int16_t *x, int n, int32_t *sums)
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

static inline void nc_dots_s8(NC_CONST int8_t *w, const int16_t *x, int n, int32_t *sums)
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
