/* From a script to records. On stdin, for each controller: how many steps, then their flags and inputs. On stdout: the
 * self-test's result, the state's bytes, then a record a step. On a PC that is a pipe; under QEMU, where NC_V_QEMU is
 * defined, two files that semihosting opens: no C library is needed. */
#include "run.h"

#ifdef NC_V_QEMU
static int32_t host_call(int32_t operation, const void *arguments)
{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int32_t files[2];
static int32_t blocks[2][4096];
static uint32_t at[2], held;

static void open_files(void)
{
    const int32_t script[3] = {(int32_t) "script.bin", 1, 10}, record[3] = {(int32_t) "record.bin", 5, 10};
    files[0] = host_call(1, script);
    files[1] = host_call(1, record);
}

static void flush(void)
{
    const int32_t write[3] = {files[1], (int32_t)blocks[1], (int32_t)at[1]};
    (void)host_call(5, write);
    at[1] = 0;
}

static int get(void *to, uint32_t size)
{
    uint8_t *bytes = to;
    for (; size > 0; size--) {
        if (at[0] == held) {
            const int32_t read[3] = {files[0], (int32_t)blocks[0], (int32_t)sizeof blocks[0]};
            held = (uint32_t)sizeof blocks[0] - (uint32_t)host_call(6, read);
            at[0] = 0;
            if (held == 0) {
                return 0;
            }
        }
        *bytes++ = ((const uint8_t *)blocks[0])[at[0]++];
    }
    return 1;
}

static void put(const void *from, uint32_t size)
{
    const uint8_t *bytes = from;
    for (; size > 0; size--) {
        if (at[1] == sizeof blocks[1]) {
            flush();
        }
        ((uint8_t *)blocks[1])[at[1]++] = *bytes++;
    }
}
#else
#include <stdio.h>

static int get(void *to, uint32_t size)
{
    return fread(to, size, 1, stdin) == 1;
}

static void put(const void *from, uint32_t size)
{
    (void)fwrite(from, size, 1, stdout);
}
#endif

static void run_all(void)
{
    static int16_t script[1 + NC_V_MOST_INPUTS];
    static int32_t record[NC_V_MOST_WORDS];
    int i;
    for (i = 0; i < NC_V_SUBJECTS; i++) {
        const nc_v_subject_t *subject = &nc_v_subjects[i];
        const int32_t head[2] = {subject->selftest(), subject->state_bytes};
        int32_t count = 0;
        if (!get(&count, sizeof count)) {
            return;
        }
        put(head, sizeof head);
        subject->start();
        for (; count > 0 && get(script, (uint32_t)(1 + subject->inputs) * 2u); count--) {
            subject->run(script, record, 1);
            put(record, (uint32_t)subject->words * 4u);
        }
    }
}

#ifdef NC_V_QEMU
void nc_v_main(void);
void nc_v_main(void)
{
    open_files();
    run_all();
    flush();
    (void)host_call(0x18, (const void *)0x20026);
    for (;;) {
    }
}

static void fault(void)
{
    (void)host_call(0x18, (const void *)0x20023);
    for (;;) {
    }
}

extern char nc_v_stack_top[];
extern void (*const nc_v_vectors[8])(void);
__attribute__((section(".vectors"), used)) void (*const nc_v_vectors[8])(void) = {
    (void (*)(void))nc_v_stack_top, nc_v_main, fault, fault, fault, fault, fault, fault};
#else
int main(void)
{
    run_all();
    return 0;
}
#endif
