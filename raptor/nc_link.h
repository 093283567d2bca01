/* nc_link.h: a board's side of neuroctl's serial link; the protocol is in docs/link.md of neuroctl.
 *
 * C99 and C++11, no heap, no global, no library call; <stddef.h> and <stdint.h> alone. All memory is the caller's: the
 * controller's <name>_link.h sets it up. Everything here is called from one context, the main loop or one task: not from
 * an interrupt. A UART's interrupt puts bytes into a queue, and the loop takes them out and feeds them.
 */
#ifndef NC_LINK_H
#define NC_LINK_H

#include <stddef.h>
#include <stdint.h>

#define NC_LINK_PROTOCOL 1u

/* Counts up where a struct or a function below changes. Every export brings its own nc_link.c: of the same version the
 * linker keeps one, and those of different versions have different names. */
#define NC_LINK_VERSION 3
#define nc_link_init nc_link_init_3
#define nc_link_feed nc_link_feed_3
#define nc_link_tick nc_link_tick_3
#define nc_link_wait_us nc_link_wait_us_3
#define nc_link_stop nc_link_stop_3

/* What the board is doing. */
#define NC_LINK_IDLE 0u    /* since power-up: outputs are safe */
#define NC_LINK_STEP 1u    /* the controller steps on inputs that the host sends */
#define NC_LINK_DRIVE 2u   /* the host computes the outputs */
#define NC_LINK_BOARD 3u   /* the controller steps on the board's sensors, each dt */
#define NC_LINK_LATCHED 4u /* outputs are safe until the host starts anew */

/* Why outputs are safe. */
#define NC_LINK_NONE 0u
#define NC_LINK_STOPPED 1u
#define NC_LINK_TIMEOUT 2u /* no good frame of the host's for too long, or the board itself stood still for so long */
#define NC_LINK_OVERRUN 3u /* NC_LINK_MOST_OVERRUNS steps one after the other came late */
#define NC_LINK_SENSOR 4u  /* the sensors could not be read */
#define NC_LINK_RESET 5u   /* power-up */

#ifndef NC_LINK_MOST_OVERRUNS
#define NC_LINK_MOST_OVERRUNS 10u
#endif

/* Whether parameters can be uploaded, to a controller that allows it. An AVR has no RAM for it. */
#ifndef NC_LINK_PARAMS
#ifdef __AVR__
#define NC_LINK_PARAMS 0
#else
#define NC_LINK_PARAMS 1
#endif
#endif

#define NC_LINK_MOST_DATA 128u /* bytes of parameters in a frame */
#define NC_LINK_MOST_ECHO 64u  /* bytes of a PING */

/* Room for a frame of so many bytes of payload: as it is received, and as it is sent. */
#define NC_LINK_FRAME_BYTES(payload) ((payload) + 6u)
#define NC_LINK_WIRE_BYTES(payload) (NC_LINK_FRAME_BYTES(payload) + NC_LINK_FRAME_BYTES(payload) / 254u + 3u)
#define NC_LINK_MORE(a, b) ((a) > (b) ? (a) : (b))

