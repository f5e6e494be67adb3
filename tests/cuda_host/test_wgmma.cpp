// The imitation of wgmma: the layouts that PTX documents, and that it notices each mistake which a GPU would not.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "cuda/hopper_gemm.h"

namespace {

using namespace cnnx;
using namespace cnnx::cuda;

std::vector<std::string> reports;

constexpr int kRows = 64, kColumns = kProductColumns, kRowBytes = 128;
constexpr int kBytes = (kRows + kColumns) * kRowBytes + 1024;

/// Small integers, so that all sums are exact.
float factor(int row, int k) { return static_cast<float>((row * 31 + k * 17) % 13 - 6); }

/// Where 16 bytes of a row lie, and the descriptor of such rows.
struct Layout {
  int (*place)(int row, int chunk);  // in bytes
  uint64_t (*describe)(uint32_t address);
  int chunks = 8;  // of a row
};
const Layout kSwizzled{[](int row, int chunk) { return HopperTile<Precision::kTF32, 1>::place(row, chunk * 4) * 4; },
                       swizzled_rows};

enum class Mistake {
  kNone,
  kUnpublished,  // a thread's writes
  kNoBarrier,    // between writing and multiplying
  kUnordered,    // sums that the threads wrote
  kUncommitted,  // products
  kReadEarly,    // sums
  kOverwritten,  // factors, while they are read
  kNotWaited,    // for products
  kTwoProducts,  // in one warpgroup
  kFactorsLate,  // published after the barrier
  kCopiesAhead,  // factors not waited for
  kLowBits,      // set in TF32, which is none
};

/// C = A B over one row of chunks, by one warpgroup.
template <Precision kPrecision>
void multiply(const Layout& layout, Mistake mistake, float* c) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  char* const memory = reinterpret_cast<char*>(dynamic_shared());
  char* const shared_a = memory + (0u - shared_address(memory)) % 1024;
  char* const shared_b = shared_a + kRows * kRowBytes;
  constexpr int kValues = 4 * kPack<kPrecision>;  // of a chunk
  alignas(16) static uint32_t packed[kRows + kColumns][8][4];
  for (int i = thread; i < (kRows + kColumns) * layout.chunks; i += 128) {
    const int row = i / layout.chunks, chunk = i % layout.chunks;
    for (int word = 0; word < 4; ++word) {
      const int k = chunk * kValues + word * kPack<kPrecision>;
      const float pair[2] = {factor(row, k), factor(row, k + 1)};
      packed[row][chunk][word] = pack_word<kPrecision>(pair) | (mistake == Mistake::kLowBits ? 0x1fff : 0);
    }
    char* const to = row < kRows ? shared_a + layout.place(row, chunk) : shared_b + layout.place(row - kRows, chunk);
    if (mistake == Mistake::kCopiesAhead) {
      copy_four(reinterpret_cast<uint32_t*>(to), packed[row][chunk], true);
    } else {
      put_four(reinterpret_cast<uint32_t*>(to), packed[row][chunk]);
    }
  }
  if (mistake != Mistake::kUnpublished && mistake != Mistake::kFactorsLate) publish_writes();
  if (mistake != Mistake::kNoBarrier) __syncthreads();
  if (mistake == Mistake::kFactorsLate && thread == 127) publish_writes();

  ProductSums sums = {};
  if (mistake != Mistake::kUnordered) order_sums(sums);
  const uint64_t a = layout.describe(shared_address(shared_a)), b = layout.describe(shared_address(shared_b));
  for (int chunk = 0; chunk < layout.chunks; chunk += 2) {
    const bool other = mistake == Mistake::kTwoProducts && warp == 3;
    multiply_async<kPrecision>(sums, a + static_cast<uint64_t>(chunk), other ? b : b + static_cast<uint64_t>(chunk));
  }
  if (mistake != Mistake::kUncommitted) commit_products();
  if (mistake == Mistake::kOverwritten && thread == 0) {
    const uint32_t zeros[4] = {};
    put_four(reinterpret_cast<uint32_t*>(shared_b), zeros);
  }
  if (mistake == Mistake::kNotWaited) {
    wait_for_products<1>();
  } else if (mistake != Mistake::kReadEarly) {
    finish_products(sums);
  }
  for (int j = 0; j < kColumns / 8; ++j) {
    for (int i = 0; i < 4; ++i) {
      c[(warp * 16 + lane / 4 + i / 2 * 8) * kColumns + j * 8 + lane % 4 * 2 + i % 2] = sums[j][i];
    }
  }
  if (mistake == Mistake::kReadEarly) finish_products(sums);
  wait_for_copies();
}

template <Precision kPrecision>
std::vector<float> product(const Layout& layout, Mistake mistake) {
  std::vector<float> c(kRows * kColumns, -1);
  reports.clear();
  cuda_host::report = [](const char* text) { reports.emplace_back(text); };
  cuda_host::run_grid(dim3(1), dim3(128), kBytes, [&] { multiply<kPrecision>(layout, mistake, c.data()); });
  return c;
}

