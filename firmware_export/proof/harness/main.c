/* On a PC: the script on stdin; the self-test's result, the state's bytes and the records on stdout. */
#include <stdio.h>

#include "harness.h"

int main(void)
{
    static int16_t script[1 + MACRO(INPUTS)], record[NC_V_RECORD];
    const int32_t head[2] = {nc_v_selftest(), (int32_t)nc_v_state_bytes()};
    if (fwrite(head, sizeof head, 1, stdout) != 1) {
        return 1;
    }
    nc_v_start();
    while (fread(script, sizeof script, 1, stdin) == 1) {
        nc_v_run(script, record, 1);
        if (fwrite(record, sizeof record, 1, stdout) != 1) {
            return 1;
        }
    }
    return 0;
}
