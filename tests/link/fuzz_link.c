/* The board's link under frames that were damaged on purpose.
 *
 * With FUZZ_MAIN: fuzz_link COUNT SEED makes COUNT valid frames, damages each, and feeds it. It counts frames that were
 * accepted though they differ from what was sent, losses that cost more than one frame more, and banks of parameters
 * that are neither the ones before nor a whole new set. Without it: libFuzzer's entry. model.h names the controller. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define MOST 4096

static model_link_t self;
static uint32_t now_us;
static uint32_t answers;
static uint32_t live_crc32;
static const void *live_bank;
static uint8_t *rx, *answer, *report;

/* --- The other end: codec of its own, bit by bit --- */

static uint16_t slow_crc16(uint16_t crc, const uint8_t *bytes, size_t size)
{
    size_t i;
    int bit;
    for (i = 0; i < size; i++) {
        crc = (uint16_t)(crc ^ (bytes[i] << 8));
        for (bit = 0; bit < 8; bit++) {
            crc = (uint16_t)((crc & 0x8000) ? (crc << 1) ^ 0x1021 : crc << 1);
        }
    }
    return crc;
}

static uint32_t slow_crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
    size_t i;
    int bit;
    crc = ~crc;
    for (i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? (crc >> 1) ^ 0xEDB88320u : crc >> 1;
        }
    }
    return ~crc;
}

static size_t cobs(const uint8_t *from, size_t size, uint8_t *to)
{
    size_t at = 1, code = 0, i;
    for (i = 0; i < size; i++) {
        if (from[i] != 0) {
            to[at++] = from[i];
        }
        if (from[i] == 0 || at - code == 255) {
            to[code] = (uint8_t)(at - code);
            code = at++;
        }
    }
    to[code] = (uint8_t)(at - code);
    return at;
}

/* Frame without COBS: returns its size with the CRC. */
static size_t frame(uint8_t *to, uint8_t type, uint8_t seq, uint8_t flags, const uint8_t *payload, size_t size)
{
    const uint32_t model = self.link.model_crc32;
    const uint16_t seed = type == 1 ? 0xFFFF : (uint16_t)(model ^ (model >> 16));
    uint16_t crc;
    to[0] = 1;
    to[1] = type;
    to[2] = seq;
    to[3] = flags;
    memcpy(to + 4, payload, size);
    crc = slow_crc16(seed, to, size + 4);
    to[size + 4] = (uint8_t)crc;
    to[size + 5] = (uint8_t)(crc >> 8);
    return size + 6;
}

/* --- The board --- */

static int read_sensors(void *user, int16_t *in)
{
    static uint32_t x = 1;
    int i;
    (void)user;
    for (i = 0; i < MODEL_INPUTS; i++) {
        x = x * 1664525u + 1013904223u;
        in[i] = (int16_t)(x >> 16);
    }
    return (x >> 8) % 997 == 0;
}

static void write_motors(void *user, const int16_t *out)
{
    volatile int16_t sum = 0; /* so that each is read */
    int i;
    (void)user;
    for (i = 0; i < MODEL_OUTPUTS; i++) {
        sum = (int16_t)(sum ^ out[i]);
    }
}

static void transmit(void *user, const uint8_t *bytes, size_t size)
{
    (void)user;
    if (size > MOST || bytes[size - 1] != 0) {
        abort();
    }
    answers++;
}

static uint32_t microseconds(void *user)
{
    (void)user;
    return now_us;
}

static uint32_t crc32_of_live(void)
{
    return slow_crc32(0, (const uint8_t *)model_live, sizeof *model_live);
}

static uint8_t *own(uint8_t *before, size_t size)
{
    uint8_t *room = before != NULL ? before : malloc(size);
    if (room == NULL) {
        abort();
    }
    return room;
}

static void start_board(void)
{
    static const nc_link_board_t board = {read_sensors, write_motors, transmit, NULL, NULL, microseconds};
    model_link_init(&self, &board);
    /* Each buffer by itself, so that a byte behind it is noticed: inside of a struct it is not. */
    rx = own(rx, sizeof self.rx);
    self.link.room.rx = rx;
    self.link.answer.bytes = answer = own(answer, sizeof self.answer);
    self.link.report.bytes = report = own(report, sizeof self.report);
    live_bank = model_live;
    live_crc32 = crc32_of_live();
}

/* What steps read is what it was, or a whole set whose CRC-32 was announced. Padding makes the one differ from the other,
 * so the link's own count of bytes is only checked where the bank is another. */
static void check_parameters(void)
{
    if ((const void *)model_live != live_bank) {
        uint32_t crc = 0;
        const nc_link_model_t *model = self.link.model;
        uint16_t i;
        for (i = 0; i < model->param_fields; i++) { /* a little-endian machine */
            const nc_link_field_t *field = &model->params[i];
            crc = slow_crc32(crc, (const uint8_t *)model_live + field->offset, field->words * field->bytes);
        }
        if (crc != self.link.param_crc32 || self.link.param_next != model->param_bytes || self.link.mode != NC_LINK_IDLE) {
            fprintf(stderr, "parameters: half of a set\n");
            abort();
        }
        live_bank = model_live;
        live_crc32 = crc32_of_live();
    } else if (crc32_of_live() != live_crc32) {
        fprintf(stderr, "parameters: changed in use\n");
        abort();
    }
}

