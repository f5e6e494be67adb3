// The imitation of Hopper's tensor cores: descriptors, the two views of shared memory, and groups of products.
//
// CNNX_CUDA_HOST_WGMMA=wrong leaves out a factor of each sum.
#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda/mma.h"
#include "wgmma_state.h"

namespace cuda_host {
namespace {

using cnnx::Precision;

constexpr uint32_t kFirstAddress = 1040;  // of dynamic shared memory
constexpr size_t kChunk = 16;             // bytes
constexpr unsigned kSums = 64, kColumns = 128, kProductChunks = 2;

struct Product {
  Precision precision;
  uint64_t a, b;
  unsigned group;
  uint64_t writes;  // of what it reads, when it was started
};

struct Thread {
  std::vector<Product> pending;
  unsigned groups = 0;  // committed
  unsigned started = 0;
  float* sums = nullptr;
  std::array<float, kSums> held;  // the sums' values while products are pending
  bool ordered = false;           // since the thread could touch its sums
  std::vector<size_t> unpublished;
};

struct Descriptors {
  uint64_t a, b;
};

/// Of one block at a time.
std::vector<Thread> threads;
std::vector<std::vector<Descriptors>> started;  // of each warpgroup
std::vector<char> published;                    // dynamic shared memory as products see it
std::vector<uint32_t> writes;                   // of each chunk

Thread& self() { return threads[threadIdx.x]; }

/// Where 16 bytes lie that a descriptor names, in chunks from the start of dynamic shared memory.
class Matrix {
 public:
  explicit Matrix(uint64_t descriptor)
      : start_(field(descriptor, 0)),
        leading_(field(descriptor, 16)),
        stride_(field(descriptor, 32)),
        swizzle_(kSwizzles[descriptor >> 62]) {
    if (descriptor >> 49 & 7) violation("a descriptor of wgmma has a base offset, which no swizzle here needs");
  }
  size_t chunk(uint32_t row, uint32_t column) const {
    uint32_t address =
        start_ + row / 8 * stride_ + row % 8 * swizzle_ + column * (swizzle_ > kChunk ? kChunk : leading_);
    address ^= (address >> 7 & (swizzle_ / kChunk - 1)) * kChunk;
    const size_t offset = address - kFirstAddress;  // wraps around below
    if (offset % kChunk == 0 && offset + kChunk <= dynamic_shared().bytes) return offset / kChunk;
    violation("a descriptor of wgmma leads out of dynamic shared memory");
    return 0;
  }

