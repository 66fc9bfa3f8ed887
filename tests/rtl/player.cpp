// Plays inputs into a verilated module, a record a cycle, and writes what its outputs are.
//
//   player < inputs > outputs
//
// A record holds every port in the order of `ports.h`, each in the bytes of Verilator's own
// type: 1, 2, 4 or 8, or words of 4. Outputs are those before the cycle's edge.
#include <cstdio>
#include <cstring>
#include <vector>

#include "Vunit.h"
#include "ports.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main() {
  static Vunit unit;
  std::vector<char> given, got;
#define ADD_INPUT(port) given.resize(given.size() + sizeof unit.port);
  INPUTS(ADD_INPUT)
#define ADD_OUTPUT(port) got.resize(got.size() + sizeof unit.port);
  OUTPUTS(ADD_OUTPUT)
  unit.clk = 0;
  while (std::fread(given.data(), given.size(), 1, stdin) == 1) {
    const char* from = given.data();
#define SET(port) std::memcpy(&unit.port, from, sizeof unit.port), from += sizeof unit.port;
    INPUTS(SET)
    unit.eval();
    char* to = got.data();
#define GET(port) std::memcpy(to, &unit.port, sizeof unit.port), to += sizeof unit.port;
    OUTPUTS(GET)
    std::fwrite(got.data(), got.size(), 1, stdout);
    unit.clk = 1;
    unit.eval();
    unit.clk = 0;
  }
}
