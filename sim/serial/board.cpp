// A verilated board with a clock, a button, a serial port and LEDs: what celosia.sim.serial.board
// binds with ctypes. Bytes wait in queues on both sides of the wires.
#include <cstdint>
#include <deque>
#include <memory>

#include "verilated.h"
#include "Vdut.h"

namespace {

struct Board {
    explicit Board(unsigned divisor) : divisor(divisor), dut(&context) {
        dut.uart_rx = 1;
        dut.button = 0;
        dut.clk = 0;
    }
    // Scopes take themselves out of the thread's context, which may be another model's, long gone.
    ~Board() { Verilated::threadContextp(&context); }

    void cycle() {
        drive();
        dut.clk = 0;
        dut.eval();
        dut.clk = 1;
        dut.eval();
        listen();
    }

    // One bit at a time: start, eight bits from the lowest, stop.
    void drive() {
        if (send_timer) {
            --send_timer;
            return;
        }
        if (send_bits == 0 && !to_board.empty()) {
            sending = 0x200u | unsigned(to_board.front()) << 1;
            to_board.pop_front();
            send_bits = 10;
        }
        if (send_bits) {
            dut.uart_rx = sending & 1;
            sending >>= 1;
            --send_bits;
            send_timer = divisor - 1;
        }
    }

    void listen() {
        if (take_timer) {
            --take_timer;
        } else if (take_bits == 0) {
            if (!dut.uart_tx) {
                take_bits = 9;
                take_timer = divisor + divisor / 2 - 1;
                taking = 0;
            }
        } else if (--take_bits) {
            taking = taking >> 1 | (dut.uart_tx ? 0x80u : 0u);
            take_timer = divisor - 1;
        } else {
            from_board.push_back(uint8_t(taking));  // in the middle of the stop bit
        }
    }

    unsigned divisor;
    VerilatedContext context;
    Vdut dut;
    std::deque<uint8_t> to_board, from_board;
    unsigned sending = 0, send_bits = 0, send_timer = 0;
    unsigned taking = 0, take_bits = 0, take_timer = 0;
};

}  // namespace

extern "C" {

Board* board_new(unsigned divisor) { return new Board(divisor); }
void board_delete(Board* board) { delete board; }
void board_send(Board* board, const uint8_t* bytes, uint64_t size) {
    board->to_board.insert(board->to_board.end(), bytes, bytes + size);
}
uint64_t board_receive(Board* board, uint8_t* bytes, uint64_t room) {
    uint64_t size = 0;
    while (size < room && !board->from_board.empty()) {
        bytes[size++] = board->from_board.front();
        board->from_board.pop_front();
    }
    return size;
}
void board_drop(Board* board) { board->to_board.clear(); }
void board_run(Board* board, uint64_t cycles) {
    while (cycles--) board->cycle();
}
void board_press(Board* board, int pressed) { board->dut.button = pressed; }
unsigned board_leds(Board* board) { return board->dut.led; }

}
