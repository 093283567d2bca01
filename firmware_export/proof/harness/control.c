/* Init and step, each behind a call, in an object of their own: what the figures count. */
#include "harness.h"

/* The command line says what the integer controller beside the header is. */
#if MACRO(INPUTS) != NC_V_INPUTS || MACRO(OUTPUTS) != NC_V_OUTPUTS || MACRO(NEURONS) != NC_V_NEURONS
#error "the header and the .npz beside it differ in their sizes"
#endif
#if MACRO(IN_FRAC_BITS) != NC_V_IN_FRAC_BITS || MACRO(OUT_FRAC_BITS) != NC_V_OUT_FRAC_BITS
#error "the header and the .npz beside it differ in their fractional bits"
#endif
#if MACRO(DT_US) != NC_V_DT_US || MACRO(MODEL_CRC32) != NC_V_MODEL_CRC32
#error "the header and the .npz beside it are of different controllers"
#endif

void nc_v_init(FN(state_t) *s)
{
    FN(init)(s);
}

void nc_v_step(FN(state_t) *s, const int16_t *in, int16_t *out)
{
    FN(step)(s, in, out);
}
