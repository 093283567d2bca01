/* nc_link.c: see nc_link.h. */
#include "nc_link.h"

/* Several exports in one firmware each bring this file: where there are weak symbols, the linker keeps one of them. Else
 * build one of the files alone. */
#ifndef NC_LINK_WEAK
#if (defined(__GNUC__) || defined(__TINYC__)) && !defined(_WIN32)
#define NC_LINK_WEAK __attribute__((weak))
#else
#define NC_LINK_WEAK
#endif
#endif

/* Types of frames: the host's, and what the board sends by itself. An answer's type is its request's with ANSWER set. */
#define HELLO 0x01u
#define STEP 0x02u
#define STATE 0x03u
#define PARAM 0x04u
#define PING 0x05u
#define STOP 0x06u
#define DRIVE 0x08u
#define START 0x09u
#define ANSWER 0x80u
#define ERROR 0x87u
#define REPORT 0x8Au

#define FLAG_RESET 1u /* of STEP: reset the controller first */
#define FLAG_STATE 2u /* of STEP, its answer and REPORT: the state is behind the outputs */
#define OPTION_STATE 1u /* of START */

#define UNSUPPORTED 2u
#define LATCHED 3u
#define NOT_STARTED 4u
#define PARAM_ORDER 5u
#define PARAM_SIZE 6u
#define PARAM_CRC 7u
#define PARAM_SHAPE 8u
#define BAD_VALUE 9u
#define WRONG_MODEL 10u

#define BEGIN 0u
#define DATA 1u
#define COMMIT 2u

#define HEAD_BYTES 4u
#define CRC_BYTES 2u
#define NAME_BYTES 16u
#define HELLO_SEED 0xFFFFu
#define MOST_TIMEOUT_US 0x7FFFFFFFu
#define MISMATCHES 3u /* that many frames in a row with another CRC: the host holds another model */
#define TOLD_EVERY_US 100000u
#define QUEUED_US 100000u /* what was queued while the board stood still has been fed after this time, whatever comes */

/* A request: its frame without the CRC. */
typedef struct {
    uint8_t type, seq, flags;
    const uint8_t *payload;
    size_t size;
} request_t;

/* CRC-16, polynomial 0x1021, most significant bit first. */
static uint16_t crc16(uint16_t crc, uint8_t byte)
{
    uint16_t x = (uint16_t)(((uint32_t)crc >> 8) ^ byte);
    x = (uint16_t)(x ^ ((uint32_t)x >> 4));
    return (uint16_t)(((uint32_t)crc << 8) ^ ((uint32_t)x << 12) ^ ((uint32_t)x << 5) ^ x);
}

static uint16_t crc16_of(uint16_t seed, const uint8_t *bytes, size_t size)
{
    uint16_t crc = seed;
    size_t i;
    for (i = 0; i < size; i++) {
        crc = crc16(crc, bytes[i]);
    }
    return crc;
}

static uint16_t folded(uint32_t model_crc32)
{
    return (uint16_t)((model_crc32 ^ (model_crc32 >> 16)) & 0xFFFFu);
}

static uint32_t get(const uint8_t *bytes, size_t size)
{
    uint32_t value = 0;
    size_t i;
    for (i = 0; i < size; i++) {
        value |= (uint32_t)bytes[i] << (8u * (unsigned)i);
    }
    return value;
}

static int16_t get_int16(const uint8_t *bytes)
{
    return (int16_t)(uint16_t)get(bytes, 2);
}

/* --- Words of structs: their values do not depend on the core's byte order --- */

static uint32_t load(const nc_link_field_t *field, const void *base, size_t word)
{
    const void *at = (const uint8_t *)base + field->offset;
    if (field->bytes == 1u) {
        return ((const uint8_t *)at)[word];
    }
    if (field->bytes == 2u) {
        return ((const uint16_t *)at)[word];
    }
    return ((const uint32_t *)at)[word];
}

