/* The exported self-test, with its own copy of code and tables. */
#include "harness.h"

int32_t nc_v_selftest(void)
{
    return FN(selftest)();
}
