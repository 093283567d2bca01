/* raptor_link_example.c: raptor on a serial link, for any board. Write the functions that stand at the top.
 * Build it with nc_link.c. Export replaces this file only while it is unchanged; copy it before you edit it. */
#include "raptor_link.h"

/* Of the board: a byte that the UART received, or -1; bytes to the UART; a clock that runs on and wraps around. */
int board_get_byte(void);
void board_put_bytes(const uint8_t *bytes, size_t size);
uint32_t board_micros(void);

/* The sensors, as integers: physical value * 2^RAPTOR_IN_FRAC_BITS[i], saturated to int16. Return 1 where they fail. */
static int read_sensors(void *user, int16_t *in)
{
    int i;
    (void)user;
    for (i = 0; i < RAPTOR_INPUTS; i++) {
        in[i] = 0;
    }
    return 0;
}

/* The motors: physical value = out * 2^-RAPTOR_OUT_FRAC_BITS. */
static void drive_motors(void *user, const int16_t *out)
{
    (void)user;
    (void)out;
}

static void send_bytes(void *user, const uint8_t *bytes, size_t size)
{
    (void)user;
    board_put_bytes(bytes, size);
}

static uint32_t microseconds(void *user)
{
    (void)user;
    return board_micros();
}

static raptor_link_t self;

int main(void)
{
    static const nc_link_board_t board = {read_sensors, drive_motors, send_bytes, NULL, NULL, microseconds};
    raptor_link_init(&self, &board); /* the outputs are safe from here on */
    if (raptor_selftest() != 0) {
        return 1;
    }
    for (;;) {
        int byte = board_get_byte();
        while (byte >= 0) {
            nc_link_feed(&self.link, (uint8_t)byte);
            byte = board_get_byte();
        }
        nc_link_tick(&self.link, board_micros());
    }
}