static void store(const nc_link_field_t *field, void *base, size_t word, uint32_t value)
{
    void *at = (uint8_t *)base + field->offset;
    if (field->bytes == 1u) {
        uint8_t *words = (uint8_t *)at;
        words[word] = (uint8_t)value;
    } else if (field->bytes == 2u) {
        uint16_t *words = (uint16_t *)at;
        words[word] = (uint16_t)value;
    } else {
        uint32_t *words = (uint32_t *)at;
        words[word] = value;
    }
}

static int32_t as_number(const nc_link_field_t *field, uint32_t value)
{
    const uint32_t sign = UINT32_C(1) << (8u * field->bytes - 1u);
    return (int32_t)(field->is_signed != 0u ? (value ^ sign) - sign : value);
}

/* --- Sending --- */

static void put_raw(nc_link_frame_t *frame, uint8_t byte)
{
    if (byte != 0u) {
        frame->bytes[frame->at] = byte;
        frame->at++;
    }
    if ((byte == 0u) || (frame->at - frame->code_at == 255u)) { /* COBS: a zero, or 254 bytes without one */
        frame->bytes[frame->code_at] = (uint8_t)(frame->at - frame->code_at);
        frame->code_at = frame->at;
        frame->at++;
    }
}

static void put(nc_link_frame_t *frame, uint32_t value, size_t size)
{
    size_t i;
    for (i = 0; i < size; i++) {
        const uint8_t byte = (uint8_t)(value >> (8u * (unsigned)i));
        frame->crc = crc16(frame->crc, byte);
        put_raw(frame, byte);
    }
}

static void begin(nc_link_frame_t *frame, uint8_t type, uint8_t seq, uint8_t flags, uint16_t seed)
{
    frame->bytes[0] = 0;
    frame->code_at = 1;
    frame->at = 2;
    frame->crc = seed;
    put(frame, NC_LINK_PROTOCOL, 1);
    put(frame, type, 1);
    put(frame, seq, 1);
    put(frame, flags, 1);
}

/* A frame starts with a zero where the host may be in the middle of another one. */
static void send(nc_link_t *link, const nc_link_frame_t *frame)
{
    const size_t skip = link->resync != 0u ? (size_t)0 : (size_t)1;
    link->resync = 0;
    link->board.transmit(link->board.user, frame->bytes + skip, frame->at - skip);
}

static void end(nc_link_t *link, nc_link_frame_t *frame)
{
    const uint16_t crc = frame->crc;
    put_raw(frame, (uint8_t)(crc & 0xFFu));
    put_raw(frame, (uint8_t)(crc >> 8));
    frame->bytes[frame->code_at] = (uint8_t)(frame->at - frame->code_at);
    frame->bytes[frame->at] = 0;
    frame->at++;
    send(link, frame);
}

static void begin_answer(nc_link_t *link, const request_t *request)
{
    const uint16_t seed = request->type == HELLO ? (uint16_t)HELLO_SEED : link->seed;
    begin(&link->answer, (uint8_t)(request->type | ANSWER), request->seq, request->flags, seed);
}

static void answer_nothing(nc_link_t *link, const request_t *request)
{
    begin_answer(link, request);
    end(link, &link->answer);
}

static void put_error(nc_link_t *link, nc_link_frame_t *frame, const request_t *request, uint8_t code, uint16_t seed)
{
    begin(frame, ERROR, request->seq, request->flags, seed);
    put(frame, code, 1);
    put(frame, request->type, 1);
    put(frame, link->reason, 1);
    end(link, frame);
}

static void refuse(nc_link_t *link, const request_t *request, uint8_t code)
{
    put_error(link, &link->answer, request, code, link->seed);
}

static void put_words(nc_link_frame_t *frame, const int16_t *words, uint16_t count)
{
    uint16_t i;
    for (i = 0; i < count; i++) {
        put(frame, (uint16_t)words[i], 2);
    }
}

static void put_state(const nc_link_t *link, nc_link_frame_t *frame)
{
    uint16_t i;
    for (i = 0; i < link->model->state_fields; i++) {
        const nc_link_field_t *field = &link->model->state[i];
        size_t word;
        for (word = 0; word < field->words; word++) {
            put(frame, load(field, link->room.state, word), field->bytes);
        }
    }
}