#ifdef __cplusplus
extern "C" {
#endif

/** Words of a kind that lie one behind the other in a struct. */
typedef struct {
    size_t offset;     /**< where they begin, in bytes */
    size_t words;      /**< how many there are */
    uint8_t bytes;     /**< of a word: 1, 2 or 4 */
    uint8_t is_signed; /**< 1: two's complement */
} nc_link_field_t;

/** One controller, as its <name>_link.h describes it. */
typedef struct {
    const char *name;
    uint32_t model_crc32, shape_crc32, dt_us, timeout_us, param_bytes;
    uint16_t inputs, outputs, neurons, state_bytes;
    int8_t in_frac_bits, out_frac_bits;
    uint16_t state_fields, param_fields;     /**< how many; no param_fields: parameters are constants */
    const nc_link_field_t *state, *params;
    const int16_t *out_range;                /**< low, high of each output */
    const int32_t *(*reach)(void);           /**< low, high of the words of each field of the state */
    void (*reset)(void *state);
    void (*step)(void *state, const int16_t *in, int16_t *out);
    void *(*shadow)(void);                   /**< the parameters that no step reads; NULL if they are constants */
    void (*swap)(void);                      /**< from now on steps read those */
} nc_link_model_t;

/** What the board does for the link; safe, user and microseconds may be NULL. */
typedef struct {
    int (*read)(void *user, int16_t *in);           /**< read the sensors; 0: done, else outputs go safe and stay so */
    void (*write)(void *user, const int16_t *out);  /**< drive the motors */
    void (*transmit)(void *user, const uint8_t *bytes, size_t size); /**< send bytes, or queue them: one whole frame */
    const int16_t *safe;                            /**< the safe outputs; NULL: 0, or the limit next to it */
    void *user;                                     /**< what the functions get */
    uint32_t (*microseconds)(void *user);           /**< the clock of nc_link_tick; asked before a frame is acted on */
} nc_link_board_t;

/** A frame that is put together as it goes over the wire. Internal. */
typedef struct {
    uint8_t *bytes;
    size_t at, code_at;
    uint16_t crc;
} nc_link_frame_t;

/** The memory that a link works with; <name>_link.h has it in its struct. */
typedef struct {
    void *state;
    int16_t *in, *out;
    uint8_t *rx;
    size_t rx_bytes;
    uint8_t *answer, *report;
} nc_link_room_t;

/** One link. mode, reason, ticks, bad_frames, stale_frames and overruns may be read; the rest is internal. */
typedef struct {
    uint8_t mode, reason;
    uint32_t ticks;                      /**< steps since the start */
    uint16_t bad_frames, stale_frames;   /**< dropped: damaged; older than what was answered. From 65535 to 0 */
    uint32_t overruns;                   /**< periods that passed without a step */
    uint32_t model_crc32;                /**< of the parameters in use */

    const nc_link_model_t *model;
    nc_link_board_t board;
    nc_link_room_t room;
    nc_link_frame_t answer, report;
    size_t rx_at;
    uint8_t rx_left, rx_zero, rx_begun, rx_over;
    uint8_t known, last_seq, last_type, writing;
    uint16_t last_crc, last_seed, seed;
    uint8_t heard, starting, resync, mismatches, told, late_steps, stood_still, fed;
    uint32_t now_us, heard_us, due_us, timeout_us, told_us, woke_us;
    uint8_t with_state, report_seq;
    uint16_t report_every, until_report;
    uint8_t param_open;
    uint32_t param_next, param_crc32, param_model_crc32;
} nc_link_t;

/** Set a link up: outputs go safe, the controller is reset. Users call <name>_link_init, which calls this.
 * @param link  written
 * @param model the controller; kept
 * @param board what the board does; copied
 * @param room  the memory; copied */
void nc_link_init(nc_link_t *link, const nc_link_model_t *model, const nc_link_board_t *board, const nc_link_room_t *room);

/** Take a received byte. The last one of a frame is acted on at once: a step, and the answer's transmission. But first
 *  time is looked at: a board that stood still for its timeout does not do what the host wanted before. Without the
 *  board's own clock that is the last tick's time: call nc_link_tick right before the bytes that have come are fed.
 * @param link read and written
 * @param byte the byte */
void nc_link_feed(nc_link_t *link, uint8_t byte);

/** Do what time asks for: the watchdog, and in mode BOARD the controller's step. Call it as often as possible, at least
 *  a few times each dt; it returns at once where nothing is due.
 * @param link   read and written
 * @param now_us microseconds of a clock that runs on, such as micros(); it may start anywhere and wraps around */
void nc_link_tick(nc_link_t *link, uint32_t now_us);

/** How long nc_link_tick has nothing to do, unless a byte comes: for boards that sleep meanwhile.
 * @param link   read
 * @param now_us as for nc_link_tick
 * @return microseconds; 0xFFFFFFFF: for ever */
uint32_t nc_link_wait_us(const nc_link_t *link, uint32_t now_us);

/** Make the outputs safe until the host starts anew; for a board's own emergency stop. A reason that stands stays. Also
 *  inside read, write and transmit; inside write the safe outputs are written when that has returned.
 * @param link   read and written
 * @param reason NC_LINK_STOPPED, NC_LINK_SENSOR or another */
void nc_link_stop(nc_link_t *link, uint8_t reason);

#ifdef __cplusplus
}
#endif

#endif /* NC_LINK_H */
