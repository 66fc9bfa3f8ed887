// The C interface that celosia.sim.library binds with ctypes. Addresses are bytes.
#include <cstdint>
#include <cstring>
#include <exception>

#include "harness.h"

using celosia::Harness;

extern "C" {

// What the Python side checks before it trusts the rest.
int celosia_abi() { return 4; }
unsigned celosia_ports() { return Harness::PORTS; }
unsigned celosia_port_bytes() { return Harness::PORT_BYTES; }

Harness* celosia_new() {
    try {
        return new Harness();
    } catch (const std::exception&) {
        return nullptr;
    }
}
void celosia_delete(Harness* harness) { delete harness; }

void celosia_reset(Harness* harness) { harness->reset(); }
void celosia_attach(Harness* harness, uint8_t* bytes, uint64_t base, uint64_t size) {
    harness->storage().attach({bytes, base, size});
}
void celosia_place(Harness* harness, unsigned port, uint64_t base) { harness->storage().place(port, base); }
void celosia_start_memory(Harness* harness, uint64_t latency, uint64_t bytes_per_cycle, uint64_t outstanding) {
    harness->start_memory({latency, bytes_per_cycle, outstanding});
}
void celosia_limit_bursts(Harness* harness, unsigned beats) { harness->limit_bursts(beats); }
void celosia_inject(Harness* harness, uint64_t address) { harness->storage().inject(address); }
void celosia_clear_faults(Harness* harness) { harness->storage().clear_faults(); }
void celosia_watch(Harness* harness, uint64_t address) { harness->storage().watch(address); }
void celosia_clear_watches(Harness* harness) { harness->storage().clear_watches(); }
uint64_t celosia_watched(Harness* harness, uint64_t address) { return harness->storage().watched(address); }

int celosia_write(Harness* harness, uint32_t address, uint32_t data, unsigned* response) {
    return static_cast<int>(harness->lite_write(address, data, *response));
}
int celosia_read(Harness* harness, uint32_t address, uint32_t* data, unsigned* response) {
    return static_cast<int>(harness->lite_read(address, *data, *response));
}
int celosia_run(Harness* harness, uint64_t cycles) { return static_cast<int>(harness->run(cycles)); }
uint64_t celosia_cycle(Harness* harness) { return harness->cycle(); }
const char* celosia_message(Harness* harness) { return harness->message().c_str(); }

void celosia_record(Harness* harness, int on) { harness->record(on != 0); }
uint64_t celosia_replay(Harness* harness) { return harness->replay(); }

int celosia_trace_begin(Harness* harness, const char* path) { return harness->trace_begin(path) ? 1 : 0; }
void celosia_trace_end(Harness* harness) { harness->trace_end(); }
unsigned celosia_peek(Harness* harness, const char* scope, const char* name, uint64_t row, uint8_t* to, unsigned room) {
    return harness->peek(scope, name, row, to, room);
}

int celosia_tap(Harness* harness, const char* scope, const char* name, unsigned delay) {
    return harness->tap(scope, name, delay);
}
unsigned celosia_tap_signal(Harness* harness, int tap, const char* scope, const char* name) {
    return harness->tap_signal(tap, scope, name);
}
const uint8_t* celosia_tapped(Harness* harness, int tap, uint64_t* bytes) {
    const auto& rows = harness->tapped(tap).rows();
    *bytes = rows.size();
    return rows.data();
}
void celosia_clear_tap(Harness* harness, int tap) { harness->tapped(tap).clear(); }

}  // extern "C"