/* --- Modes --- */

static int running(const nc_link_t *link)
{
    return (link->mode == NC_LINK_STEP) || (link->mode == NC_LINK_DRIVE) || (link->mode == NC_LINK_BOARD);
}

static int16_t clipped(const nc_link_t *link, uint16_t i, int16_t value)
{
    const int16_t low = link->model->out_range[2u * (size_t)i], high = link->model->out_range[2u * (size_t)i + 1u];
    return value < low ? low : (value > high ? high : value);
}

/* While it lasts nc_link_stop, which a board may call in it, writes nothing: it would go round for ever. */
static void write_motors(nc_link_t *link)
{
    link->writing = 1;
    link->board.write(link->board.user, link->room.out);
    link->writing = 0;
}

static void write_safe(nc_link_t *link)
{
    uint16_t i;
    for (i = 0; i < link->model->outputs; i++) {
        link->room.out[i] = clipped(link, i, link->board.safe != NULL ? link->board.safe[i] : (int16_t)0);
    }
    write_motors(link);
}

NC_LINK_WEAK void nc_link_stop(nc_link_t *link, uint8_t reason)
{
    if (link->mode != NC_LINK_LATCHED) {
        link->mode = NC_LINK_LATCHED;
        link->reason = reason;
    }
    if (link->writing == 0u) {
        write_safe(link);
    }
}

/* Look at the time. Outputs go safe where the host was silent for the timeout, or the board stood still for so long: what
 * was queued meanwhile is too old to be acted on, be it frames that were fed since the last look at an unknown time. */
static void look_at_time(nc_link_t *link, uint32_t now_us)
{
    const uint32_t passed_us = now_us - link->now_us;
    link->now_us = now_us;
    if (running(link) == 0) {
        link->heard = 0;
        return;
    }
    if ((passed_us >= link->timeout_us) && ((link->starting == 0u) || (link->board.microseconds != NULL))) {
        link->stood_still = 1;
        link->woke_us = now_us;
    } else if (link->heard != 0u) {
        link->heard_us = now_us;
    } else {
        /* it was the time before that a frame came */
    }
    link->heard = 0;
    if ((link->stood_still != 0u) || (now_us - link->heard_us >= link->timeout_us)) {
        nc_link_stop(link, NC_LINK_TIMEOUT);
    }
}

/* A good frame came: just now, by the board's clock, or else some time since the last tick. */
static void hear(nc_link_t *link)
{
    if (link->board.microseconds != NULL) {
        link->heard_us = link->now_us;
    } else {
        link->heard = 1;
    }
}

/* Read the sensors; 0: they failed, or the board stopped meanwhile, and outputs are safe now. */
static int read_sensors(nc_link_t *link)
{
    if (link->board.read(link->board.user, link->room.in) != 0) {
        nc_link_stop(link, NC_LINK_SENSOR);
    }
    return running(link);
}

/* Drive the motors with outputs that need not be safe; 0: the board stopped meanwhile, and they are safe now. */
static int drive(nc_link_t *link)
{
    write_motors(link);
    if (running(link) == 0) {
        write_safe(link);
        return 0;
    }
    return 1;
}

static int step(nc_link_t *link)
{
    link->model->step(link->room.state, link->room.in, link->room.out);
    link->ticks++;
    return drive(link);
}

/* Whether a request needs another mode than this; if so it is refused. */
static int in_other_mode(nc_link_t *link, const request_t *request, uint8_t mode)
{
    if (link->mode == mode) {
        return 0;
    }
    refuse(link, request, link->mode == NC_LINK_LATCHED ? (uint8_t)LATCHED : (uint8_t)NOT_STARTED);
    return 1;
}

/* --- What a request does --- */

