// Drives a precision-scalable unit with vectors and compares every sum with plain integers.
//
//   vectors LANES SEED MODE COUNT < passes
//
// MODE "all" takes every pair of operands of every pair of widths up to COUNT bits, signed and
// not: each lane runs through all of them, in an order of its own. MODE "random" takes COUNT words
// for each pair of widths up to 16, a few of one precision after the other, MODE "stalls" the
// same with a sender and a receiver that pause. MODE "bits" takes, for each pair of widths up to
// COUNT, signed and not, every bit of a lane's weight with every bit of its activation. `passes` holds, for weight widths 1 to 16 and within
// for activation widths 1 to 16, the cycles of a word: unless stalled each word must take exactly
// as many. Prints the words and the cycles, or what differs.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <numeric>
#include <string>
#include <vector>

#include "Vunit.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {

struct Precision {
  int weights, activations;
  bool weights_signed, activations_signed;
};

struct Random {
  uint64_t state;
  uint64_t operator()() {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  }
};

int64_t value(uint32_t code, int bits, bool is_signed) {
  return is_signed && code >> (bits - 1) ? int64_t(code) - (int64_t(1) << bits) : code;
}

class Bench {
 public:
  Bench(int lanes, uint64_t seed, bool stalls)
      : lanes_(lanes), stalls_(stalls), random_{seed * 0x9e3779b97f4a7c15 | 1} {
    for (int& n : passes_)
      if (std::scanf("%d", &n) != 1) std::exit(2);
    unit_.rst = 0;
    unit_.i_valid = 0;
    unit_.o_ready = 1;
    tick();
  }

  Random& random() { return random_; }

  // Hand over a word: code n of a lane holds the weight in its low half.
  void word(const Precision& p, const std::vector<uint32_t>& weights,
            const std::vector<uint32_t>& activations) {
    int64_t sum = 0;
    for (int n = 0; n < lanes_; ++n) {
      const int64_t w = value(weights[n], p.weights, p.weights_signed);
      const int64_t a = value(activations[n], p.activations, p.activations_signed);
      sum += w * a;
      put(n, w);
      put(lanes_ + n, a);
    }
    unit_.i_payload[lanes_] = p.weights | p.activations << 5 | p.weights_signed << 10 |
                              p.activations_signed << 11;
    while (stalls_ && random_() % 3 == 0) tick();
    unit_.i_valid = 1;
    for (;;) {
      unit_.eval();
      const bool taken = unit_.i_ready;
      if (taken) expected_.push_back(sum);
      tick();
      if (taken) break;
    }
    unit_.i_valid = 0;
    // The word before takes its passes; this one is taken in the cycle of the last.
    if (!stalls_ && words_ && cycle_ - taken_ != last_passes_) {
      std::printf("word %ld was taken %ld cycles after the one before, not %ld\n", words_,
                  cycle_ - taken_, last_passes_);
      std::exit(1);
    }
    taken_ = cycle_;
    last_passes_ = passes_[16 * (p.weights - 1) + p.activations - 1];
    total_ += last_passes_;
    ++words_;
  }

  void finish() {
    for (int n = 0; n < 4000 && !expected_.empty(); ++n) tick();
    if (!expected_.empty()) {
      std::printf("%zu sums never came\n", expected_.size());
      std::exit(1);
    }
    std::printf("%ld words %ld cycles\n", words_, total_);
  }

 private:
  void put(int n, int64_t operand) {
    uint32_t& slot = unit_.i_payload[n / 2];
    const int shift = n % 2 * 16;
    slot = (slot & ~(0xffffu << shift)) | (uint32_t(operand) & 0xffff) << shift;
  }

  void tick() {
    unit_.o_ready = !stalls_ || random_() % 8 == 0;
    unit_.clk = 0;
    unit_.eval();
    if (unit_.o_valid && unit_.o_ready) {
      const int64_t got = int64_t(uint64_t(unit_.o_payload) << 24) >> 24;
      if (expected_.empty() || expected_.front() != got) {
        std::printf("sum %ld: expected %ld, got %ld\n", sums_,
                    expected_.empty() ? 0 : long(expected_.front()), long(got));
        std::exit(1);
      }
      expected_.pop_front();
      ++sums_;
    }
    unit_.clk = 1;
    unit_.eval();
    ++cycle_;
  }

