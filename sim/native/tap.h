// Rows of signals inside the engine, as they are in the cycles that a signal marks.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace celosia {

class Tap {
public:
    Tap(const uint8_t* when, unsigned delay) : when_(when), delay_(delay) {}

    void add(const uint8_t* data, unsigned bytes) {
        signals_.push_back({data, bytes});
        row_bytes_ += bytes;
    }
    void clear() { rows_.clear(); }
    const std::vector<uint8_t>& rows() const { return rows_; }

    // The settled signals of `cycle`: its number, then each signal, the lowest byte first.
    void take(uint64_t cycle) {
        history_ = history_ << 1 | (*when_ & 1);
        if (!(history_ >> delay_ & 1)) return;
        const size_t end = rows_.size();
        rows_.resize(end + row_bytes_);
        uint8_t* to = rows_.data() + end;
        std::memcpy(to, &cycle, sizeof cycle);
        to += sizeof cycle;
        for (const Signal& signal : signals_) {
            std::memcpy(to, signal.data, signal.bytes);
            to += signal.bytes;
        }
    }

private:
    struct Signal {
        const uint8_t* data;
        unsigned bytes;
    };
    const uint8_t* when_;
    unsigned delay_;
    uint64_t history_ = 0;
    size_t row_bytes_ = sizeof(uint64_t);
    std::vector<Signal> signals_;
    std::vector<uint8_t> rows_;
};

}  // namespace celosia