static void say_hello(nc_link_t *link, const request_t *request)
{
    const nc_link_model_t *model = link->model;
    const char *name = model->name;
    nc_link_frame_t *frame = &link->answer;
    size_t i;
    begin_answer(link, request);
    put(frame, NC_LINK_PROTOCOL, 1);
    put(frame, model->param_fields != 0u ? 1u : 0u, 1);
    put(frame, link->mode, 1);
    put(frame, link->reason, 1);
    put(frame, link->model_crc32, 4);
    put(frame, model->shape_crc32, 4);
    put(frame, model->dt_us, 4);
    put(frame, model->timeout_us, 4);
    put(frame, model->param_bytes, 4);
    put(frame, model->inputs, 2);
    put(frame, model->outputs, 2);
    put(frame, model->neurons, 2);
    put(frame, model->state_bytes, 2);
    put(frame, (uint8_t)model->in_frac_bits, 1);
    put(frame, (uint8_t)model->out_frac_bits, 1);
    for (i = 0; i < NAME_BYTES; i++) {
        put(frame, (uint8_t)*name, 1);
        if (*name != '\0') { /* zeros fill up what it is shorter by */
            name++;
        }
    }
    link->resync = 1;
    end(link, frame);
}

static void do_step(nc_link_t *link, const request_t *request)
{
    uint16_t i;
    if (in_other_mode(link, request, NC_LINK_STEP) != 0) {
        return;
    }
    if (request->flags > (FLAG_RESET | FLAG_STATE)) {
        refuse(link, request, BAD_VALUE);
        return;
    }
    if ((request->flags & FLAG_RESET) != 0u) {
        link->model->reset(link->room.state);
    }
    for (i = 0; i < link->model->inputs; i++) {
        link->room.in[i] = get_int16(request->payload + 2u * (size_t)i);
    }
    if (step(link) == 0) {
        refuse(link, request, LATCHED);
        return;
    }
    begin_answer(link, request);
    put_words(&link->answer, link->room.out, link->model->outputs);
    if ((request->flags & FLAG_STATE) != 0u) {
        put_state(link, &link->answer);
    }
    end(link, &link->answer);
}

static void do_drive(nc_link_t *link, const request_t *request)
{
    uint16_t i;
    if (in_other_mode(link, request, NC_LINK_DRIVE) != 0) {
        return;
    }
    for (i = 0; i < link->model->outputs; i++) {
        link->room.out[i] = clipped(link, i, get_int16(request->payload + 2u * (size_t)i));
    }
    if ((drive(link) == 0) || (read_sensors(link) == 0)) {
        refuse(link, request, LATCHED);
        return;
    }
    link->ticks++;
    begin_answer(link, request);
    put_words(&link->answer, link->room.in, link->model->inputs);
    end(link, &link->answer);
}

/* Whether every word is one that the controller itself may reach: what it is proven for. */
static int may_be_state(const nc_link_t *link, const uint8_t *bytes)
{
    const int32_t *reach = link->model->reach();
    uint16_t i;
    for (i = 0; i < link->model->state_fields; i++) {
        const nc_link_field_t *field = &link->model->state[i];
        size_t word;
        for (word = 0; word < field->words; word++) {
            const int32_t value = as_number(field, get(bytes, field->bytes));
            if ((value < reach[0]) || (value > reach[1])) {
                return 0;
            }
            bytes += field->bytes;
        }
        reach += 2;
    }
    return 1;
}

static void do_state(nc_link_t *link, const request_t *request)
{
    const uint8_t *bytes = request->payload;
    uint16_t i;
    if (request->size == 0u) {
        begin_answer(link, request);
        put_state(link, &link->answer);
        end(link, &link->answer);
        return;
    }
    if (may_be_state(link, bytes) == 0) {
        refuse(link, request, BAD_VALUE);
        return;
    }
    for (i = 0; i < link->model->state_fields; i++) {
        const nc_link_field_t *field = &link->model->state[i];
        size_t word;
        for (word = 0; word < field->words; word++) {
            store(field, link->room.state, word, get(bytes, field->bytes));
            bytes += field->bytes;
        }
    }
    answer_nothing(link, request);
}

