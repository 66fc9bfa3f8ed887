// The AXI4 rules that a master must keep on its address and data channels.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace celosia {

// What a master shows on one address channel in one cycle.
struct AddressBeat {
    bool valid;
    bool ready;
    uint64_t address;
    unsigned length;  // as on the wire: beats - 1
    unsigned size;
    unsigned burst;
    unsigned id;

    bool same_payload(const AddressBeat& other) const {
        return address == other.address && length == other.length && size == other.size &&
               burst == other.burst && id == other.id;
    }
};

class AddressRules {
public:
    AddressRules(const char* channel, unsigned beat_bytes) : channel_(channel), beat_bytes_(beat_bytes) {}

    void limit(unsigned burst_beats) { burst_beats_ = burst_beats; }
    void reset() { before_ = {}; }
    // Whether a burst was shown and not taken: check() must see the coming cycle.
    bool waiting() const { return before_.valid && !before_.ready; }

    // The broken rule, or nothing.
    std::string check(const AddressBeat& now) {
        const AddressBeat before = before_;
        before_ = now;
        if (before.valid && !before.ready) {
            if (!now.valid) return text("valid fell before ready", before);
            if (!now.same_payload(before)) return text("the payload changed before ready", before);
            return {};
        }
        if (!now.valid) return {};
        const uint64_t bytes = uint64_t(now.length + 1) * beat_bytes_;
        if (now.burst != 1) return text("the burst type is not INCR", now);
        if ((uint64_t(1) << now.size) != beat_bytes_) return text("the beat size is not the bus width", now);
        if (now.address % beat_bytes_) return text("the address is not aligned to a beat", now);
        if (now.length + 1 > burst_beats_) return text("the burst is longer than the accelerator's limit", now);
        if ((now.address & 4095) + bytes > 4096) return text("the burst crosses a 4 KiB boundary", now);
        return {};
    }

private:
    std::string text(const char* rule, const AddressBeat& beat) const {
        char line[200];
        std::snprintf(line, sizeof line, "%s: %s (address 0x%llx, %u beats, size %u, type %u, id %u)", channel_, rule,
                      static_cast<unsigned long long>(beat.address), beat.length + 1, beat.size, beat.burst, beat.id);
        return line;
    }
    const char* channel_;
    unsigned beat_bytes_;
    unsigned burst_beats_ = 256;
    AddressBeat before_{};
};

template <unsigned Bytes>
class WriteDataRules {
public:
    void reset() { waiting_ = false; }
    bool waiting() const { return waiting_; }

    // `last_expected` is meaningful where `burst_known`: the address of the burst was accepted.
    std::string check(bool valid, bool ready, bool last, uint64_t strobes, const void* data, bool last_expected) {
        if (waiting_) {
            if (!valid) return "W: valid fell before ready";
            if (last != last_ || strobes != strobes_ || std::memcmp(data, data_, Bytes) != 0)
                return "W: the payload changed before ready";
        }
        if (valid && ready && last != last_expected)
            return last ? "W: WLAST before the last beat of the burst" : "W: no WLAST on the last beat of the burst";
        waiting_ = valid && !ready;
        if (waiting_) {
            last_ = last;
            strobes_ = strobes;
            std::memcpy(data_, data, Bytes);
        }
        return {};
    }

private:
    bool waiting_ = false;
    bool last_ = false;
    uint64_t strobes_ = 0;
    uint8_t data_[Bytes];
};

}  // namespace celosia
