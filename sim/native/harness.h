// One verilated engine with its memory: a clock, AXI4-Lite accesses, a run loop, a recorder, taps.
//
// A cycle: the inputs are set, the model settles with aclk low, the handshakes are sampled and
// the memory moves on, then aclk rises. Compiled once for each engine; `Vdut` is its name.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "Vdut.h"
#include "memory.h"
#include "port.h"
#include "tap.h"
#include "verilated.h"
#ifdef CELOSIA_TRACE
#include "verilated_fst_c.h"
#endif
#include "verilated_syms.h"

namespace celosia {

enum class Outcome : int { INTERRUPT = 0, CYCLES = 1, VIOLATION = 2 };

class Harness {
public:
    static constexpr unsigned PORTS = count_ports<Vdut>();
    static constexpr unsigned PORT_BYTES = Port<Vdut>::BYTES;
    static constexpr unsigned LITE_PATIENCE = 4096;  // cycles to wait for the register file
    static constexpr unsigned RESET_CYCLES = 2;  // the least: units follow the shell by one

    Harness() : context_(std::make_unique<VerilatedContext>()) {
#ifdef CELOSIA_TRACE
        context_->traceEverOn(true);
#endif
        top_ = std::make_unique<Vdut>(context_.get(), "engine");
        bind(std::make_integer_sequence<unsigned, PORTS>());
        reset();
    }
    ~Harness() {
        trace_end();
        top_->final();
        // Scopes take themselves out of the thread's context, which may be another model's, long gone.
        Verilated::threadContextp(context_.get());
    }
    Harness(const Harness&) = delete;
    Harness& operator=(const Harness&) = delete;