static void do_start(nc_link_t *link, const request_t *request)
{
    const uint8_t mode = request->payload[0], options = request->payload[1];
    const uint32_t timeout_us = get(request->payload + 4, 4);
    if ((mode < NC_LINK_STEP) || (mode > NC_LINK_BOARD) || (options > OPTION_STATE) || (timeout_us > MOST_TIMEOUT_US)) {
        refuse(link, request, BAD_VALUE);
        return;
    }
    if (link->stood_still != 0u) { /* it was queued; whoever sent it may be gone */
        refuse(link, request, LATCHED);
        return;
    }
    link->model->reset(link->room.state);
    link->mode = mode;
    link->reason = NC_LINK_NONE;
    link->with_state = options;
    link->report_every = (uint16_t)get(request->payload + 2, 2);
    link->until_report = link->report_every;
    link->timeout_us = timeout_us != 0u ? timeout_us : link->model->timeout_us;
    link->ticks = 0;
    link->report_seq = 0;
    link->late_steps = 0;
    link->starting = 1;
    write_safe(link);
    if (running(link) == 0) { /* the board stopped in write */
        refuse(link, request, LATCHED);
        return;
    }
    answer_nothing(link, request);
}

static void do_ping(nc_link_t *link, const request_t *request)
{
    nc_link_frame_t *frame = &link->answer;
    size_t i;
    begin_answer(link, request);
    put(frame, link->ticks, 4);
    put(frame, link->mode, 1);
    put(frame, link->reason, 1);
    put(frame, link->bad_frames, 2);
    put(frame, link->stale_frames, 2);
    put(frame, link->overruns, 4);
    for (i = 0; i < request->size; i++) {
        put(frame, request->payload[i], 1);
    }
    end(link, frame);
}

/* --- Parameters: into the bank that no step reads, which becomes the other one as a whole --- */

#if NC_LINK_PARAMS
/* CRC-32 as in zip and Ethernet, before the last xor. */
static uint32_t crc32(uint32_t crc, uint8_t byte)
{
    uint32_t x = crc ^ byte;
    int i;
    for (i = 0; i < 8; i++) {
        x = (x >> 1) ^ (0xEDB88320u & (0u - (x & 1u)));
    }
    return x;
}

static void store_param_byte(nc_link_t *link, uint32_t offset, uint8_t byte)
{
    const nc_link_field_t *field = link->model->params;
    void *shadow = link->model->shadow();
    uint32_t at = offset;
    size_t word;
    unsigned shift;
    while (at >= (uint32_t)field->words * field->bytes) {
        at -= (uint32_t)field->words * field->bytes;
        field++;
    }
    word = (size_t)(at / field->bytes);
    shift = 8u * (unsigned)(at % field->bytes);
    store(field, shadow, word, (load(field, shadow, word) & ~(UINT32_C(0xFF) << shift)) | ((uint32_t)byte << shift));
}

static uint32_t shadow_crc32(const nc_link_t *link)
{
    const void *shadow = link->model->shadow();
    uint32_t crc = 0xFFFFFFFFu;
    uint16_t i;
    for (i = 0; i < link->model->param_fields; i++) {
        const nc_link_field_t *field = &link->model->params[i];
        size_t word;
        for (word = 0; word < field->words; word++) {
            const uint32_t value = load(field, shadow, word);
            unsigned byte;
            for (byte = 0; byte < field->bytes; byte++) {
                crc = crc32(crc, (uint8_t)((value >> (8u * byte)) & 0xFFu));
            }
        }
    }
    return crc ^ 0xFFFFFFFFu;
}

static uint8_t begin_params(nc_link_t *link, const uint8_t *fields)
{
    link->param_open = 0;
    if (get(fields, 4) != link->model->param_bytes) {
        return PARAM_SIZE;
    }
    if (get(fields + 12, 4) != link->model->shape_crc32) {
        return PARAM_SHAPE;
    }
    link->param_crc32 = get(fields + 4, 4);
    link->param_model_crc32 = get(fields + 8, 4);
    link->param_next = 0;
    link->param_open = 1;
    return 0;
}

