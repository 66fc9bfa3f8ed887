// The memory behind the ports: data, timing, error injection and write watches.
//
// Timing is that of docs/architecture.md, section "Memory model". A cycle has two steps: the
// offers (`*_ready`, `*_valid`) are functions of the state at its beginning, then `transfer_*` and
// `accept_*` change the state with the handshakes that happened in it.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

namespace celosia {

constexpr unsigned RESPONSE_OKAY = 0;
constexpr unsigned RESPONSE_SLAVE_ERROR = 2;
constexpr unsigned RESPONSE_DECODE_ERROR = 3;

struct MemoryTiming {
    uint64_t latency = 1;
    uint64_t bytes_per_cycle = 1;
    uint64_t outstanding = 1;
};

struct Burst {
    uint64_t address;
    unsigned beats;
    unsigned id;
};

// Bytes at [base, base + size), owned by the caller.
struct Image {
    uint8_t* bytes = nullptr;
    uint64_t base = 0;
    uint64_t size = 0;

    bool holds(uint64_t address, uint64_t length) const {
        return address >= base && address - base < size && size - (address - base) >= length;
    }
};

class ReadChannel {
public:
    void start(const MemoryTiming& timing, unsigned beat_bytes) {
        timing_ = timing;
        beat_bytes_ = beat_bytes;
        bursts_.clear();
        free_ = beats_done_ = 0;
    }
    bool address_ready() const { return bursts_.size() < timing_.outstanding; }
    bool data_valid(uint64_t cycle) const {
        return !bursts_.empty() && cycle * timing_.bytes_per_cycle >= next_;
    }
    bool data_last() const { return beats_done_ + 1 == bursts_.front().burst.beats; }
    unsigned id() const { return bursts_.front().burst.id; }
    uint64_t data_address() const {
        return bursts_.front().burst.address + uint64_t(beats_done_) * beat_bytes_;
    }
    // Data first: a burst accepted in this cycle is not the one whose beat moved.
    void transfer_data() {
        next_ += beat_bytes_;
        if (++beats_done_ < bursts_.front().burst.beats) return;
        bursts_.pop_front();
        beats_done_ = 0;
        if (!bursts_.empty()) next_ = bursts_.front().start;
    }
    void accept_address(const Burst& burst, uint64_t cycle) {
        const uint64_t earliest = (cycle + timing_.latency) * timing_.bytes_per_cycle;
        const uint64_t start = free_ > earliest ? free_ : earliest;
        if (bursts_.empty()) next_ = start;
        bursts_.push_back({burst, start});
        free_ = start + uint64_t(burst.beats) * beat_bytes_;
    }

private:
    struct Scheduled {
        Burst burst;
        uint64_t start;  // in bytes: cycle * bytes_per_cycle
    };
    MemoryTiming timing_;
    unsigned beat_bytes_ = 1;
    std::deque<Scheduled> bursts_;
    uint64_t free_ = 0;
    uint64_t next_ = 0;
    unsigned beats_done_ = 0;
};

class WriteChannel {
public:
    void start(const MemoryTiming& timing, unsigned beat_bytes) {
        timing_ = timing;
        beat_bytes_ = beat_bytes;
        bursts_.clear();
        responses_.clear();
        free_ = beats_done_ = 0;
    }
    bool address_ready() const { return bursts_.size() + responses_.size() < timing_.outstanding; }
    bool data_expected() const { return !bursts_.empty(); }
    bool data_ready(uint64_t cycle) const {
        return !bursts_.empty() && cycle * timing_.bytes_per_cycle >= free_;
    }
    bool data_last() const { return beats_done_ + 1 == bursts_.front().burst.beats; }
    uint64_t data_address() const {
        return bursts_.front().burst.address + uint64_t(beats_done_) * beat_bytes_;
    }
    bool response_valid(uint64_t cycle) const {
        return !responses_.empty() && cycle >= responses_.front().cycle;
    }
    unsigned response_id() const { return responses_.front().id; }
    unsigned response() const { return responses_.front().response; }