static void feed(const uint8_t *bytes, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++) {
        nc_link_feed(&self.link, bytes[i]);
    }
    now_us += 1000;
    nc_link_tick(&self.link, now_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t raw[MOST], wire[MOST + MOST / 254 + 4];
    size_t at = 1;
    if (size < 1) {
        return 0;
    }
    start_board();
    if (data[0] & 1) { /* as it comes */
        feed(data + 1, size - 1);
    } else { /* type, flags, size, payload: framed, with the right CRC, so that what acts on frames is reached */
        uint8_t seq = 0;
        while (at + 3 <= size) {
            size_t count = data[at + 2], done;
            const uint8_t type = data[at], flags = data[at + 1];
            at += 3;
            count = count < size - at ? count : size - at;
            done = cobs(raw, frame(raw, type, ++seq, flags, data + at, count), wire);
            wire[done++] = 0;
            feed(wire, done);
            at += count;
        }
    }
    check_parameters();
    return 0;
}

#ifdef FUZZ_MAIN
static uint64_t state;

static uint32_t below(uint32_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % limit;
}

/* A valid request; returns the size of its frame without COBS. */
static size_t request(uint8_t *to, uint8_t seq)
{
    static const uint8_t types[] = {1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 8, 8, 9, 9};
    const uint8_t type = types[below(sizeof types)];
    uint8_t payload[MOST], flags = 0;
    size_t size = 0, i;
    for (i = 0; i < sizeof payload; i++) {
        payload[i] = (uint8_t)(below(3) ? below(256) : 0);
    }
    switch (type) {
    case 2:
        size = 2 * MODEL_INPUTS;
        flags = (uint8_t)below(4);
        break;
    case 3:
        size = below(2) ? self.link.model->state_bytes : 0;
        break;
    case 4:
        payload[0] = (uint8_t)below(3);
        size = payload[0] == 0 ? 17 : payload[0] == 1 ? 6 + below(NC_LINK_MOST_DATA) : 1;
        if (payload[0] == 0) { /* one that is taken */
            memcpy(payload + 1, &self.link.model->param_bytes, 4);
            memcpy(payload + 13, &self.link.model->shape_crc32, 4);
        } else if (payload[0] == 1 && below(2)) {
            memcpy(payload + 1, &self.link.param_next, 4);
        }
        break;
    case 5:
        size = below(NC_LINK_MOST_ECHO + 1);
        break;
    case 8:
        size = 2 * MODEL_OUTPUTS;
        break;
    case 9:
        size = 8;
        payload[0] = (uint8_t)(1 + below(3));
        payload[1] = (uint8_t)below(2);
        payload[7] &= 0x7F;
        break;
    default:
        break;
    }
    return frame(to, type, seq, flags, payload, size);
}

/* Damage bytes of a wire; returns the new size. */
static size_t damaged(uint8_t *wire, size_t size)
{
    uint32_t times = 1 + (below(4) == 0 ? below(8) : 0);
    for (; times > 0 && size > 0; times--) {
        const size_t at = below((uint32_t)size), length = 1 + below(below(16) ? 8 : 400);
        const size_t part = at + length <= size ? length : size - at;
        size_t i;
        switch (below(7)) {
        case 0: /* a bit */
            wire[at] = (uint8_t)(wire[at] ^ (1u << below(8)));
            break;
        case 1: /* a byte */
            wire[at] = (uint8_t)below(256);
            break;
        case 2: /* a burst */
            for (i = 0; i < part; i++) {
                wire[at + i] = (uint8_t)below(256);
            }
            break;
        case 3: /* bytes are lost */
            memmove(wire + at, wire + at + part, size - at - part);
            size -= part;
            break;
        case 4: /* bytes are added */
            memmove(wire + at + length, wire + at, size - at);
            for (i = 0; i < length; i++) {
                wire[at + i] = (uint8_t)below(256);
            }
            size += length;
            break;
        case 5: /* bytes come twice */
            memmove(wire + at + part, wire + at, size - at);
            size += part;
            break;
        default: /* cut off */
            size = at;
            break;
        }
    }
    return size;
}

/* Feed bytes; returns how many frames were accepted that are not what was sent. */
static uint32_t feed_damaged(const uint8_t *wire, size_t size, const uint8_t *sent, size_t sent_size)
{
    uint32_t wrong = 0;
    size_t i;
    for (i = 0; i < size; i++) {
        const size_t held = self.link.rx_at;
        const uint8_t known = self.link.known, seq = self.link.last_seq, type = self.link.last_type;
        const uint16_t crc = self.link.last_crc;
        nc_link_feed(&self.link, wire[i]);
        if (wire[i] == 0 && (known != self.link.known || seq != self.link.last_seq || type != self.link.last_type ||
                             crc != self.link.last_crc)) {
            wrong += held != sent_size || memcmp(rx, sent, held) != 0;
        }
    }
    now_us += below(4) ? 1000 : below(200000);
    nc_link_tick(&self.link, now_us);
    return wrong;
}

