/* Registers at an address, without an operating system; the status is polled. */
#ifndef CELOSIA_MMIO_H
#define CELOSIA_MMIO_H

#include <stddef.h>

#include "celosia.h"

static inline uint32_t celosia_mmio_read(void *context, uint32_t offset)
{
    return ((volatile uint32_t *)context)[offset / 4u];
}

static inline void celosia_mmio_write(void *context, uint32_t offset, uint32_t value)
{
    ((volatile uint32_t *)context)[offset / 4u] = value;
}

/* `polls`: about how often the status can be read in a millisecond; see struct celosia_access. */
static inline struct celosia_access celosia_mmio(volatile void *registers, uint32_t polls)
{
    struct celosia_access access = {
        celosia_mmio_read, celosia_mmio_write, NULL, (void *)(uintptr_t)registers, polls, NULL,
    };
    return access;
}

#endif
