/* A board that is a process: it opens a pseudo-terminal, prints its path, and answers there.
 *     board [MOTORS]     MOTORS: a file that gets, for each write, an int64 of nanoseconds (CLOCK_MONOTONIC) and the outputs */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "board.h"
#include "terminal.h"

#define LONGEST_WAIT_US 100000u

static int motors = -1;

static uint32_t microseconds(void)
{
    return (uint32_t)((uint64_t)nanoseconds() / 1000u);
}

static void board_motors(const int16_t *out)
{
    uint8_t record[sizeof(int64_t) + BOARD_OUTPUTS * sizeof(int16_t)];
    const int64_t now = nanoseconds();
    if (motors < 0) {
        return;
    }
    memcpy(record, &now, sizeof now);
    memcpy(record + sizeof now, out, BOARD_OUTPUTS * sizeof(int16_t));
    if (write(motors, record, sizeof record) != (ssize_t)sizeof record) {
        exit(1);
    }
}

static void board_bytes(const uint8_t *bytes, size_t size)
{
    terminal_bytes(bytes, size);
}

/* A power cycle: all memory is as at the start, but the terminal and the file stay open, and it happens once. */
static void restart(char **arguments)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%d", terminal);
    (void)setenv("BOARD_TERMINAL", number, 1);
    (void)execv("/proc/self/exe", arguments);
    exit(1);
}

int main(int count, char **arguments)
{
    const char *inherited = getenv("BOARD_TERMINAL");
    uint8_t bytes[4096];
    if (count > 1) {
        motors = open(arguments[1], O_WRONLY | O_CREAT | O_APPEND, 0666);
    }
    if (inherited != NULL) {
        terminal = atoi(inherited);
    } else {
        const char *path = open_terminal();
        if (path == NULL) {
            perror("board: pseudo-terminal");
            return 1;
        }
        printf("%s\n", path);
        fflush(stdout);
    }
    board_start();
    for (;;) {
        struct pollfd poll_ = {terminal, POLLIN, 0};
        uint32_t wait;
        struct timespec timeout;
        ssize_t got, i;
        nc_link_tick(&self.link, microseconds());
        wait = nc_link_wait_us(&self.link, microseconds());
        wait = wait < LONGEST_WAIT_US ? wait : LONGEST_WAIT_US;
        timeout.tv_sec = 0;
        timeout.tv_nsec = (long)wait * 1000;
        (void)ppoll(&poll_, 1, &timeout, NULL);
        got = read(terminal, bytes, sizeof bytes);
        for (i = 0; i < got; i++) {
            nc_link_feed(&self.link, bytes[i]);
            if (board_resets() && inherited == NULL) {
                restart(arguments);
            }
        }
    }
}
