// Winograd convolution with stride 1. "winograd" works on tiles of 6x6: F(4x4, 3x3) with a quarter of direct
// convolution's multiplications, F(2x2, 5x5) with 36 in place of 100. "winograd_2x2" is F(2x2, 3x3) with four ninths,
// for small images and for filters that are read once.
#include "kernels.h"
#include "ops/conv2d/bias.h"
#include "ops/conv2d/winograd_weight.h"

namespace cnnx::CNNX_ISA {
namespace {

template <class Form>
bool fits(const Conv2dGeometry& g) {
  const auto axis_fits = [](const WindowAxis& axis) {
    return axis.kernel == Form::kFilter && axis.stride == 1 && axis.dilation == 1 && axis.input > 0 && axis.output > 0;
  };
  return axis_fits(g.h) && axis_fits(g.w) && g.batch > 0;
}

/// Measured like TransformCost: transforming a tile of one plane of the output's gradient and a filter's sums, and
/// reading a transformed filter that other layers have driven out of the second-level cache.
template <class Form>
double form_cost(const Conv2dGeometry& g, ConvPass pass) {
  using Cost = winograd::TransformCost;
  constexpr double kPerRead = 16, kPerGradient = 12, kPerSum = 12, kShortSums = 1.2;
  const winograd::Problem p = winograd::make_problem<Form>(g, pass);
  const auto whole = [](int64_t planes) { return static_cast<double>(round_up(planes, kLanes<float>)); };
  const double channels = whole(p.channels), filters = whole(p.filters);
  const auto tiles = static_cast<double>(p.in.count());
  double each;
  if (pass == ConvPass::kBackwardWeight) {
    each =
        tiles * (kShortSums * channels * filters + kPerGradient * (channels + filters)) + kPerSum * channels * filters;
  } else {
    each = tiles * (static_cast<double>(p.channels) * filters + Cost::kInput * channels + Cost::kOutput * filters) +
           (g.is_prepared ? kPerRead : Cost::kFilter) * channels * filters;
  }
  return static_cast<double>(g.groups) * Form::kProducts * each;
}

template <class Form, class T>
int64_t form_workspace(const Conv2dGeometry& g, ConvPass pass) {
  using namespace winograd;
  const Problem p = make_problem<Form>(g, pass);
  const int64_t values = pass == ConvPass::kBackwardWeight ? WeightCut<Form, T>(p, g.threads).values()
                                                           : Cut<Form, T>(p, g.threads, g.is_prepared).values();
  return values * static_cast<int64_t>(sizeof(T));
}

/// The forms of each algorithm; fn(form) is called with the one that fits.
template <class T>
struct SixBySix {
  static bool accepts(const Conv2dGeometry& g, ConvPass) {
    return fits<winograd::F4x3<T>>(g) || fits<winograd::F2x5<T>>(g);
  }
  template <class F>
  static decltype(auto) call(const Conv2dGeometry& g, F&& fn) {
    return g.h.kernel == winograd::F4x3<T>::kFilter ? fn(winograd::F4x3<T>()) : fn(winograd::F2x5<T>());
  }
};
template <class T>
struct FourByFour {
  static bool accepts(const Conv2dGeometry& g, ConvPass) { return fits<winograd::F2x3<T>>(g); }
  template <class F>
  static decltype(auto) call(const Conv2dGeometry&, F&& fn) {
    return fn(winograd::F2x3<T>());
  }
};

template <class Forms, class T>
constexpr Conv2dKernels<T> make_table(const char* name) {
  using G = const Conv2dGeometry&;
  return {
      name,
      Forms::accepts,
      [](G g, ConvPass pass) { return Forms::call(g, [&](auto form) { return form_cost<decltype(form)>(g, pass); }); },
      [](G g, ConvPass pass) {
        return Forms::call(g, [&](auto form) { return form_workspace<decltype(form), T>(g, pass); });
      },
      [](G g) { return Forms::call(g, [&](auto form) { return winograd::prepared_values<decltype(form), T>(g); }); },
      [](G g, const T* w, T* prepared) {
        Forms::call(g, [&](auto form) { winograd::prepare<decltype(form)>(g, w, prepared); });
      },
      [](G g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
        Forms::call(g, [&](auto form) { winograd::forward<decltype(form)>(g, x, w, epilogue, y, workspace); });
      },
      [](G g, const T* gy, const T* w, T* gx, void* workspace) {
        Forms::call(g, [&](auto form) { winograd::backward_input<decltype(form)>(g, gy, w, gx, workspace); });
      },
      [](G g, const T* x, const T* gy, T* gw, void* workspace) {
        Forms::call(g, [&](auto form) { winograd::backward_weight<decltype(form)>(g, x, gy, gw, workspace); });
      },
      conv2d_bias_gradient<T>,
      [](G g, const T* x, const T* w, const ConvEpilogue<T>& epilogue, T* y, uint8_t* switches, void* workspace) {
        Forms::call(
            g, [&](auto form) { winograd::forward_pooled<decltype(form)>(g, x, w, epilogue, y, switches, workspace); });
      }};
}

template <class T, class F>
decltype(auto) with_form(const Conv2dGeometry& g, bool small, F&& fn) {
  return small ? FourByFour<T>::call(g, fn) : SixBySix<T>::call(g, fn);
}

template <class T>
constexpr WinogradConv2d<T> kTable{make_table<SixBySix<T>, T>("winograd")};
template <class T>
constexpr SmallWinogradConv2d<T> kSmallTable{make_table<FourByFour<T>, T>("winograd_2x2")};
template <class T>
constexpr BlockedConv2dKernels<T> kBlockedTable{
    [](const Conv2dGeometry& g, bool small) {
      return with_form<T>(g, small, [&](auto form) { return winograd::reads<decltype(form), T>(g); });
    },
    [](const Conv2dGeometry& g, bool small, const BlockedPass& pass, const T* x, const T* w,
       const ConvEpilogue<T>& epilogue, T* y, void* workspace) {
      with_form<T>(g, small, [&](auto form) {
        winograd::forward_blocked<decltype(form)>(g, pass, x, w, epilogue, y, workspace);
      });
    }};

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
template <>
const BlockedConv2dKernels<float>& table() {
  return kBlockedTable<float>;
}
template <>
const BlockedConv2dKernels<double>& table() {
  return kBlockedTable<double>;
}

}  // namespace cnnx::CNNX_ISA
