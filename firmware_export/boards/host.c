/* A board that is a process: it opens a pseudo-terminal, prints its path, and answers there.
 *     board [MOTORS]     MOTORS: a file that gets, for each write, an int64 of nanoseconds (CLOCK_MONOTONIC) and the outputs */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "board.h"

#define LONGEST_WAIT_US 100000u

static int terminal = -1, motors = -1;

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

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

/* As a UART does: what nobody takes in time is lost. */
static void board_bytes(const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t done = write(terminal, bytes, size);
        if (done < 0 && errno != EINTR) {
            return;
        }
        if (done > 0) {
            bytes += done;
            size -= (size_t)done;
        }
    }
}

/* Also hold the other end, raw: so that it stays when a client closes it. */
static const char *open_terminal(void)
{
    struct termios raw;
    int other;
    terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) != 0 || unlockpt(terminal) != 0) {
        return NULL;
    }
    other = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    if (other < 0 || tcgetattr(other, &raw) != 0) {
        return NULL;
    }
    cfmakeraw(&raw);
    if (tcsetattr(other, TCSANOW, &raw) != 0 || fcntl(terminal, F_SETFL, O_NONBLOCK) != 0) {
        return NULL;
    }
    return ptsname(terminal);
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
