// The layers by name, each made from default arguments that the reader fills in.
#include "nn/registry.h"

#include "nn/fields.h"

namespace cnnx {
namespace {

template <class L>
std::shared_ptr<Module> build(FieldVisitor& reader) {
  if constexpr (std::same_as<typename L::Args, NoArgs>) {
    return std::make_shared<L>();
  } else {
    typename L::Args args;
    visit(reader, args);
    return std::make_shared<L>(args);
  }
}

template <class C>
std::shared_ptr<Module> make(FieldVisitor&) {
  return std::make_shared<C>();
}

}  // namespace

const std::map<std::string, LayerBuilder>& layer_registry() {
  static const std::map<std::string, LayerBuilder> kRegistry{
      {"AdaptiveAvgPool2d", build<AdaptiveAvgPool2d>},
      {"AdaptiveMaxPool2d", build<AdaptiveMaxPool2d>},
      {"AvgPool2d", build<AvgPool2d>},
      {"BatchNorm2d", build<BatchNorm2d>},
      {"Concat", make<Concat>},
      {"Conv2d", build<Conv2d>},
      {"ConvTranspose2d", build<ConvTranspose2d>},
      {"Dropout", build<Dropout>},
      {"Dropout2d", build<Dropout2d>},
      {"Flatten", build<Flatten>},
      {"GELU", build<GELU>},
      {"GroupNorm", build<GroupNorm>},
      {"Identity", build<Identity>},
      {"InstanceNorm2d", build<InstanceNorm2d>},
      {"LPPool2d", build<LPPool2d>},
      {"LayerNorm", build<LayerNorm>},
      {"LeakyReLU", build<LeakyReLU>},
      {"Linear", build<Linear>},
      {"LocalResponseNorm", build<LocalResponseNorm>},
      {"LocallyConnected2d", build<LocallyConnected2d>},
      {"LogSoftmax", build<LogSoftmax>},
      {"MaxPool2d", build<MaxPool2d>},
      {"ReLU", build<ReLU>},
      {"ReflectionPad2d", build<ReflectionPad2d>},
      {"Residual", make<Residual>},
      {"Sequential", make<Sequential>},
      {"SiLU", build<SiLU>},
      {"Sigmoid", build<Sigmoid>},
      {"Softmax", build<Softmax>},
      {"Tanh", build<Tanh>},
      {"Upsample", build<Upsample>},
      {"ZeroPad2d", build<ZeroPad2d>},
  };
  return kRegistry;
}

}  // namespace cnnx
