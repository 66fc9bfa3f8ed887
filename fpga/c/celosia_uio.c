#define _POSIX_C_SOURCE 200809L

#include "celosia_uio.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { REGISTER_BYTES = 4096 };

/* Unmask the interrupt and wait for it; whatever goes wrong, the status is read after it. */
static void wait_for_interrupt(void *context, uint32_t milliseconds)
{
    struct celosia_uio *device = context;
    struct pollfd ready = {device->registers_file, POLLIN, 0};
    uint32_t word = 1u;

    if (write(device->registers_file, &word, sizeof word) != (ssize_t)sizeof word)
        return;
    if (poll(&ready, 1, (int)milliseconds) > 0 &&
        read(device->registers_file, &word, sizeof word) < 0)
        return;
}

static uint32_t read_register(void *context, uint32_t offset)
{
    struct celosia_uio *device = context;

    return device->registers[offset / 4u];
}

static void write_register(void *context, uint32_t offset, uint32_t value)
{
    struct celosia_uio *device = context;

    device->registers[offset / 4u] = value;
}

static uint32_t read_clock(void *context)
{
    struct timespec now = {0, 0};

    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)now.tv_sec * 1000u + (uint32_t)(now.tv_nsec / 1000000);
}

static void *map(int file, size_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
}

enum celosia_result celosia_uio_open(struct celosia_uio *device, const char *uio,
    const char *buffer, size_t size, int interrupt)
{
    void *registers = MAP_FAILED, *memory = MAP_FAILED;

    device->registers_file = open(uio, O_RDWR | O_SYNC);
    device->memory_file = open(buffer, O_RDWR | O_SYNC);
    if (device->registers_file >= 0 && device->memory_file >= 0) {
        registers = map(device->registers_file, REGISTER_BYTES);
        memory = map(device->memory_file, size);
    }
    device->registers = registers == MAP_FAILED ? NULL : registers;
    device->memory = memory == MAP_FAILED ? NULL : memory;
    device->size = size;
    device->access.read = read_register;
    device->access.write = write_register;
    device->access.wait = interrupt ? wait_for_interrupt : NULL;
    device->access.context = device;
    device->access.polls = 1u;
    device->access.clock = read_clock;
    if (device->registers != NULL && device->memory != NULL)
        return CELOSIA_OK;
    celosia_uio_close(device);
    return CELOSIA_SYSTEM;
}

void celosia_uio_close(struct celosia_uio *device)
{
    if (device->registers != NULL)
        munmap((void *)(uintptr_t)device->registers, REGISTER_BYTES);
    if (device->memory != NULL)
        munmap(device->memory, device->size);
    if (device->registers_file >= 0)
        close(device->registers_file);
    if (device->memory_file >= 0)
        close(device->memory_file);
    device->registers = NULL;
    device->memory = NULL;
    device->registers_file = device->memory_file = -1;
}