    void transfer_response() { responses_.pop_front(); }
    void transfer_data(uint64_t cycle, unsigned response) {
        Pending& burst = bursts_.front();
        if (response != RESPONSE_OKAY) burst.response = response;
        // A beat that waited for the bandwidth uses it from where the one before left it.
        const bool waited = cycle == 0 || (cycle - 1) * timing_.bytes_per_cycle < free_;
        free_ = (waited ? free_ : cycle * timing_.bytes_per_cycle) + beat_bytes_;
        if (++beats_done_ < burst.burst.beats) return;
        responses_.push_back({cycle + timing_.latency, burst.burst.id, burst.response});
        bursts_.pop_front();
        beats_done_ = 0;
    }
    void accept_address(const Burst& burst) { bursts_.push_back({burst, RESPONSE_OKAY}); }

private:
    struct Pending {
        Burst burst;
        unsigned response;
    };
    struct Response {
        uint64_t cycle;
        unsigned id;
        unsigned response;
    };
    MemoryTiming timing_;
    unsigned beat_bytes_ = 1;
    std::deque<Pending> bursts_;
    std::deque<Response> responses_;
    uint64_t free_ = 0;
    unsigned beats_done_ = 0;
};

// The bytes, the addresses that answer with an error, and the addresses that are watched.
//
// All these are addresses of the engine. With several ports its memory is striped: what a port
// calls `address` is that of a slice behind it, see celosia.dataflow.stripes.
template <unsigned Ports>
class Stripes {
public:
    void attach(const Image& image) { image_ = image; }
    // Where the stripe of a port begins.
    void place(unsigned port, uint64_t base) { bases_[port] = base; }
    void inject(uint64_t address) { faults_.push_back(address); }
    void clear_faults() { faults_.clear(); }
    void watch(uint64_t address) { watches_[address] = 0; }
    void clear_watches() { watches_.clear(); }
    // Cycle of the last write to a watched address, plus one; 0 if there was none.
    uint64_t watched(uint64_t address) const {
        const auto found = watches_.find(address);
        return found == watches_.end() ? 0 : found->second;
    }
    unsigned read(unsigned port, uint64_t slice, unsigned bytes, uint8_t* to) const {
        const uint64_t address = whole(port, slice, bytes);
        if (!image_.holds(address, bytes)) {
            std::memset(to, 0, bytes);
            return RESPONSE_DECODE_ERROR;
        }
        std::memcpy(to, image_.bytes + (address - image_.base), bytes);
        return fault(address, bytes);
    }
    unsigned write(unsigned port, uint64_t slice, unsigned bytes, uint64_t strobes, const uint8_t* from,
                   uint64_t cycle) {
        const uint64_t address = whole(port, slice, bytes);
        if (!image_.holds(address, bytes)) return RESPONSE_DECODE_ERROR;
        const unsigned response = fault(address, bytes);
        if (response != RESPONSE_OKAY) return response;
        uint8_t* const to = image_.bytes + (address - image_.base);
        const uint64_t all = bytes == 64 ? ~uint64_t(0) : (uint64_t(1) << bytes) - 1;
        if ((strobes & all) == all) {
            std::memcpy(to, from, bytes);
        } else {
            for (unsigned i = 0; i < bytes; ++i)
                if (strobes >> i & 1) to[i] = from[i];
        }
        for (auto& [watched, last] : watches_)
            if (watched - address < bytes && (strobes >> (watched - address) & 1)) last = cycle + 1;
        return RESPONSE_OKAY;
    }

private:
    // The engine's address of a slice; below a stripe there is none.
    uint64_t whole(unsigned port, uint64_t slice, unsigned bytes) const {
        if constexpr (Ports == 1) return slice;
        if (slice < bases_[port]) return ~uint64_t(0);
        return (slice - bases_[port]) * Ports + uint64_t(port) * bytes;
    }
    unsigned fault(uint64_t address, unsigned bytes) const {
        for (const uint64_t faulty : faults_)
            if (faulty - address < bytes) return RESPONSE_SLAVE_ERROR;
        return RESPONSE_OKAY;
    }
    Image image_;
    std::array<uint64_t, Ports> bases_{};
    std::vector<uint64_t> faults_;
    std::unordered_map<uint64_t, uint64_t> watches_;
};

}  // namespace celosia
