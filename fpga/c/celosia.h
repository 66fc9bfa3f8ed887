/*
 * The driver of an engine in C99, for bare metal and for Linux.
 *
 * celosia_registers.h is generated with the engine: `celosia generate` and `celosia package` write
 * it. What differs between systems is struct celosia_access; celosia_mmio.h has it for registers
 * at an address, celosia_uio.c for Linux's UIO.
 */
#ifndef CELOSIA_H
#define CELOSIA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What became of a call. */
enum celosia_result {
    CELOSIA_OK = 0,
    CELOSIA_NO_ENGINE,         /* no engine answers: is its bitstream loaded? */
    CELOSIA_OTHER_VERSION,     /* it has another version of the registers */
    CELOSIA_OTHER_ACCELERATOR, /* it is another accelerator than the header's, by its hash */
    CELOSIA_BUSY,              /* a program runs */
    CELOSIA_TIMEOUT,           /* it did not end, or did not stop, in time */
    CELOSIA_STOPPED,           /* an error stopped it: celosia_cause says which */
    CELOSIA_RESET,             /* the engine was reset in the middle of a program */
    CELOSIA_SYSTEM             /* a device cannot be opened or mapped: errno says why */
};

/*
 * How to reach the engine. `wait` returns when the interrupt is high or may have been, at the
 * latest after `milliseconds`; where it is NULL the status is read over and over. `clock` returns
 * milliseconds since any moment, and wraps. Where it is NULL, as on bare metal, a millisecond is
 * one `wait`, and without that `polls` reads of the status: about how many fit into one.
 */
struct celosia_access {
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    void (*wait)(void *context, uint32_t milliseconds);
    void *context;
    uint32_t polls;
    uint32_t (*clock)(void *context);
};

/* A program in the engine's memory; addresses are the engine's. */
struct celosia_program {
    uint64_t address;      /* of its descriptors, a multiple of 256 */
    uint32_t chunks;       /* of 256 bytes */
    uint64_t window_base;  /* first address that it may touch */
    uint64_t window_limit; /* first address after those */
    const uint64_t *stripes; /* where each port's share of address 0 lies; NULL of one port */
};

/* Whether the engine that answers is the one that celosia_registers.h is of. */
enum celosia_result celosia_check(const struct celosia_access *access);

/* Start a program; CELOSIA_BUSY where one runs. An error that was left is cleared. */
enum celosia_result celosia_start(
    const struct celosia_access *access, const struct celosia_program *program);

/* Wait for its end: CELOSIA_OK, _TIMEOUT (it goes on running), _STOPPED or _RESET. */
enum celosia_result celosia_wait(const struct celosia_access *access, uint32_t milliseconds);

/* Bring the engine to rest, whatever runs: CELOSIA_OK or _TIMEOUT (a bus is stuck). */
enum celosia_result celosia_clear(const struct celosia_access *access, uint32_t milliseconds);

/* A pair of registers by the offset of its low half, such as CELOSIA_CYCLES_LOW_OFFSET. */
uint64_t celosia_read_pair(const struct celosia_access *access, uint32_t low_offset);

/* Why the engine stopped, a CELOSIA_CAUSE_*, and in words. */
uint32_t celosia_cause(const struct celosia_access *access);
const char *celosia_cause_text(uint32_t cause);

/* A result in words. */
const char *celosia_result_text(enum celosia_result result);

#ifdef __cplusplus
}
#endif

#endif
