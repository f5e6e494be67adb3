// FieldPrinter: constructor arguments as text that Python could read back.
#include "nn/fields.h"

#include <algorithm>
#include <charconv>

#include "check.h"

namespace cnnx {

FieldVisitor::~FieldVisitor() = default;

void FieldPrinter::add(std::string_view name, const std::string& value) {
  struct Default {
    std::string_view name, value;
    bool convolution_only;
  };
  static constexpr Default kHidden[] = {{"padding", "(0, 0)", true},      {"dilation", "(1, 1)", true},
                                        {"bias", "True", true},           {"output_padding", "(0, 0)", true},
                                        {"groups", "1", false},           {"fit", "None", false},
                                        {"dtype", "'float32'", false},    {"count_include_pad", "True", false},
                                        {"size", "None", false},          {"scale_factor", "None", false},
                                        {"align_corners", "False", false}};
  const bool hidden = std::any_of(std::begin(kHidden), std::end(kHidden), [&](const Default& d) {
    return d.name == name && d.value == value && (is_convolution_ || !d.convolution_only);
  });
  if (hidden) return;
  if (!text_.empty()) text_ += ", ";
  static constexpr std::string_view kPositional[] = {"in_channels", "out_channels", "num_features",
                                                     "num_groups",  "num_channels", "normalized_shape"};
  if (std::find(std::begin(kPositional), std::end(kPositional), name) == std::end(kPositional)) {
    text_ += std::string(name) + "=";
  }
  text_ += value;
}

std::string FieldPrinter::pair(int64_t h, int64_t w) const {
  return h == w && !is_convolution_ ? std::to_string(h) : format("({}, {})", h, w);
}

void FieldPrinter::field(const char* name, bool& value) { add(name, value ? "True" : "False"); }

void FieldPrinter::field(const char* name, int64_t& value) {
  is_convolution_ = is_convolution_ || std::string_view(name) == "in_channels";
  add(name, std::to_string(value));
}

namespace {
std::string number(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;  // the shortest text of the same value
  return std::string(buffer, end);
}
}  // namespace

void FieldPrinter::field(const char* name, double& value) { add(name, number(value)); }

void FieldPrinter::field(const char* name, std::string& value) { add(name, "'" + value + "'"); }
void FieldPrinter::field(const char* name, Pair& value) { add(name, pair(value.h, value.w)); }

void FieldPrinter::field(const char* name, std::optional<Pair>& value) {
  add(name, value ? pair(value->h, value->w) : "None");
}

void FieldPrinter::field(const char* name, std::optional<Scale>& value) {
  add(name, !value                 ? "None"
            : value->h == value->w ? number(value->h)
                                   : format("({}, {})", number(value->h), number(value->w)));
}

void FieldPrinter::field(const char* name, Padding& value) {
  if (value.is_same) {
    add(name, "'same'");
  } else if (value.top == value.bottom && value.left == value.right) {
    add(name, pair(value.top, value.left));
  } else {
    add(name, format("({}, {}, {}, {})", value.top, value.bottom, value.left, value.right));
  }
}

void FieldPrinter::field(const char* name, Fit& value) {
  static constexpr const char* kNames[] = {"None", "'floor'", "'ceil'", "'strict'"};
  add(name, kNames[static_cast<size_t>(value)]);
}

void FieldPrinter::field(const char* name, DType& value) { add(name, format("'{}'", value)); }
void FieldPrinter::field(const char* name, Shape& value) { add(name, value.str()); }

}  // namespace cnnx
