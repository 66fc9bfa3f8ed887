// One memory port of a verilated engine, m_axi_gmem0 or one of several, with the memory behind it.
//
// Compiled once for each engine: how many ports there are is what its class says.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#include "memory.h"
#include "protocol.h"

namespace celosia {

template <typename Top>
constexpr unsigned count_ports() {
    if constexpr (requires(Top& top) { top.m_axi_gmem3_arvalid; }) return 4;
    else if constexpr (requires(Top& top) { top.m_axi_gmem1_arvalid; }) return 2;
    else return 1;
}

#define CELOSIA_SIGNALS(X)                                                                    \
    X(arvalid) X(arready) X(araddr) X(arlen) X(arsize) X(arburst) X(arid)                     \
    X(rvalid) X(rready) X(rlast) X(rresp) X(rid) X(rdata)                                     \
    X(awvalid) X(awready) X(awaddr) X(awlen) X(awsize) X(awburst) X(awid)                     \
    X(wvalid) X(wready) X(wlast) X(wstrb) X(wdata) X(bvalid) X(bready) X(bresp) X(bid)

// The signals of one port.
template <typename Top>
struct Signals {
#define X(name) std::remove_reference_t<decltype(std::declval<Top&>().m_axi_gmem0_##name)>* name;
    CELOSIA_SIGNALS(X)
#undef X
};

template <unsigned Index, typename Top>
Signals<Top> bind_port(Top& top) {
#define X0(name) &top.m_axi_gmem0_##name,
#define X1(name) &top.m_axi_gmem1_##name,
#define X2(name) &top.m_axi_gmem2_##name,
#define X3(name) &top.m_axi_gmem3_##name,
    if constexpr (Index == 0) return {CELOSIA_SIGNALS(X0)};
    else if constexpr (Index == 1) return {CELOSIA_SIGNALS(X1)};
    else if constexpr (Index == 2) return {CELOSIA_SIGNALS(X2)};
    else return {CELOSIA_SIGNALS(X3)};
#undef X0
#undef X1
#undef X2
#undef X3
}

template <typename Top>
class Port {
public:
    using Storage = Stripes<count_ports<Top>()>;
    static constexpr unsigned BYTES = sizeof(*std::declval<Signals<Top>>().rdata);

    // What the memory shows the engine in one cycle.
    struct Inputs {
        uint8_t data[BYTES];
        uint8_t arready, rvalid, rlast, rresp, awready, wready, bvalid, bresp;
        uint32_t rid, bid;
    };

    void attach(unsigned index, const Signals<Top>& signals, Storage& storage) {
        index_ = index;
        signals_ = signals;
        storage_ = &storage;
    }
    const Inputs& inputs() const { return inputs_; }
    void limit(unsigned beats) {
        read_rules_.limit(beats);
        write_rules_.limit(beats);
    }
    void start(const MemoryTiming& timing) {
        reads_.start(timing, BYTES);
        writes_.start(timing, BYTES);
    }
    void reset() {
        read_rules_.reset();
        write_rules_.reset();
        data_rules_.reset();
    }
    void offer(uint64_t cycle) {
        Inputs& in = inputs_;
        in.arready = reads_.address_ready();
        const bool held = in.rvalid && !data_moved_;
        in.rvalid = reads_.data_valid(cycle);
        if (in.rvalid && !held) {
            in.rlast = reads_.data_last();
            in.rid = reads_.id();
            in.rresp = storage_->read(index_, reads_.data_address(), BYTES, in.data);
        }
        in.awready = writes_.address_ready();
        in.wready = writes_.data_ready(cycle);
        in.bvalid = writes_.response_valid(cycle);
        if (in.bvalid) {
            in.bid = writes_.response_id();
            in.bresp = writes_.response();
        }
        apply(in);
    }
    void apply(const Inputs& in) {
        *signals_.arready = in.arready;
        *signals_.rvalid = in.rvalid;
        *signals_.rlast = in.rlast;
        *signals_.rresp = in.rresp;
        *signals_.rid = in.rid;
        std::memcpy(signals_.rdata, in.data, BYTES);
        *signals_.awready = in.awready;
        *signals_.wready = in.wready;
        *signals_.bvalid = in.bvalid;
        *signals_.bresp = in.bresp;
        *signals_.bid = in.bid;
    }
    // Moves the memory on by what was handshaken; returns the rule that was broken, or nothing.
    std::string take(uint64_t cycle) {
        std::string broken = take_reads(cycle);
        const std::string other = take_writes(cycle);
        if (broken.empty()) broken = other;
        if (broken.empty()) return broken;
        return "m_axi_gmem" + std::to_string(index_) + ", cycle " + std::to_string(cycle) + ", " + broken;
    }

private:
    std::string take_reads(uint64_t cycle) {
        std::string broken;
        const AddressBeat ar{bool(*signals_.arvalid), bool(inputs_.arready), *signals_.araddr, *signals_.arlen,
                             *signals_.arsize, *signals_.arburst, *signals_.arid};
        if (ar.valid || read_rules_.waiting()) broken = read_rules_.check(ar);
        data_moved_ = inputs_.rvalid && *signals_.rready;
        if (data_moved_) reads_.transfer_data();
        if (ar.valid && ar.ready) reads_.accept_address({ar.address, ar.length + 1, ar.id}, cycle);
        return broken;
    }
    std::string take_writes(uint64_t cycle) {
        std::string broken;
        const AddressBeat aw{bool(*signals_.awvalid), bool(inputs_.awready), *signals_.awaddr, *signals_.awlen,
                             *signals_.awsize, *signals_.awburst, *signals_.awid};
        if (aw.valid || write_rules_.waiting()) broken = write_rules_.check(aw);
        const bool valid = *signals_.wvalid;
        if (valid || data_rules_.waiting()) {
            const bool last = writes_.data_expected() && writes_.data_last();
            const std::string data = data_rules_.check(valid, inputs_.wready, *signals_.wlast, *signals_.wstrb,
                                                       signals_.wdata, last);
            if (broken.empty()) broken = data;
        }
        if (inputs_.bvalid && *signals_.bready) writes_.transfer_response();
        if (valid && inputs_.wready) {
            const uint8_t* const data = reinterpret_cast<const uint8_t*>(signals_.wdata);
            writes_.transfer_data(cycle, storage_->write(index_, writes_.data_address(), BYTES, *signals_.wstrb,
                                                         data, cycle));
        }
        if (aw.valid && aw.ready) writes_.accept_address({aw.address, aw.length + 1, aw.id});
        return broken;
    }

    unsigned index_ = 0;
    Signals<Top> signals_{};
    Storage* storage_ = nullptr;
    ReadChannel reads_;
    WriteChannel writes_;
    AddressRules read_rules_{"AR", BYTES};
    AddressRules write_rules_{"AW", BYTES};
    WriteDataRules<BYTES> data_rules_;
    Inputs inputs_{};
    bool data_moved_ = false;
};

}  // namespace celosia
