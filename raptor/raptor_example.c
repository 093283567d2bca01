/* raptor_example.c: how firmware uses raptor.h. On a PC: cc -std=c99 -O2 raptor_example.c -o raptor_example
 * Export replaces this file only while it is unchanged; copy it before you edit it. */
#include <stdio.h>

#include "raptor.h"

static raptor_state_t state;

/* Outputs before the self-test has passed, and for good where it fails: 0, or the limit next to it. */
static const raptor_out_t safe[RAPTOR_OUTPUTS] = { 0, 0, 0, 0 };

/* Replace these two by the board's sensors and actuators. */
static void read_sensors(raptor_in_t in[RAPTOR_INPUTS])
{
    int i;
    for (i = 0; i < RAPTOR_INPUTS; i++) {
        in[i] = raptor_in_clip(i, 0); /* physical value * 2^RAPTOR_IN_FRAC_BITS[i] */
    }
}

static void drive_actuators(const raptor_out_t out[RAPTOR_OUTPUTS])
{
    int i;
    for (i = 0; i < RAPTOR_OUTPUTS; i++) {
        printf("%d%c", out[i], i + 1 < RAPTOR_OUTPUTS ? ' ' : '\n'); /* physical value * 2^RAPTOR_OUT_FRAC_BITS */
    }
}

int main(void)
{
    raptor_in_t in[RAPTOR_INPUTS];
    raptor_out_t out[RAPTOR_OUTPUTS];
    int step, failed;
    drive_actuators(safe);
    failed = raptor_selftest();
    if (failed != 0) {
        printf("self-test failed at %d\n", failed);
        return 1;
    }
    raptor_init(&state);
    for (step = 0; step < 10; step++) { /* on the board: for ever, every RAPTOR_DT_US microseconds, from a timer */
        read_sensors(in);
        raptor_step(&state, in, out);
        drive_actuators(out);
    }
    return 0;
}