static uint8_t take_params(nc_link_t *link, const uint8_t *bytes, size_t size)
{
    size_t i;
    if ((link->param_open == 0u) || (get(bytes, 4) != link->param_next)) {
        return PARAM_ORDER;
    }
    if (size - 4u > link->model->param_bytes - link->param_next) {
        return PARAM_SIZE;
    }
    for (i = 4; i < size; i++) {
        store_param_byte(link, link->param_next, bytes[i]);
        link->param_next++;
    }
    return 0;
}

static uint8_t commit_params(nc_link_t *link)
{
    if (link->param_open == 0u) {
        return PARAM_ORDER;
    }
    if (link->param_next != link->model->param_bytes) {
        return PARAM_SIZE;
    }
    link->param_open = 0;
    if (shadow_crc32(link) != link->param_crc32) {
        return PARAM_CRC;
    }
    link->mode = NC_LINK_IDLE;
    link->reason = NC_LINK_NONE;
    write_safe(link);
    link->model->swap();
    link->model->reset(link->room.state);
    link->model_crc32 = link->param_model_crc32;
    return 0;
}

static void do_param(nc_link_t *link, const request_t *request)
{
    const uint8_t op = request->payload[0];
    uint8_t code = BAD_VALUE;
    if (link->model->param_fields == 0u) {
        code = UNSUPPORTED;
    } else if (op == BEGIN) {
        code = begin_params(link, request->payload + 1);
    } else if (op == DATA) {
        code = take_params(link, request->payload + 1, request->size - 1u);
    } else if (op == COMMIT) {
        code = commit_params(link);
    } else {
        /* a host of a later protocol */
    }
    if (code != 0u) {
        refuse(link, request, code);
        return;
    }
    begin_answer(link, request);
    put(&link->answer, op, 1);
    put(&link->answer, link->param_next, 4);
    end(link, &link->answer);
    link->seed = folded(link->model_crc32);
}
#else
static void do_param(nc_link_t *link, const request_t *request)
{
    refuse(link, request, UNSUPPORTED);
}
#endif

static void act(nc_link_t *link, const request_t *request)
{
    if ((request->flags != 0u) && (request->type != STEP)) {
        refuse(link, request, BAD_VALUE);
        return;
    }
    switch (request->type) {
    case STEP:
        do_step(link, request);
        break;
    case STATE:
        do_state(link, request);
        break;
    case PARAM:
        do_param(link, request);
        break;
    case PING:
        do_ping(link, request);
        break;
    case STOP:
        nc_link_stop(link, NC_LINK_STOPPED);
        answer_nothing(link, request);
        break;
    case DRIVE:
        do_drive(link, request);
        break;
    default: /* START: right_size knows no other */
        do_start(link, request);
        break;
    }
}

/* --- Receiving --- */

static int right_param_size(const request_t *request)
{
    const size_t size = request->size;
    if (size == 0u) {
        return 0;
    }
    switch (request->payload[0]) {
    case BEGIN:
        return size == 17u;
    case DATA:
        return (size >= 6u) && (size <= 5u + NC_LINK_MOST_DATA);
    case COMMIT:
        return size == 1u;
    default: /* whatever it is, it will be refused */
        return 1;
    }
}

/* Whether a payload is as long as its type says. */
static int right_size(const nc_link_t *link, const request_t *request)
{
    const nc_link_model_t *model = link->model;
    const size_t size = request->size;
    switch (request->type) {
    case HELLO:
    case STOP:
        return size == 0u;
    case STEP:
        return size == 2u * (size_t)model->inputs;
    case STATE:
        return (size == 0u) || (size == model->state_bytes);
    case PARAM:
        return right_param_size(request);
    case PING:
        return size <= NC_LINK_MOST_ECHO;
    case DRIVE:
        return size == 2u * (size_t)model->outputs;
    case START:
        return size == 8u;
    default:
        return 0;
    }
}

