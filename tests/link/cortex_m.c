/* What the document leaves to the board, for QEMU's mps2-an386: registers, vectors, start. The document's code follows
 * where it is included. */
#include <stddef.h>
#include <stdint.h>

typedef struct { volatile uint32_t DATA, STATE, CTRL, CLEAR, DIVIDER; } uart_t;
typedef struct { volatile uint32_t COUNT, PRESCALE; } counter_t;
#define UART ((uart_t *)0x40004000u)
#define UART_TX_FULL 1u
#define TIMER ((counter_t *)0x40028018u)
#define NVIC_ENABLE (*(volatile uint32_t *)0xE000E100u)

#include "document.h"

int main(void);
extern char nc_v_stack_top[];
void nc_v_main(void);

void nc_v_main(void)
{
    TIMER->PRESCALE = 24u; /* of 25 MHz */
    UART->DIVIDER = 217u;  /* 115,200 baud */
    UART->CTRL = 0xBu;     /* send, receive, interrupt when a byte came */
    NVIC_ENABLE = 1u;
    (void)main();
    for (;;) {
    }
}

static void received(void)
{
    UART->CLEAR = 2u; /* here reading the byte does not clear it */
    UART_IRQHandler();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[17] = {
    nc_v_stack_top, (const void *)nc_v_main, [16] = (const void *)received,
};
