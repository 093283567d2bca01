/* The pseudo-terminal and the clock of a board that runs on this machine. */
#ifndef NC_TERMINAL_H
#define NC_TERMINAL_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static int terminal = -1;

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* As a UART does: what nobody takes in time is lost. */
static void terminal_bytes(const uint8_t *bytes, size_t size)
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

#endif
