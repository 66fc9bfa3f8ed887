#include "celosia.h"

#include <stddef.h>

#include "celosia_registers.h"

enum { START = CELOSIA_CONTROL_START_MASK, CLEAR = CELOSIA_CONTROL_CLEAR_MASK };

static uint32_t read32(const struct celosia_access *access, uint32_t offset)
{
    return access->read(access->context, offset);
}

static void write32(const struct celosia_access *access, uint32_t offset, uint32_t value)
{
    access->write(access->context, offset, value);
}

static void write_pair(const struct celosia_access *access, uint32_t low_offset, uint64_t value)
{
    write32(access, low_offset, (uint32_t)value);
    write32(access, low_offset + 4u, (uint32_t)(value >> 32));
}

/* Wait until the status has a bit of `mask`; 0 when time is up, after which it is looked at once
 * more. Without a clock each round counts as a millisecond, so that a wait that returns at once
 * cannot hold the caller. */
static uint32_t await(const struct celosia_access *access, uint32_t mask, uint32_t milliseconds)
{
    const uint32_t begin = access->clock == NULL ? 0u : access->clock(access->context);
    uint32_t passed = 0u;

    for (;;) {
        uint32_t polls = access->wait == NULL && access->clock == NULL ? access->polls : 1u;
        uint32_t status;
        do {
            status = read32(access, CELOSIA_STATUS_OFFSET);
            if (status & mask)
                return status;
        } while (polls-- > 1u);
        if (passed >= milliseconds)
            return 0u;
        if (access->wait != NULL)
            access->wait(access->context, 1u);
        passed = access->clock == NULL ? passed + 1u : access->clock(access->context) - begin;
    }
}

enum celosia_result celosia_check(const struct celosia_access *access)
{
    static const uint32_t fingerprint[] = {
        CELOSIA_FINGERPRINT0_VALUE, CELOSIA_FINGERPRINT1_VALUE,
        CELOSIA_FINGERPRINT2_VALUE, CELOSIA_FINGERPRINT3_VALUE,
    };
    uint32_t index;

    if (read32(access, CELOSIA_MAGIC_OFFSET) != CELOSIA_MAGIC_VALUE)
        return CELOSIA_NO_ENGINE;
    if (read32(access, CELOSIA_VERSION_OFFSET) != CELOSIA_VERSION_VALUE)
        return CELOSIA_OTHER_VERSION;
    for (index = 0; index < sizeof fingerprint / sizeof fingerprint[0]; index++)
        if (read32(access, CELOSIA_FINGERPRINT0_OFFSET + 4u * index) != fingerprint[index])
            return CELOSIA_OTHER_ACCELERATOR;
    return CELOSIA_OK;
}

enum celosia_result celosia_start(
    const struct celosia_access *access, const struct celosia_program *program)
{
    uint32_t status = read32(access, CELOSIA_STATUS_OFFSET);

    if (status & CELOSIA_STATUS_BUSY_MASK)
        return CELOSIA_BUSY;
    if (status & CELOSIA_STATUS_ERROR_MASK)
        write32(access, CELOSIA_CONTROL_OFFSET, CLEAR);
    write_pair(access, CELOSIA_PROGRAM_LOW_OFFSET, program->address);
    write32(access, CELOSIA_PROGRAM_CHUNKS_OFFSET, program->chunks);
    write_pair(access, CELOSIA_WINDOW_BASE_LOW_OFFSET, program->window_base);
    write_pair(access, CELOSIA_WINDOW_LIMIT_LOW_OFFSET, program->window_limit);
#if CELOSIA_STRIPES
    for (uint32_t port = 0; port < CELOSIA_STRIPES; port++)
        write_pair(access, CELOSIA_STRIPE0_BASE_LOW_OFFSET + 8u * port, program->stripes[port]);
#endif
    write32(access, CELOSIA_INTERRUPT_ENABLE_OFFSET, 1u);
    write32(access, CELOSIA_CONTROL_OFFSET, START);
    return CELOSIA_OK;
}

enum celosia_result celosia_wait(const struct celosia_access *access, uint32_t milliseconds)
{
    uint32_t status = await(access,
        CELOSIA_STATUS_DONE_MASK | CELOSIA_STATUS_ERROR_MASK | CELOSIA_STATUS_IDLE_MASK,
        milliseconds);

    if (status == 0u)
        return CELOSIA_TIMEOUT;
    write32(access, CELOSIA_INTERRUPT_ENABLE_OFFSET, 0u);
    if (status & CELOSIA_STATUS_DONE_MASK)
        return CELOSIA_OK;
    return status & CELOSIA_STATUS_ERROR_MASK ? CELOSIA_STOPPED : CELOSIA_RESET;
}

enum celosia_result celosia_clear(const struct celosia_access *access, uint32_t milliseconds)
{
    write32(access, CELOSIA_INTERRUPT_ENABLE_OFFSET, 0u);
    write32(access, CELOSIA_CONTROL_OFFSET, CLEAR);
    return await(access, CELOSIA_STATUS_IDLE_MASK, milliseconds) ? CELOSIA_OK : CELOSIA_TIMEOUT;
}

uint64_t celosia_read_pair(const struct celosia_access *access, uint32_t low_offset)
{
    uint64_t low = read32(access, low_offset);

    return low | (uint64_t)read32(access, low_offset + 4u) << 32;
}

uint32_t celosia_cause(const struct celosia_access *access)
{
    return read32(access, CELOSIA_CAUSE_OFFSET);
}

const char *celosia_cause_text(uint32_t cause)
{
    static const char *const texts[] = CELOSIA_CAUSE_TEXTS;

    return cause < sizeof texts / sizeof texts[0] ? texts[cause] : "an unknown cause";
}

const char *celosia_result_text(enum celosia_result result)
{
    switch (result) {
    case CELOSIA_OK: return "it is done";
    case CELOSIA_NO_ENGINE: return "no engine answers: is its bitstream loaded?";
    case CELOSIA_OTHER_VERSION: return "the engine has another version of the registers";
    case CELOSIA_OTHER_ACCELERATOR: return "the engine is of another accelerator than this header";
    case CELOSIA_BUSY: return "the engine runs a program";
    case CELOSIA_TIMEOUT: return "time is up: the program is long, or a memory bus is stuck";
    case CELOSIA_STOPPED: return "the engine stopped the program: see its cause";
    case CELOSIA_RESET: return "the engine was reset in the middle of the program";
    case CELOSIA_SYSTEM: return "a device cannot be opened or mapped";
    }
    return "an unknown result";
}