  Vunit unit_;
  int lanes_;
  bool stalls_;
  Random random_;
  int passes_[256];
  std::deque<int64_t> expected_;
  long cycle_ = 0, taken_ = 0, last_passes_ = 0, words_ = 0, sums_ = 0, total_ = 0;
};

void all(Bench& bench, int lanes, int widest) {
  std::vector<uint32_t> weights(lanes), activations(lanes);
  for (int w = 1; w <= widest; ++w)
    for (int a = 1; a <= widest; ++a) {
      const uint32_t pairs = 1u << (w + a);
      std::vector<std::vector<uint32_t>> orders(lanes, std::vector<uint32_t>(pairs));
      for (auto& order : orders) {
        std::iota(order.begin(), order.end(), 0);
        for (uint32_t n = pairs - 1; n; --n) std::swap(order[n], order[bench.random()() % (n + 1)]);
      }
      for (int signs = 0; signs < 4; ++signs)
        for (uint32_t n = 0; n < pairs; ++n) {
          for (int lane = 0; lane < lanes; ++lane) {
            weights[lane] = orders[lane][n] & ((1u << w) - 1);
            activations[lane] = orders[lane][n] >> w;
          }
          bench.word({w, a, bool(signs & 1), bool(signs & 2)}, weights, activations);
        }
    }
}

void bits(Bench& bench, int lanes, int widest) {
  std::vector<uint32_t> weights(lanes), activations(lanes);
  for (int w = 1; w <= widest; ++w)
    for (int a = 1; a <= widest; ++a)
      for (int signs = 0; signs < 4; ++signs)
        for (int lane = 0; lane < lanes; ++lane) {
          for (int pair = 0; pair < w * a; ++pair) {
            weights[lane] = 1u << pair % w;
            activations[lane] = 1u << pair / w;
            bench.word({w, a, bool(signs & 1), bool(signs & 2)}, weights, activations);
          }
          weights[lane] = activations[lane] = 0;
        }
}

void random(Bench& bench, int lanes, long count) {
  const long run = 4;
  std::vector<uint32_t> weights(lanes), activations(lanes);
  std::vector<int> pairs(256);
  std::iota(pairs.begin(), pairs.end(), 0);
  for (long done = 0; done < count; done += run) {
    for (int n = 255; n; --n) std::swap(pairs[n], pairs[bench.random()() % (n + 1)]);
    for (const int pair : pairs) {
      const uint64_t signs = bench.random()();
      const Precision p{pair / 16 + 1, pair % 16 + 1, bool(signs & 1), bool(signs & 2)};
      for (long n = 0; n < run; ++n) {
        // Now and then all lanes at an extreme: the widest sums.
        const bool extreme = bench.random()() % 16 == 0;
        const uint64_t both = bench.random()();
        for (int lane = 0; lane < lanes; ++lane) {
          const uint64_t codes = bench.random()();
          const uint32_t top_w = 1u << (p.weights - 1), top_a = 1u << (p.activations - 1);
          weights[lane] = extreme ? (both & 1 ? top_w : top_w - 1) : codes & (2 * top_w - 1);
          activations[lane] =
              extreme ? (both & 2 ? top_a : 2 * top_a - 1) : codes >> 32 & (2 * top_a - 1);
        }
        bench.word(p, weights, activations);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int lanes = std::atoi(argv[1]);
  const std::string mode = argv[3];
  static Bench bench(lanes, std::strtoull(argv[2], nullptr, 10), mode == "stalls");
  if (mode == "all")
    all(bench, lanes, std::atoi(argv[4]));
  else if (mode == "bits")
    bits(bench, lanes, std::atoi(argv[4]));
  else
    random(bench, lanes, std::atol(argv[4]));
  bench.finish();
}
