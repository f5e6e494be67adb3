// Winograd convolution of 3x3 filters with stride 1: F(4x4, 3x3) with a quarter of direct convolution's
// multiplications, and F(2x2, 3x3) with four ninths, for small images and for filters that are read once.
#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/winograd_weight.h"

namespace cnnx::CNNX_ISA {
namespace {

bool accepts(const Conv2dGeometry& g, ConvPass) {
  const auto fits = [](const WindowAxis& axis) {
    return axis.kernel == winograd::kFilter && axis.stride == 1 && axis.dilation == 1 && axis.output > 0;
  };
  return fits(g.h) && fits(g.w) && g.batch > 0;
}

/// Measured: transforming a tile of one plane, transforming a filter of one channel or reading it transformed, and
/// transforming a filter's sums take as long as this many multiply-adds for each product. Reading counts filters that
/// other layers have driven out of the second-level cache.
template <class Form>
double cost(const Conv2dGeometry& g, ConvPass pass) {
  constexpr double kInput = 20, kOutput = 12, kFilter = 12, kRead = 16, kGradient = 12, kSums = 24, kShortSums = 1.2;
  const winograd::Problem p =
      pass == ConvPass::kBackwardInput ? winograd::backward_problem<Form>(g) : winograd::forward_problem<Form>(g);
  const auto whole = [](int64_t planes) { return static_cast<double>(round_up(planes, kLanes<float>)); };
  const double channels = whole(p.channels), filters = whole(p.filters);
  const auto tiles = static_cast<double>(p.in.count());
  double each;
  if (pass == ConvPass::kBackwardWeight) {
    each = tiles * (kShortSums * channels * filters + kGradient * (channels + filters)) + kSums * channels * filters;
  } else {
    each = tiles * (static_cast<double>(p.channels) * filters + kInput * channels + kOutput * filters) +
           (g.is_prepared ? kRead : kFilter) * channels * filters;
  }
  return static_cast<double>(g.groups) * Form::kProducts * each;
}

template <class Form, class T>
int64_t workspace_bytes(const Conv2dGeometry& g, ConvPass pass) {
  using namespace winograd;
  const Problem p = pass == ConvPass::kBackwardInput ? backward_problem<Form>(g) : forward_problem<Form>(g);
  const int64_t values = pass == ConvPass::kBackwardWeight
                             ? WeightCut<Form, T>(p, g.threads).values()
                             : Cut<Form, T>(p, g.threads, g.is_prepared && pass == ConvPass::kForward).values();
  return values * static_cast<int64_t>(sizeof(T));
}

template <class Form, class T>
constexpr Conv2dKernels<T> make_table(const char* name) {
  return {name,
          accepts,
          cost<Form>,
          workspace_bytes<Form, T>,
          winograd::prepared_values<Form, T>,
          winograd::prepare<Form, T>,
          winograd::forward<Form, T>,
          winograd::backward_input<Form, T>,
          winograd::backward_weight<Form, T>,
          conv2d_bias_gradient<T>};
}

template <class T>
constexpr WinogradConv2d<T> kTable{make_table<winograd::Form4<T>, T>("winograd")};
template <class T>
constexpr SmallWinogradConv2d<T> kSmallTable{make_table<winograd::Form2<T>, T>("winograd_2x2")};

}  // namespace

template <>
const WinogradConv2d<float>& table() {
  return kTable<float>;
}
template <>
const WinogradConv2d<double>& table() {
  return kTable<double>;
}
template <>
const SmallWinogradConv2d<float>& table() {
  return kSmallTable<float>;
}
template <>
const SmallWinogradConv2d<double>& table() {
  return kSmallTable<double>;
}

}  // namespace cnnx::CNNX_ISA
