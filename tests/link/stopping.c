/* The board's link as a library whose functions are the caller's: see board.py. */
#include "ctl_link.h"

static ctl_link_t self;

void board_start(int (*read)(void *, int16_t *), void (*write)(void *, const int16_t *),
    void (*transmit)(void *, const uint8_t *, size_t), uint32_t (*microseconds)(void *));
void board_feed(const uint8_t *bytes, size_t size);
void board_tick(uint32_t now_us);
void board_stop(uint8_t reason);
uint32_t board_says(uint32_t *reason, uint32_t *ticks);
uint32_t board_wait_us(uint32_t now_us);

void board_start(int (*read)(void *, int16_t *), void (*write)(void *, const int16_t *),
    void (*transmit)(void *, const uint8_t *, size_t), uint32_t (*microseconds)(void *))
{
    nc_link_board_t board = {NULL, NULL, NULL, NULL, NULL, NULL};
    board.read = read;
    board.write = write;
    board.transmit = transmit;
    board.microseconds = microseconds;
    ctl_link_init(&self, &board);
}

void board_feed(const uint8_t *bytes, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++) {
        nc_link_feed(&self.link, bytes[i]);
    }
}

void board_tick(uint32_t now_us)
{
    nc_link_tick(&self.link, now_us);
}

void board_stop(uint8_t reason)
{
    nc_link_stop(&self.link, reason);
}

uint32_t board_says(uint32_t *reason, uint32_t *ticks)
{
    *reason = self.link.reason;
    *ticks = self.link.ticks;
    return self.link.mode;
}

uint32_t board_wait_us(uint32_t now_us)
{
    return nc_link_wait_us(&self.link, now_us);
}