    Port<Vdut>::Storage& storage() { return storage_; }
    uint64_t cycle() const { return cycle_; }
    const std::string& message() const { return message_; }
    void limit_bursts(unsigned beats) {
        for (auto& port : ports_) port.limit(beats);
    }
    // Sets the memory's timing and forgets every burst.
    void start_memory(const MemoryTiming& timing) {
        timing_ = timing;
        for (auto& port : ports_) port.start(timing_);
    }
    void reset() {
        message_.clear();
        interrupt_ = false;
        idle_inputs();
        top_->aresetn = 0;
        start_memory(timing_);
        for (unsigned i = 0; i < RESET_CYCLES; ++i) tick();
        top_->aresetn = 1;
        for (auto& port : ports_) port.reset();
        tick();
    }
    Outcome run(uint64_t cycles) {
        for (uint64_t end = cycle_ + cycles; cycle_ < end;) {
            tick();
            if (!message_.empty()) return Outcome::VIOLATION;
            if (interrupt_) return Outcome::INTERRUPT;
        }
        return Outcome::CYCLES;
    }
    Outcome lite_write(uint32_t address, uint32_t data, unsigned& response) {
        top_->s_axi_ctrl_awaddr = address;
        top_->s_axi_ctrl_wdata = data;
        top_->s_axi_ctrl_wstrb = 0xf;
        top_->s_axi_ctrl_awvalid = top_->s_axi_ctrl_wvalid = top_->s_axi_ctrl_bready = 1;
        bool done = false;
        for (unsigned i = 0; i < LITE_PATIENCE && !done; ++i) {
            tick();
            if (lite_.aw) top_->s_axi_ctrl_awvalid = 0;
            if (lite_.w) top_->s_axi_ctrl_wvalid = 0;
            done = lite_.b;
        }
        response = lite_.bresp;
        return lite_end(done, "write", address);
    }
    Outcome lite_read(uint32_t address, uint32_t& data, unsigned& response) {
        top_->s_axi_ctrl_araddr = address;
        top_->s_axi_ctrl_arvalid = top_->s_axi_ctrl_rready = 1;
        bool done = false;
        for (unsigned i = 0; i < LITE_PATIENCE && !done; ++i) {
            tick();
            if (lite_.ar) top_->s_axi_ctrl_arvalid = 0;
            done = lite_.r;
        }
        data = lite_.rdata;
        response = lite_.rresp;
        return lite_end(done, "read", address);
    }
    // Keeps all inputs of every coming cycle, for replay().
    void record(bool on) {
        recording_ = on;
        if (on) recorded_.clear();
    }
    // The model alone: applies the recorded inputs and evaluates, no memory and no checks.
    uint64_t replay() {
        for (const Recorded& inputs : recorded_) {
            for (unsigned i = 0; i < PORTS; ++i) ports_[i].apply(inputs.memory[i]);
            apply(inputs.control);
            top_->aclk = 0;
            top_->eval();
            top_->aclk = 1;
            top_->eval();
        }
        cycle_ += recorded_.size();
        return recorded_.size();
    }
    bool trace_begin(const char* path) {
#ifdef CELOSIA_TRACE
        trace_end();
        trace_ = std::make_unique<VerilatedFstC>();
        top_->trace(trace_.get(), 99);
        trace_->open(path);
        return trace_->isOpen();
#else
        (void)path;
        return false;
#endif
    }
    void trace_end() {
#ifdef CELOSIA_TRACE
        if (trace_) trace_->close();
        trace_.reset();
#endif
    }
    // Copies a row of a memory inside the engine; returns its bytes, 0 where there is none such.
    unsigned peek(const char* scope, const char* name, uint64_t row, uint8_t* to, unsigned room) {
        const VerilatedVar* const memory = find(scope, name);
        if (!memory || memory->udims() != 1 || row >= uint64_t(memory->elements(1))) return 0;
        const unsigned bytes = memory->entSize();
        if (bytes > room) return 0;
        std::memcpy(to, static_cast<const uint8_t*>(memory->datap()) + row * bytes, bytes);
        return bytes;
    }
    // Adds a tap: a row is kept `delay` cycles after each cycle in which bit 0 of a signal is 1.
    // Returns its number, -1 where there is no such signal.
    int tap(const char* scope, const char* name, unsigned delay) {
        const VerilatedVar* const when = find(scope, name);
        if (!when || delay >= 64) return -1;
        taps_.emplace_back(static_cast<const uint8_t*>(when->datap()), delay);
        return int(taps_.size()) - 1;
    }
    // Adds a signal to the rows of a tap; returns its bytes, 0 where there is no such signal.
    unsigned tap_signal(int tap, const char* scope, const char* name) {
        const VerilatedVar* const found = find(scope, name);
        if (!found || found->udims()) return 0;
        taps_[tap].add(static_cast<const uint8_t*>(found->datap()), unsigned(found->entSize()));
        return unsigned(found->entSize());
    }
    Tap& tapped(int tap) { return taps_[tap]; }

private:
    struct Control {
        uint32_t awaddr, araddr, wdata;
        uint8_t awvalid, wvalid, bready, arvalid, rready;
    };
    struct Recorded {
        std::array<Port<Vdut>::Inputs, PORTS> memory;
        Control control;
    };
    struct Lite {
        bool aw, w, b, ar, r;
        unsigned bresp, rresp;
        uint32_t rdata;
    };

