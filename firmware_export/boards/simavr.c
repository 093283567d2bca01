/* Runs an AVR's program on a simulated ATmega328P, in real time, with its UART on a pseudo-terminal, whose path it prints.
 *     board PROGRAM.elf
 * The simulator is simavr's library. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>

#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

#include "terminal.h"

#define CLOCK_HZ 16000000
#define SLICE_NS 250000
#define START_NS 10000000 /* until its UART listens */
#define LATEST_NS 50000000 /* further behind, the board's time stands still instead */

static int full; /* whether the UART takes no more bytes for now */

static int64_t board_ns(const avr_t *avr)
{
    return (int64_t)avr->cycle * 1000 / (CLOCK_HZ / 1000000);
}

static void sent(struct avr_irq_t *irq, uint32_t value, void *user)
{
    const uint8_t byte = (uint8_t)value;
    (void)irq;
    (void)user;
    terminal_bytes(&byte, 1);
}

static void takes(struct avr_irq_t *irq, uint32_t value, void *user)
{
    (void)irq;
    (void)value;
    (void)user;
    full = 0;
}

static void takes_no_more(struct avr_irq_t *irq, uint32_t value, void *user)
{
    (void)irq;
    (void)value;
    (void)user;
    full = 1;
}

/* Time is kept in main. */
static void no_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)avr;
    (void)cycles;
}

static avr_t *started(const char *program)
{
    elf_firmware_t firmware = {0};
    uint32_t flags = 0;
    avr_t *avr = avr_make_mcu_by_name("atmega328p");
    if (avr == NULL || elf_read_firmware(program, &firmware) != 0) {
        return NULL;
    }
    avr_init(avr);
    avr_load_firmware(avr, &firmware);
    avr->frequency = CLOCK_HZ;
    avr->sleep = no_sleep;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags); /* neither prints nor sleeps */
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), sent, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), takes, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), takes_no_more, NULL);
    return avr;
}

/* Hand over what has come, as long as the UART takes it. */
static void receive(avr_t *avr)
{
    avr_irq_t *input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    uint8_t byte;
    while (!full && read(terminal, &byte, 1) == 1) {
        avr_raise_irq(input, byte);
    }
}

static void run_until(avr_t *avr, int64_t until)
{
    while (board_ns(avr) < until) {
        const int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            fprintf(stderr, "board: the simulated core stopped\n");
            exit(1);
        }
    }
}

int main(int count, char **arguments)
{
    avr_t *avr = count > 1 ? started(arguments[1]) : NULL;
    const char *path = open_terminal();
    int64_t begun;
    if (avr == NULL || path == NULL) {
        fprintf(stderr, "board: %s\n", avr == NULL ? "no program that an ATmega328P runs" : "no pseudo-terminal");
        return 1;
    }
    run_until(avr, START_NS);
    printf("%s\n", path);
    fflush(stdout);
    begun = nanoseconds() - board_ns(avr);
    for (;;) {
        const int64_t ahead = board_ns(avr) - (nanoseconds() - begun);
        if (ahead > 0) {
            struct pollfd poll_ = {terminal, POLLIN, 0};
            const struct timespec wait = {0, (long)(ahead < SLICE_NS ? ahead : SLICE_NS)};
            (void)ppoll(&poll_, full ? 0u : 1u, &wait, NULL);
        } else if (ahead < -LATEST_NS) {
            begun -= ahead;
        } else {
            /* in time */
        }
        receive(avr);
        if (ahead > SLICE_NS) {
            continue;
        }
        run_until(avr, board_ns(avr) + SLICE_NS);
    }
}