/* A frame of the right form with another CRC: damaged, or of a host that holds another model. */
static void mismatch(nc_link_t *link, const request_t *request)
{
    link->bad_frames++;
    link->resync = 1;
    if (request->type == HELLO) {
        return;
    }
    if (link->mismatches < MISMATCHES) {
        link->mismatches++;
    }
    if ((link->mismatches == MISMATCHES) && ((link->told == 0u) || (link->now_us - link->told_us >= TOLD_EVERY_US))) {
        link->told = 1;
        link->told_us = link->now_us;
        put_error(link, &link->report, request, WRONG_MODEL, HELLO_SEED);
    }
}

/* Whether a request is the last one that was accepted. */
static int is_last(const nc_link_t *link, const request_t *request, uint16_t crc)
{
    if (link->known == 0u) {
        return 0;
    }
    return (request->seq == link->last_seq) && (request->type == link->last_type) && (crc == link->last_crc);
}

static void take_frame(nc_link_t *link, const uint8_t *frame, size_t size)
{
    request_t request;
    const uint16_t crc = (uint16_t)get(frame + size - CRC_BYTES, CRC_BYTES);
    uint16_t seed = link->seed;
    int again;
    request.type = frame[1];
    request.seq = frame[2];
    request.flags = frame[3];
    request.payload = frame + HEAD_BYTES;
    request.size = size - HEAD_BYTES - CRC_BYTES;
    if ((frame[0] != NC_LINK_PROTOCOL) || (right_size(link, &request) == 0)) {
        link->bad_frames++;
        link->resync = 1;
        return;
    }
    again = is_last(link, &request, crc);
    if (request.type == HELLO) {
        seed = HELLO_SEED;
    } else if (again != 0) {
        seed = link->last_seed; /* of before, if it was the upload that changed the model */
    } else {
        /* the model's */
    }
    if (crc16_of(seed, frame, size - CRC_BYTES) != crc) {
        mismatch(link, &request);
        return;
    }
    link->mismatches = 0;
    if (link->board.microseconds != NULL) {
        look_at_time(link, link->board.microseconds(link->board.user));
    }
    if (request.type != HELLO) {
        if (again != 0) {
            hear(link);
            send(link, &link->answer);
            return;
        }
        if ((link->known != 0u) && ((uint8_t)(link->last_seq - request.seq) < 128u)) {
            link->stale_frames++;
            return;
        }
    }
    hear(link);
    link->known = 1;
    link->last_seq = request.seq;
    link->last_type = request.type;
    link->last_crc = crc;
    link->last_seed = seed;
    if (request.type == HELLO) {
        say_hello(link, &request);
    } else {
        act(link, &request);
    }
}

static void take_byte(nc_link_t *link, uint8_t byte)
{
    if (link->rx_at < link->room.rx_bytes) {
        link->room.rx[link->rx_at] = byte;
        link->rx_at++;
    } else {
        link->rx_over = 1;
    }
}

NC_LINK_WEAK void nc_link_feed(nc_link_t *link, uint8_t byte)
{
    link->fed = 1;
    if (byte != 0u) {
        if (link->rx_left != 0u) {
            link->rx_left--;
            take_byte(link, byte);
        } else { /* COBS: how far it is to the next zero */
            if (link->rx_zero != 0u) {
                take_byte(link, 0);
            }
            link->rx_left = (uint8_t)(byte - 1u);
            link->rx_zero = byte != 255u ? 1u : 0u;
            link->rx_begun = 1;
        }
        return;
    }
    if (link->rx_begun != 0u) {
        const size_t size = link->rx_at;
        if ((link->rx_left == 0u) && (link->rx_over == 0u) && (size >= HEAD_BYTES + CRC_BYTES)) {
            take_frame(link, link->room.rx, size);
        } else {
            link->bad_frames++;
            link->resync = 1;
        }
    }
    link->rx_at = 0;
    link->rx_left = 0;
    link->rx_zero = 0;
    link->rx_begun = 0;
    link->rx_over = 0;
}

/* --- Time --- */

