/* A board with an ATmega328P at 16 MHz, such as an Arduino Uno: USART0 at 115,200 baud is the link, timer 1 the clock.
 * An interrupt queues what comes while a step is at work. It sleeps until a byte or a millisecond comes. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

#include "board.h"

#define QUEUE 128u /* a power of two */
#define DIVIDER 16u /* 16 MHz / 8 / (16 + 1): 2 % above 115,200 baud */

static volatile uint8_t queue[QUEUE], put_at, got_at;
static volatile uint32_t overflows;

/* Memory that the start-up code leaves alone: whether the board has had its reset. */
static uint32_t was_reset __attribute__((section(".noinit")));
#define YES 0x52455345u

ISR(USART_RX_vect)
{
    const uint8_t byte = UDR0, next = (uint8_t)((put_at + 1u) % QUEUE);
    if (next != got_at) {
        queue[put_at] = byte;
        put_at = next;
    }
}

ISR(TIMER1_OVF_vect)
{
    overflows++;
}

EMPTY_INTERRUPT(TIMER0_COMPA_vect)

static uint32_t microseconds(void)
{
    const uint8_t interrupts = SREG;
    uint32_t high;
    uint16_t low;
    cli();
    high = overflows;
    low = TCNT1; /* half microseconds */
    if (((TIFR1 & (1u << TOV1)) != 0u) && (low < 0x8000u)) {
        high++;
    }
    SREG = interrupts;
    return (high << 15) + (low >> 1);
}

static void board_motors(const int16_t *out)
{
    (void)out;
}

static void board_bytes(const uint8_t *bytes, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++) {
        while ((UCSR0A & (1u << UDRE0)) == 0u) {
        }
        UDR0 = bytes[i];
    }
}

static void set_up(void)
{
    UBRR0 = DIVIDER;
    UCSR0A = 1u << U2X0;
    UCSR0C = (1u << UCSZ01) | (1u << UCSZ00); /* 8 bits, no parity, 1 stop bit */
    UCSR0B = (1u << RXCIE0) | (1u << RXEN0) | (1u << TXEN0);
    TCCR1A = 0;
    TCCR1B = 1u << CS11; /* 2 MHz */
    TIMSK1 = 1u << TOIE1;
    OCR0A = 249; /* 16 MHz / 64 / 250: a millisecond */
    TCCR0A = 1u << WGM01;
    TCCR0B = (1u << CS01) | (1u << CS00);
    TIMSK0 = 1u << OCIE0A;
    set_sleep_mode(SLEEP_MODE_IDLE);
    sei();
}

static void reset_once(void)
{
    if (was_reset != YES) {
        was_reset = YES;
        cli();
        __asm__ volatile("jmp 0");
    }
}

static void sleep_unless_bytes_came(void)
{
    cli();
    if (put_at == got_at) {
        sleep_enable();
        sei(); /* takes effect after the next instruction: no byte comes between */
        sleep_cpu();
        sleep_disable();
    }
    sei();
}

int main(void)
{
    set_up();
    board_start();
    for (;;) {
        while (put_at != got_at) {
            nc_link_feed(&self.link, queue[got_at]);
            got_at = (uint8_t)((got_at + 1u) % QUEUE);
            if (board_resets()) {
                reset_once();
            }
        }
        nc_link_tick(&self.link, microseconds());
        sleep_unless_bytes_came();
    }
}