template <Precision kPrecision>
std::vector<float> expected(const Layout& layout) {
  std::vector<float> c;
  const int depth = layout.chunks * 4 * kPack<kPrecision>;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      float sum = 0;
      for (int k = 0; k < depth; ++k) sum += factor(row, k) * factor(kRows + column, k);
      c.push_back(sum);
    }
  }
  return c;
}

/// In both orders of threads, one of which shows a missing barrier.
template <class F>
void in_both_orders(F run) {
  for (const char* order : {"forward", "reverse"}) {
    setenv("CNNX_CUDA_HOST_ORDER", order, 1);
    CAPTURE(order);
    run();
  }
}

template <Precision kPrecision>
void check_right(const Layout& layout) {
  in_both_orders([&] {
    CHECK(product<kPrecision>(layout, Mistake::kNone) == expected<kPrecision>(layout));
    CHECK(reports.empty());
  });
}

void check_reported(Mistake mistake, const char* text) {
  in_both_orders([&] {
    product<Precision::kBFloat16>(kSwizzled, mistake);
    REQUIRE(!reports.empty());
    CHECK(reports.front() == text);
  });
}
void check_wrong(const Layout& layout, Mistake mistake) {
  const auto right = expected<Precision::kTF32>(layout);
  bool shows = false;
  in_both_orders([&] { shows |= product<Precision::kTF32>(layout, mistake) != right; });
  CHECK(shows);
}

}  // namespace

TEST_CASE("products of swizzled rows") {
  check_right<Precision::kTF32>(kSwizzled);
  check_right<Precision::kBFloat16>(kSwizzled);
  check_right<Precision::kFloat16>(kSwizzled);
}

TEST_CASE("all layouts that a descriptor can name") {
  const auto describe = [](uint32_t address, uint64_t leading, uint64_t stride, uint64_t mode) {
    return address / 16 | leading / 16 << 16 | stride / 16 << 32 | mode << 62;
  };
  static const auto the = describe;
  // 64 and 32 bytes a row, whose chunks change places every second and every fourth row.
  check_right<Precision::kFloat16>({[](int row, int chunk) { return row * 64 + (chunk ^ row / 2 % 4) * 16; },
                                    [](uint32_t address) { return the(address, 16, 512, 2); }, 4});
  check_right<Precision::kFloat16>({[](int row, int chunk) { return row * 32 + (chunk ^ row / 4 % 2) * 16; },
                                    [](uint32_t address) { return the(address, 16, 256, 3); }, 2});
  // Blocks of 8 rows of 16 bytes, neighbours in k side by side.
  check_right<Precision::kFloat16>({[](int row, int chunk) { return row / 8 * 256 + chunk * 128 + row % 8 * 16; },
                                    [](uint32_t address) { return the(address, 128, 256, 0); }, 2});
}

TEST_CASE("a wrong descriptor gives wrong numbers, or is reported") {
  Layout layout = kSwizzled;
  layout.describe = [](uint32_t address) { return swizzled_rows(address) ^ uint64_t { 3 } << 62; };  // another swizzle
  check_wrong(layout, Mistake::kNone);
  layout.describe = [](uint32_t address) { return swizzled_rows(address) - (uint64_t{32} << 32); };  // half the stride
  check_wrong(layout, Mistake::kNone);
  layout.describe = [](uint32_t address) { return swizzled_rows(address + 16); };
  check_wrong(layout, Mistake::kNone);
  layout = kSwizzled;
  layout.place = [](int row, int chunk) { return row * 128 + chunk * 16; };  // not swizzled
  check_wrong(layout, Mistake::kNone);

  layout = kSwizzled;
  layout.describe = [](uint32_t address) { return swizzled_rows(address + (64 << 10)); };
  product<Precision::kTF32>(layout, Mistake::kNone);
  REQUIRE(!reports.empty());
  CHECK(reports.front() == "a descriptor of wgmma leads out of dynamic shared memory");
  layout.describe = [](uint32_t address) { return swizzled_rows(address) | uint64_t{1} << 49; };
  product<Precision::kTF32>(layout, Mistake::kNone);
  REQUIRE(!reports.empty());
  CHECK(reports.front() == "a descriptor of wgmma has a base offset, which no swizzle here needs");
}

TEST_CASE("missing fences and waits give wrong numbers, or are reported") {
  check_wrong(kSwizzled, Mistake::kUnpublished);
  check_wrong(kSwizzled, Mistake::kNoBarrier);
  check_wrong(kSwizzled, Mistake::kReadEarly);
  check_wrong(kSwizzled, Mistake::kFactorsLate);
  check_wrong(kSwizzled, Mistake::kCopiesAhead);
  check_reported(Mistake::kUnordered, "a product of wgmma was started without wgmma.fence after its sums were touched");
  check_reported(Mistake::kUncommitted, "a kernel ended before it waited for a product of wgmma");
  check_reported(Mistake::kNotWaited, "a kernel ended before it waited for a product of wgmma");
  check_reported(Mistake::kOverwritten, "shared memory was written while a product of wgmma read it");
  check_reported(Mistake::kTwoProducts, "the threads of a warpgroup differ in a product");
}

TEST_CASE("of TF32 only the upper bits are read") {
  CHECK(product<Precision::kTF32>(kSwizzled, Mistake::kLowBits) == expected<Precision::kTF32>(kSwizzled));
}
