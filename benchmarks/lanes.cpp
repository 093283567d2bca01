// Recurrent networks, 16 at a time with weights of their own, in C++ with vector extensions and sizes fixed when it is
// compiled: what lanes on the CPU are measured against. Three inputs, shared by all lanes, and one output.
// Parameters [K][16] in the order of neuroctl's layouts; out [steps][16].
#include <cstring>

typedef float F __attribute__((vector_size(64)));
typedef int I __attribute__((vector_size(64)));

constexpr int M = 3;

static inline F load(const float *a, long k)
{
    F value;
    std::memcpy(&value, a + 16 * k, sizeof value);
    return value;
}

static inline F exp_(F x)
{
    x = x > 87.0f ? F{} + 87.0f : x;
    x = x < -87.0f ? F{} - 87.0f : x;
    I k = __builtin_convertvector(x * 1.442695040888963f + (x < 0.0f ? F{} - 0.5f : F{} + 0.5f), I);
    F kf = __builtin_convertvector(k, F);
    F r = x - kf * 0.693359375f;
    r = r + kf * 0.00021219444005469057f;
    F p = r * 1.3814e-3f + 8.3689e-3f;
    p = p * r + 4.1668e-2f;
    p = p * r + 1.6666e-1f;
    p = p * r + 4.9999e-1f;
    p = p * (r * r) + r + 1.0f;
    I bits = (k + 127) << 23;
    F scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

static inline F logistic(F x) { return 1.0f / (1.0f + exp_(-x)); }

static inline F tanh_(F x) { return 2.0f * logistic(2.0f * x) - 1.0f; }

template <int N> static void ctrnn(const float *theta, const float *u, float *out, long steps, float dt)
{
    const float *w = theta, *bias = w + 16 * N * N, *gain = bias + 16 * N, *tau = gain + 16 * N;
    const float *w_in = tau + 16 * N, *w_out = w_in + 16 * N * M, *b_out = w_out + 16 * N;
    F y[N] = {}, s[N], net[N], rate[N];

    for (int i = 0; i < N; i++) {
        rate[i] = dt / load(tau, i);
        s[i] = logistic(load(gain, i) * (y[i] + load(bias, i)));
    }
    for (long t = 0; t < steps; t++, u += M) {
        for (int i = 0; i < N; i++) {
            F sum = {};
            for (int k = 0; k < M; k++) {
                sum += load(w_in, i * M + k) * u[k];
            }
            for (int j = 0; j < N; j++) {
                sum += load(w, i * N + j) * s[j];
            }
            net[i] = sum;
        }
        F sum = load(b_out, 0);
        for (int i = 0; i < N; i++) {
            y[i] += rate[i] * (net[i] - y[i]);
            s[i] = logistic(load(gain, i) * (y[i] + load(bias, i)));
            sum += load(w_out, i) * s[i];
        }
        std::memcpy(out + 16 * t, &sum, sizeof sum);
    }
}

template <int N> static void elman(const float *theta, const float *u, float *out, long steps, float)
{
    const float *w_in = theta, *rec = w_in + 16 * N * M, *bias = rec + 16 * N * N;
    const float *w_out = bias + 16 * N, *b_out = w_out + 16 * N;
    F h[N] = {}, next[N];

    for (long t = 0; t < steps; t++, u += M) {
        for (int i = 0; i < N; i++) {
            F sum = load(bias, i);
            for (int k = 0; k < M; k++) {
                sum += load(w_in, i * M + k) * u[k];
            }
            for (int j = 0; j < N; j++) {
                sum += load(rec, i * N + j) * h[j];
            }
            next[i] = tanh_(sum);
        }
        F sum = load(b_out, 0);
        for (int i = 0; i < N; i++) {
            h[i] = next[i];
            sum += load(w_out, i) * h[i];
        }
        std::memcpy(out + 16 * t, &sum, sizeof sum);
    }
}

template <int N> static void indrnn(const float *theta, const float *u, float *out, long steps, float)
{
    const float *w_in = theta, *rec = w_in + 16 * N * M, *bias = rec + 16 * N;
    const float *w_out = bias + 16 * N, *b_out = w_out + 16 * N;
    F h[N] = {};

    for (long t = 0; t < steps; t++, u += M) {
        F total = load(b_out, 0);
        for (int i = 0; i < N; i++) {
            F sum = load(bias, i) + load(rec, i) * h[i];
            for (int k = 0; k < M; k++) {
                sum += load(w_in, i * M + k) * u[k];
            }
            h[i] = sum > 0.0f ? sum : F{};
            total += load(w_out, i) * h[i];
        }
        std::memcpy(out + 16 * t, &total, sizeof total);
    }
}

template <int N> static void jordan(const float *theta, const float *u, float *out, long steps, float)
{
    const float *w_in = theta, *rec = w_in + 16 * N * M, *bias = rec + 16 * N;
    const float *w_out = bias + 16 * N, *b_out = w_out + 16 * N;
    F context = {};  // without a memory of its own: context_decay 0

    for (long t = 0; t < steps; t++, u += M) {
        F total = load(b_out, 0);
        for (int i = 0; i < N; i++) {
            F sum = load(bias, i) + load(rec, i) * context;
            for (int k = 0; k < M; k++) {
                sum += load(w_in, i * M + k) * u[k];
            }
            total += load(w_out, i) * tanh_(sum);
        }
        context = total;
        std::memcpy(out + 16 * t, &total, sizeof total);
    }
}

#define FORM(name, n) \
    extern "C" void name##_##n(const float *theta, const float *u, float *out, long steps, float dt) \
    { \
        name<n>(theta, u, out, steps, dt); \
    }
#define FORMS(name) FORM(name, 4) FORM(name, 8) FORM(name, 16) FORM(name, 32)
FORMS(ctrnn)
FORMS(elman)
FORMS(indrnn)
FORMS(jordan)