    VerilatedVar* find(const char* scope, const char* name) const {
        const VerilatedScope* const found = context_->scopeFind(scope);
        return found ? found->varFind(name) : nullptr;
    }
    template <unsigned... Index>
    void bind(std::integer_sequence<unsigned, Index...>) {
        (ports_[Index].attach(Index, bind_port<Index>(*top_), storage_), ...);
    }
    void record_inputs() {
        Recorded all{{}, control()};
        for (unsigned i = 0; i < PORTS; ++i) all.memory[i] = ports_[i].inputs();
        recorded_.push_back(all);
    }
    void idle_inputs() {
        top_->aclk = 0;
        top_->s_axi_ctrl_awvalid = top_->s_axi_ctrl_wvalid = top_->s_axi_ctrl_bready = 0;
        top_->s_axi_ctrl_arvalid = top_->s_axi_ctrl_rready = 0;
    }
    Outcome lite_end(bool done, const char* what, uint32_t address) {
        top_->s_axi_ctrl_awvalid = top_->s_axi_ctrl_wvalid = top_->s_axi_ctrl_bready = 0;
        top_->s_axi_ctrl_arvalid = top_->s_axi_ctrl_rready = 0;
        if (!message_.empty()) return Outcome::VIOLATION;
        if (done) return Outcome::INTERRUPT;
        char line[100];
        std::snprintf(line, sizeof line, "s_axi_ctrl: a %s at 0x%x got no answer in %u cycles", what, address, LITE_PATIENCE);
        message_ = line;
        return Outcome::VIOLATION;
    }
    void apply(const Control& in) {
        top_->s_axi_ctrl_awaddr = in.awaddr;
        top_->s_axi_ctrl_araddr = in.araddr;
        top_->s_axi_ctrl_wdata = in.wdata;
        top_->s_axi_ctrl_awvalid = in.awvalid;
        top_->s_axi_ctrl_wvalid = in.wvalid;
        top_->s_axi_ctrl_bready = in.bready;
        top_->s_axi_ctrl_arvalid = in.arvalid;
        top_->s_axi_ctrl_rready = in.rready;
    }
    Control control() const {
        return {top_->s_axi_ctrl_awaddr, top_->s_axi_ctrl_araddr, top_->s_axi_ctrl_wdata,
                top_->s_axi_ctrl_awvalid, top_->s_axi_ctrl_wvalid, top_->s_axi_ctrl_bready,
                top_->s_axi_ctrl_arvalid, top_->s_axi_ctrl_rready};
    }
    void take_lite() {
        lite_.aw = top_->s_axi_ctrl_awvalid && top_->s_axi_ctrl_awready;
        lite_.w = top_->s_axi_ctrl_wvalid && top_->s_axi_ctrl_wready;
        lite_.b = top_->s_axi_ctrl_bvalid && top_->s_axi_ctrl_bready;
        lite_.ar = top_->s_axi_ctrl_arvalid && top_->s_axi_ctrl_arready;
        lite_.r = top_->s_axi_ctrl_rvalid && top_->s_axi_ctrl_rready;
        lite_.bresp = top_->s_axi_ctrl_bresp;
        lite_.rresp = top_->s_axi_ctrl_rresp;
        lite_.rdata = top_->s_axi_ctrl_rdata;
    }
    void tick() {
        for (auto& port : ports_) port.offer(cycle_);
        if (recording_) record_inputs();
        top_->aclk = 0;
        top_->eval();
        if (top_->aresetn) {
            for (auto& port : ports_) fail(port.take(cycle_));
            take_lite();
            for (auto& tap : taps_) tap.take(cycle_);
            interrupt_ = top_->__SYM__interrupt;  // Verilator keeps clear of the C++ word
        }
        dump(10 * cycle_ + 5);
        top_->aclk = 1;
        top_->eval();
        ++cycle_;
        dump(10 * cycle_);
    }
    void fail(const std::string& rule) {
        if (!rule.empty() && message_.empty()) message_ = rule;
    }
    void dump(uint64_t time) {
#ifdef CELOSIA_TRACE
        if (trace_) trace_->dump(time);
#else
        (void)time;
#endif
    }

    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vdut> top_;
#ifdef CELOSIA_TRACE
    std::unique_ptr<VerilatedFstC> trace_;
#endif
    Port<Vdut>::Storage storage_;
    MemoryTiming timing_;
    std::array<Port<Vdut>, PORTS> ports_;
    Lite lite_{};
    std::vector<Tap> taps_;
    std::vector<Recorded> recorded_;
    std::string message_;
    uint64_t cycle_ = 0;
    bool recording_ = false;
    bool interrupt_ = false;
};

}  // namespace celosia
