/* An engine behind a UIO device of Linux, with the memory of a u-dma-buf device. */
#ifndef CELOSIA_UIO_H
#define CELOSIA_UIO_H

#include <stddef.h>

#include "celosia.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stays where it was opened: `access` points to it. */
struct celosia_uio {
    struct celosia_access access;
    volatile uint32_t *registers;
    uint8_t *memory; /* what the engine sees from its physical address on */
    size_t size;
    int registers_file, memory_file;
};

/* Open `uio` and `size` bytes of `buffer`; with `interrupt` 0 the status is polled. */
enum celosia_result celosia_uio_open(struct celosia_uio *device, const char *uio,
    const char *buffer, size_t size, int interrupt);

void celosia_uio_close(struct celosia_uio *device);

#ifdef __cplusplus
}
#endif

#endif