 private:
  /// Bytes of a row; none, 128, 64 and 32 bytes are swizzled.
  static constexpr uint32_t kSwizzles[] = {16, 128, 64, 32};
  static uint32_t field(uint64_t descriptor, int from) {
    return static_cast<uint32_t>(descriptor >> from & 0x3fff) * kChunk;
  }
  uint32_t start_, leading_, stride_, swizzle_;
};

/// How often was written what the calling thread's warp reads.
uint64_t count_writes(uint64_t a, uint64_t b) {
  const Matrix rows(a), columns(b);
  const unsigned first = threadIdx.x / 32 % 4 * 16;
  uint64_t sum = 0;
  for (unsigned column = 0; column < kProductChunks; ++column) {
    for (unsigned row = first; row < first + 16; ++row) sum += writes[rows.chunk(row, column)];
    for (unsigned row = 0; row < kColumns; ++row) sum += writes[columns.chunk(row, column)];
  }
  return sum;
}

constexpr unsigned kMostDepth = 16;
using Factors = std::array<float, kMostDepth>;

/// The factors of a row: as many numbers as 8 words have. Of TF32 the tensor cores read the upper 19 bits.
Factors read_row(const Matrix& matrix, unsigned row, Precision precision) {
  Factors factors{};
  for (unsigned column = 0; column < kProductChunks; ++column) {
    const char* const from = published.data() + matrix.chunk(row, column) * kChunk;
    if (precision == Precision::kTF32) {
      std::array<uint32_t, 4> words;
      std::memcpy(words.data(), from, kChunk);
      for (unsigned i = 0; i < 4; ++i) factors[column * 4 + i] = std::bit_cast<float>(words[i] & 0xffffe000u);
    } else {
      std::array<uint16_t, 8> halves;
      std::memcpy(halves.data(), from, kChunk);
      for (unsigned i = 0; i < 8; ++i) {
        factors[column * 8 + i] =
            precision == Precision::kBFloat16 ? from_bfloat16(halves[i]) : from_float16(halves[i]);
      }
    }
  }
  return factors;
}

/// A thread's part of a product: sum i of a group of four is in row lane / 4 + i / 2 * 8 of the warp's, column
/// lane % 4 * 2 + i % 2.
void run(const Product& product, std::array<float, kSums>& sums) {
  const Matrix a(product.a), b(product.b);
  const unsigned first = threadIdx.x / 32 % 4 * 16 + lane() / 4, all = product.precision == Precision::kTF32 ? 8 : 16;
  const char* const how = std::getenv("CNNX_CUDA_HOST_WGMMA");
  const unsigned depth = how && std::strcmp(how, "wrong") == 0 ? all - 1 : all;
  const Factors rows[] = {read_row(a, first, product.precision), read_row(a, first + 8, product.precision)};
  for (unsigned j = 0; j < kColumns / 8; ++j) {
    for (unsigned side = 0; side < 2; ++side) {
      const Factors column = read_row(b, j * 8 + lane() % 4 * 2 + side, product.precision);
      for (unsigned row = 0; row < 2; ++row) {
        float& sum = sums[j * 4 + row * 2 + side];
        for (unsigned k = 0; k < depth; ++k) sum += rows[row][k] * column[k];
      }
    }
  }
}

}  // namespace

void begin_wgmma_block(unsigned count) {
  const DynamicShared shared = dynamic_shared();
  if (shared.bytes == 0) return;
  std::memset(shared.memory, 0xff, shared.bytes);
  published.assign(shared.bytes, static_cast<char>(0xff));
  writes.assign(shared.bytes / kChunk, 0);
  threads.assign(count, {});
  started.assign((count + 127) / 128, {});
}

void end_wgmma_block() {
  if (dynamic_shared().bytes == 0) return;
  for (const Thread& thread : threads) {
    if (!thread.pending.empty()) return violation("a kernel ended before it waited for a product of wgmma");
  }
}

void note_write(const void* written) {
  const DynamicShared shared = dynamic_shared();
  const auto offset = static_cast<size_t>(static_cast<const char*>(written) - shared.memory);
  if (offset >= shared.bytes) return;
  ++writes[offset / kChunk];
  self().unpublished.push_back(offset / kChunk);
}

void publish_writes() {
  for (const size_t chunk : self().unpublished) {
    std::memcpy(published.data() + chunk * kChunk, dynamic_shared().memory + chunk * kChunk, kChunk);
  }
  self().unpublished.clear();
}

uint32_t shared_address(const void* shared) {
  return kFirstAddress + static_cast<uint32_t>(static_cast<const char*>(shared) - dynamic_shared().memory);
}

void order_sums() { self().ordered = true; }

void start_product(Precision precision, float* sums, uint64_t a, uint64_t b) {
  Thread& thread = self();
  if (!thread.ordered) violation("a product of wgmma was started without wgmma.fence after its sums were touched");
  auto& of_group = started[threadIdx.x / 128];
  const unsigned number = thread.started++;
  if (number == of_group.size()) of_group.push_back({a, b});
  if (of_group[number].a != a || of_group[number].b != b) violation("the threads of a warpgroup differ in a product");
  if (thread.pending.empty()) {
    thread.sums = sums;
    std::copy_n(sums, kSums, thread.held.begin());
    std::fill_n(sums, kSums, std::nanf(""));
  } else if (thread.sums != sums) {
    violation("products of wgmma with several sums are not imitated");
  }
  thread.pending.push_back({precision, a, b, thread.groups, lane() == 0 ? count_writes(a, b) : 0});
}

void commit_products() { ++self().groups; }

void wait_for_products(unsigned left) {
  Thread& thread = self();
  size_t done = 0;
  for (; done < thread.pending.size(); ++done) {
    const Product& product = thread.pending[done];
    if (product.group + left >= thread.groups) break;
    if (lane() == 0 && count_writes(product.a, product.b) != product.writes) {
      violation("shared memory was written while a product of wgmma read it");
    }
    run(product, thread.held);
  }
  thread.pending.erase(thread.pending.begin(), thread.pending.begin() + static_cast<std::ptrdiff_t>(done));
  if (!thread.pending.empty() || !thread.sums) return;
  std::copy(thread.held.begin(), thread.held.end(), thread.sums);
  thread.sums = nullptr;
  thread.ordered = false;
}

}  // namespace cuda_host