/* Whether a ping is answered as pings are. */
static int answered(uint8_t seq)
{
    uint8_t raw[32], wire[40];
    const uint32_t before = answers;
    size_t size = cobs(raw, frame(raw, 5, seq, 0, (const uint8_t *)"echo", 4), wire);
    wire[size++] = 0;
    feed(wire, size);
    return answers != before;
}

static void send_sound(uint8_t type, const uint8_t *payload, size_t size)
{
    uint8_t raw[MOST], wire[2 * MOST];
    size_t done = cobs(raw, frame(raw, type, (uint8_t)(self.link.last_seq + 1), 0, payload, size), wire);
    wire[done++] = 0;
    feed(wire, done);
    check_parameters();
}

/* The parameters in use as a new set, with damaged frames in between; returns 1 if they were swapped. */
static int upload(void)
{
    static uint8_t image[1 << 16], wire[4 * MOST], sent[MOST];
    const nc_link_model_t *model = self.link.model;
    const void *before = model_live;
    uint8_t head[17] = {0}, data[5 + NC_LINK_MOST_DATA] = {1};
    const uint32_t model_crc32 = below(0xFFFFFFFFu);
    uint32_t crc, at;
    size_t size = 0;
    uint16_t i;
    for (i = 0; i < model->param_fields; i++) { /* a little-endian machine */
        const nc_link_field_t *field = &model->params[i];
        memcpy(image + size, (const uint8_t *)model_live + field->offset, field->words * field->bytes);
        size += field->words * field->bytes;
    }
    crc = slow_crc32(0, image, size);
    memcpy(head + 1, &model->param_bytes, 4);
    crc ^= below(4) == 0; /* sometimes a wrong one */
    memcpy(head + 5, &crc, 4);
    memcpy(head + 9, &model_crc32, 4);
    memcpy(head + 13, &model->shape_crc32, 4);
    send_sound(4, head, sizeof head);
    for (at = 0; at < size; at += NC_LINK_MOST_DATA) {
        const size_t part = size - at < NC_LINK_MOST_DATA ? size - at : NC_LINK_MOST_DATA;
        memcpy(data + 1, &at, 4);
        memcpy(data + 5, image + at, part);
        if (below(3) == 0) {
            const size_t raw = frame(sent, 4, (uint8_t)(self.link.last_seq + 1), 0, data, 5 + part);
            const size_t on_wire = damaged(wire, cobs(sent, raw, wire));
            (void)feed_damaged(wire, on_wire, sent, raw);
            (void)feed_damaged((const uint8_t *)"", 1, sent, raw);
            check_parameters();
        }
        send_sound(4, data, 5 + part);
    }
    if (below(4) == 0) { /* more than there is room for: refused */
        at = (uint32_t)size;
        memcpy(data + 1, &at, 4);
        send_sound(4, data, 5 + 1 + below(NC_LINK_MOST_DATA));
    }
    send_sound(4, (const uint8_t *)"\2", 1);
    return (const void *)model_live != before;
}

int main(int count, char **arguments)
{
    static uint8_t sent[MOST], wire[4 * MOST], whole[4 * MOST];
    const uint32_t frames = count > 1 ? (uint32_t)strtoul(arguments[1], NULL, 10) : 1000;
    uint32_t corrupted = 0, undetected = 0, unsynchronised = 0, uploads = 0, i;
    state = (count > 2 ? strtoul(arguments[2], NULL, 10) : 1) * 2 + 1;
    start_board();
    for (i = 0; i < frames; i++) {
        uint8_t seq = (uint8_t)(self.link.last_seq + 1);
        const size_t size = request(sent, seq), on_wire = cobs(sent, size, whole);
        size_t now;
        uint32_t first;
        whole[on_wire] = 0;
        memcpy(wire, whole, on_wire + 1);
        now = damaged(wire, on_wire + 1);
        corrupted += now != on_wire + 1 || memcmp(wire, whole, now) != 0;
        undetected += feed_damaged(wire, now, sent, size);
        check_parameters();
        /* The next frame is taken if this one's end came; the one after it always. */
        first = (uint32_t)answered((uint8_t)(self.link.last_seq + 1));
        if (!first && (now == 0 || wire[now - 1] == 0)) {
            unsynchronised++;
        }
        if (!answered((uint8_t)(self.link.last_seq + 1))) {
            unsynchronised++;
        }
        if (below(4) == 0) { /* a sound one in between, so that damaged frames meet every mode */
            const size_t good = cobs(sent, request(sent, (uint8_t)(self.link.last_seq + 1)), whole);
            whole[good] = 0;
            feed(whole, good + 1);
        }
        if (below(256) == 0) {
            uploads += (uint32_t)upload();
        }
        check_parameters();
    }
    printf("%u frames, %u corrupted, %u undetected, %u unsynchronised, %u uploads\n", frames, corrupted, undetected,
        unsynchronised, uploads);
    return 0;
}
#endif