static void report(nc_link_t *link)
{
    nc_link_frame_t *frame = &link->report;
    begin(frame, REPORT, link->report_seq, link->with_state != 0u ? (uint8_t)FLAG_STATE : (uint8_t)0u, link->seed);
    link->report_seq++;
    put(frame, link->ticks, 4);
    put_words(frame, link->room.in, link->model->inputs);
    put_words(frame, link->room.out, link->model->outputs);
    if (link->with_state != 0u) {
        put_state(link, frame);
    }
    end(link, frame);
}

/* Count the periods that passed without a step; they are not caught up. Returns 0: too many, outputs are safe now. */
static int in_time(nc_link_t *link)
{
    const uint32_t late_us = link->now_us - link->due_us;
    uint32_t missed;
    if (late_us < link->model->dt_us) {
        link->late_steps = 0;
        return 1;
    }
    missed = late_us / link->model->dt_us;
    link->overruns += missed;
    link->due_us += missed * link->model->dt_us;
    link->late_steps++;
    if (link->late_steps >= NC_LINK_MOST_OVERRUNS) {
        nc_link_stop(link, NC_LINK_OVERRUN);
        return 0;
    }
    return 1;
}

static void step_if_due(nc_link_t *link)
{
    if (link->starting != 0u) {
        link->due_us = link->now_us;
    } else if (link->now_us - link->due_us < link->model->dt_us) {
        return;
    } else {
        link->due_us += link->model->dt_us;
    }
    if ((in_time(link) == 0) || (read_sensors(link) == 0) || (step(link) == 0)) {
        return;
    }
    if (link->report_every != 0u) {
        link->until_report--;
        if (link->until_report == 0u) {
            link->until_report = link->report_every;
            report(link);
        }
    }
}

NC_LINK_WEAK void nc_link_tick(nc_link_t *link, uint32_t now_us)
{
    if ((link->fed == 0u) || (now_us - link->woke_us >= QUEUED_US)) { /* no byte came since the last tick: none is queued */
        link->stood_still = 0;
    }
    link->fed = 0;
    look_at_time(link, now_us);
    if (link->mode == NC_LINK_BOARD) { /* in the other modes the host's frames say when */
        step_if_due(link);
    }
    link->starting = 0;
}

NC_LINK_WEAK uint32_t nc_link_wait_us(const nc_link_t *link, uint32_t now_us)
{
    uint32_t passed, wait;
    if (running(link) == 0) {
        return link->stood_still != 0u ? 0u : 0xFFFFFFFFu;
    }
    if ((link->heard != 0u) || (link->starting != 0u)) {
        return 0;
    }
    passed = now_us - link->heard_us;
    wait = passed < link->timeout_us ? link->timeout_us - passed : 0u;
    if (link->mode == NC_LINK_BOARD) {
        passed = now_us - link->due_us;
        if (passed >= link->model->dt_us) {
            wait = 0;
        } else if (link->model->dt_us - passed < wait) {
            wait = link->model->dt_us - passed;
        } else {
            /* the watchdog comes first */
        }
    }
    return wait;
}

NC_LINK_WEAK void nc_link_init(nc_link_t *link, const nc_link_model_t *model, const nc_link_board_t *board,
    const nc_link_room_t *room)
{
    volatile uint8_t *bytes = (volatile uint8_t *)link; /* else compilers make a call of memset of it */
    size_t i;
    for (i = 0; i < sizeof *link; i++) {
        bytes[i] = 0;
    }
    link->model = model;
    link->board.read = board->read;
    link->board.write = board->write;
    link->board.transmit = board->transmit;
    link->board.safe = board->safe;
    link->board.user = board->user;
    link->board.microseconds = board->microseconds;
    link->room.state = room->state;
    link->room.in = room->in;
    link->room.out = room->out;
    link->room.rx = room->rx;
    link->room.rx_bytes = room->rx_bytes;
    link->answer.bytes = room->answer;
    link->report.bytes = room->report;
    link->model_crc32 = model->model_crc32;
    link->seed = folded(model->model_crc32);
    link->reason = NC_LINK_RESET;
    link->resync = 1;
    model->reset(room->state);
    write_safe(link);
}
