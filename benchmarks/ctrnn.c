/* The CTRNN of neuroctl/cells/ctrnn.py in plain C, as a good engineer would write it, for comparison: dt / tau and the
 * first activations are computed once, and the activations that the output is read from serve the next step.
 * theta: W[n][n] bias[n] gain[n] tau[n] W_in[n][m] W_out[q][n] b_out[q]; scratch: 3 n floats. */
#include <math.h>

static void activate(const float *restrict y, const float *restrict bias, const float *restrict gain, float *restrict s,
                     long n)
{
    for (long i = 0; i < n; i++) {
        s[i] = 1.0f / (1.0f + expf(-gain[i] * (y[i] + bias[i])));
    }
}

void ctrnn_rollout(const float *restrict theta, float *restrict y, float *restrict scratch, const float *restrict u,
                   float *restrict out, long steps, long n, long m, long q, float dt)
{
    const float *w = theta, *bias = w + n * n, *gain = bias + n, *tau = gain + n;
    const float *w_in = tau + n, *w_out = w_in + n * m, *b_out = w_out + q * n;
    float *restrict s = scratch, *restrict net = scratch + n, *restrict rate = scratch + 2 * n;

    for (long i = 0; i < n; i++) {
        rate[i] = dt / tau[i];
    }
    activate(y, bias, gain, s, n);
    for (long t = 0; t < steps; t++, u += m, out += q) {
        for (long i = 0; i < n; i++) {
            float sum = 0.0f;
            for (long j = 0; j < n; j++) {
                sum += w[i * n + j] * s[j];
            }
            for (long k = 0; k < m; k++) {
                sum += w_in[i * m + k] * u[k];
            }
            net[i] = sum;
        }
        for (long i = 0; i < n; i++) {
            y[i] += rate[i] * (net[i] - y[i]);
        }
        activate(y, bias, gain, s, n);
        for (long i = 0; i < q; i++) {
            float sum = b_out[i];
            for (long j = 0; j < n; j++) {
                sum += w_out[i * n + j] * s[j];
            }
            out[i] = sum;
        }
    }
}
