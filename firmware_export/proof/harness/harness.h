/* What the parts of the harness share. The command line defines NC_V_HEADER, the exported header's file name, and
 * NC_V_NAME and NC_V_MACRO, its prefixes. */
#ifndef NC_V_HARNESS_H
#define NC_V_HARNESS_H

#include NC_V_HEADER

#define NC_V_JOIN_(a, b) a##_##b
#define NC_V_JOIN(a, b) NC_V_JOIN_(a, b)
#define FN(suffix) NC_V_JOIN(NC_V_NAME, suffix)
#define MACRO(suffix) NC_V_JOIN(NC_V_MACRO, suffix)

/* control.c: what the figures count. */
void nc_v_init(FN(state_t) *s);
void nc_v_step(FN(state_t) *s, const int16_t *in, int16_t *out);

/* selftest.c */
int32_t nc_v_selftest(void);

/* run.c: script holds, for each of count steps, a flag (1: reset before it) and the inputs; the others are written. */
uint32_t nc_v_state_bytes(void);
void nc_v_start(void);
void nc_v_run(const int16_t *script, int16_t *record, uint32_t count);

/* Numbers of 16 bits in a step's record: outputs, y low and high halves, s. */
#define NC_V_RECORD (MACRO(OUTPUTS) + 3 * MACRO(NEURONS))

#endif
