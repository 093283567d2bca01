/* What the simulated boards share: sensors that anybody can compute, and faults that happen when they are told to.
 * board_model.h names the controller. A board has to write microseconds, board_motors and board_bytes. */
#ifndef NC_BOARD_H
#define NC_BOARD_H

#include "board_model.h"

/* Faults; 0: never. */
#ifndef BOARD_SENSOR_FAILS_AFTER
#define BOARD_SENSOR_FAILS_AFTER 0u /* reads */
#endif
#ifndef BOARD_RESETS_AFTER
#define BOARD_RESETS_AFTER 0u /* frames sent */
#endif
#ifndef BOARD_SILENT_AFTER
#define BOARD_SILENT_AFTER 0u /* frames sent */
#endif

static board_link_t self;
static uint32_t board_reads, board_sent;

static uint32_t microseconds(void);
static void board_motors(const int16_t *out);
static void board_bytes(const uint8_t *bytes, size_t size);

/* Input i when so many steps were done since the start: pattern in boards/__init__.py gives the same. */
static int16_t board_pattern(uint32_t steps, uint32_t i)
{
    uint32_t x = steps * 0x9E3779B1u + i * 0x85EBCA77u + 1u;
    x ^= x >> 15;
    x *= 0x2C1B3C6Du;
    x ^= x >> 12;
    return (int16_t)(uint16_t)(x & 0xFFFFu);
}

static int board_read(void *user, int16_t *in)
{
    uint32_t i;
    (void)user;
    board_reads++;
    if ((BOARD_SENSOR_FAILS_AFTER != 0u) && (board_reads > BOARD_SENSOR_FAILS_AFTER)) {
        return 1;
    }
    for (i = 0; i < BOARD_INPUTS; i++) {
        in[i] = board_pattern(self.link.ticks, i);
    }
    return 0;
}

static void board_write(void *user, const int16_t *out)
{
    (void)user;
    board_motors(out);
}

static void board_transmit(void *user, const uint8_t *bytes, size_t size)
{
    (void)user;
    board_sent++;
    if ((BOARD_SILENT_AFTER == 0u) || (board_sent <= BOARD_SILENT_AFTER)) {
        board_bytes(bytes, size);
    }
}

static uint32_t board_microseconds(void *user)
{
    (void)user;
    return microseconds();
}

/* Whether it is time to start anew; asked between two bytes. */
static int board_resets(void)
{
    return (BOARD_RESETS_AFTER != 0u) && (board_sent >= BOARD_RESETS_AFTER);
}

static void board_start(void)
{
    static const nc_link_board_t board = {board_read, board_write, board_transmit, NULL, NULL, board_microseconds};
    board_link_init(&self, &board);
}

#endif
