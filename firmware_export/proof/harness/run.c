/* Step through a script and record every output and every word of the state. */
#include "harness.h"

static FN(state_t) state;

uint32_t nc_v_state_bytes(void)
{
    return sizeof state;
}

void nc_v_start(void)
{
    nc_v_init(&state);
}

void nc_v_run(const int16_t *script, int16_t *record, uint32_t count)
{
    int i;
    for (; count > 0; count--) {
        if (script[0] != 0) {
            FN(reset)(&state);
        }
        nc_v_step(&state, script + 1, record);
        for (i = 0; i < MACRO(NEURONS); i++) {
            const uint32_t y = (uint32_t)state.y[i];
            record[MACRO(OUTPUTS) + 2 * i] = (int16_t)(y & 0xFFFFu);
            record[MACRO(OUTPUTS) + 2 * i + 1] = (int16_t)(y >> 16);
            record[MACRO(OUTPUTS) + 2 * MACRO(NEURONS) + i] = state.s[i];
        }
        script += 1 + MACRO(INPUTS);
        record += NC_V_RECORD;
    }
}
