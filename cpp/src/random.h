// Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011): value i of a stream depends on (seed, offset, i)
// only.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "cnnx/tensor.h"

namespace cnnx {

struct Philox {
  uint64_t seed = 0;
  uint64_t offset = 0;               // the stream
  const uint64_t* origin = nullptr;  // of a captured stream: seed and first stream of the run, in device memory

  /// For kernels: what this is in the run under way.
  constexpr Philox resolved() const { return origin ? Philox{origin[0], origin[1] + offset} : *this; }

  static constexpr int kRounds = 10;

  /// The keys of a round.
  struct Keys {
    constexpr explicit Keys(uint64_t seed)
        : low(static_cast<uint32_t>(seed)), high(static_cast<uint32_t>(seed >> 32)) {}
    constexpr void advance() {
      low += 0x9E3779B9;
      high += 0xBB67AE85;
    }
    uint32_t low, high;
  };

  /// One round on the four words of a counter.
  static constexpr void mix(const Keys& keys, uint32_t& a, uint32_t& b, uint32_t& c, uint32_t& d) {
    const uint64_t p = uint64_t{0xD2511F53} * a, q = uint64_t{0xCD9E8D57} * c;
    a = static_cast<uint32_t>(q >> 32) ^ b ^ keys.low;
    b = static_cast<uint32_t>(q);
    c = static_cast<uint32_t>(p >> 32) ^ d ^ keys.high;
    d = static_cast<uint32_t>(p);
  }

  /// The 128 random bits of one counter.
  constexpr std::array<uint32_t, 4> operator()(uint64_t counter) const {
    std::array<uint32_t, 4> x{static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                              static_cast<uint32_t>(offset), static_cast<uint32_t>(offset >> 32)};
    Keys keys(seed);
    for (int round = 0; round < kRounds; ++round, keys.advance()) mix(keys, x[0], x[1], x[2], x[3]);
    return x;
  }
};

/// A fresh stream, for values on a device, of the global generator; or of the tape that is in use on this thread.
Philox next_stream(Device device);
/// The first of so many fresh streams of the global generator.
Philox next_streams(uint64_t count);

/// The streams that a piece of work draws, kept to draw the same again.
class StreamTape {
 public:
  Philox record(const Philox& stream);
  /// Raises std::runtime_error behind the last one.
  Philox replay();
  void rewind() { next_ = 0; }

 private:
  std::vector<Philox> streams_;
  size_t next_ = 0;
};

/// While one lives, this thread's streams are kept on a tape, or come from it.
class StreamTapeGuard {
 public:
  enum class Mode : unsigned char { kRecord, kReplay };
  StreamTapeGuard(StreamTape& tape, Mode mode);
  ~StreamTapeGuard();
  StreamTapeGuard(const StreamTapeGuard&) = delete;
  StreamTapeGuard& operator=(const StreamTapeGuard&) = delete;
  Philox next(Device device);

 private:
  StreamTape& tape_;
  Mode mode_;
  StreamTapeGuard* outer_;
};

/// Fill a floating tensor in place with values of a fresh stream.
void fill_uniform(Tensor& x, double low, double high);
void fill_normal(Tensor& x, double mean, double std);

/// Uniform in [0, 1) from 32 bits: 24 bits of them, so that float32 holds it exactly.
constexpr float uniform01(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

}  // namespace cnnx
