/* A board in QEMU's mps2-an386, a Cortex-M4: UART0 is the link, timer 0 the clock. It sleeps until a byte or a millisecond
 * comes: interrupts are enabled but masked, so that they end the sleep and are never taken. */
#include "board.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define TIMER0_CTRL REGISTER(0x40000000u)
#define TIMER0_VALUE REGISTER(0x40000004u)
#define TIMER0_RELOAD REGISTER(0x40000008u)
#define TIMER1_CTRL REGISTER(0x40001000u)
#define TIMER1_RELOAD REGISTER(0x40001008u)
#define TIMER1_CLEAR REGISTER(0x4000100Cu)
#define TIMER_ON 1u
#define TIMER_INTERRUPT 8u

#define UART_DATA REGISTER(0x40004000u)
#define UART_STATE REGISTER(0x40004004u)
#define UART_CTRL REGISTER(0x40004008u)
#define UART_CLEAR REGISTER(0x4000400Cu)
#define UART_DIVIDER REGISTER(0x40004010u)
#define UART_FULL 1u  /* the byte to send has not gone yet */
#define UART_TAKEN 2u /* a byte has come */
#define UART_ON 0xBu  /* send, receive, interrupt when a byte came */

#define NVIC_ENABLE REGISTER(0xE000E100u)
#define NVIC_CLEAR REGISTER(0xE000E280u)
#define UART0_RX_LINE 0
#define TIMER1_LINE 9
#define RESET REGISTER(0xE000ED0Cu)
#define RESET_NOW 0x05FA0004u

#define CLOCK_MHZ 25u

static uint32_t last_count, rest, clock_us;

/* Memory that no reset touches: whether the board has had its reset. */
#define WAS_RESET REGISTER(0x20000000u)
#define YES 0x52455345u

static uint32_t microseconds(void)
{
    const uint32_t count = TIMER0_VALUE; /* it counts down */
    rest += last_count - count;
    last_count = count;
    clock_us += rest / CLOCK_MHZ;
    rest %= CLOCK_MHZ;
    return clock_us;
}

static void board_motors(const int16_t *out)
{
    (void)out;
}

static void board_bytes(const uint8_t *bytes, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++) {
        while ((UART_STATE & UART_FULL) != 0u) {
        }
        UART_DATA = bytes[i];
    }
}

static void set_up(void)
{
    TIMER0_RELOAD = 0xFFFFFFFFu;
    TIMER0_CTRL = TIMER_ON;
    last_count = TIMER0_VALUE;
    TIMER1_RELOAD = 1000u * CLOCK_MHZ - 1u;
    TIMER1_CTRL = TIMER_ON | TIMER_INTERRUPT;
    UART_DIVIDER = 16u;
    UART_CTRL = UART_ON;
    NVIC_ENABLE = (1u << UART0_RX_LINE) | (1u << TIMER1_LINE);
}

void nc_v_main(void);
void nc_v_main(void)
{
    __asm__ volatile("cpsid i");
    set_up();
    board_start();
    for (;;) {
        while ((UART_STATE & UART_TAKEN) != 0u) {
            nc_link_feed(&self.link, (uint8_t)UART_DATA);
            if (board_resets() && WAS_RESET != YES) {
                WAS_RESET = YES;
                RESET = RESET_NOW;
            }
        }
        nc_link_tick(&self.link, microseconds());
        UART_CLEAR = 0xFu;
        TIMER1_CLEAR = 1u;
        NVIC_CLEAR = 0xFFFFFFFFu;
        if ((UART_STATE & UART_TAKEN) == 0u) {
            __asm__ volatile("wfi");
        }
    }
}

static void fault(void)
{
    for (;;) {
    }
}

extern char nc_v_stack_top[];
extern void (*const nc_v_vectors[8])(void);
__attribute__((section(".vectors"), used)) void (*const nc_v_vectors[8])(void) = {
    (void (*)(void))nc_v_stack_top, nc_v_main, fault, fault, fault, fault, fault, fault};
