// The constructor arguments of each layer by name, in the order of the constructor, and how they are printed.
#pragma once

#include "cnnx/nn.h"

namespace cnnx {

void visit(FieldVisitor& visitor, Conv2dArgs& args);
void visit(FieldVisitor& visitor, ConvTranspose2dArgs& args);
void visit(FieldVisitor& visitor, LocallyConnected2dArgs& args);
void visit(FieldVisitor& visitor, LinearArgs& args);
void visit(FieldVisitor& visitor, MaxPool2dArgs& args);
void visit(FieldVisitor& visitor, AvgPool2dArgs& args);
void visit(FieldVisitor& visitor, LPPool2dArgs& args);
void visit(FieldVisitor& visitor, AdaptivePool2dArgs& args);
void visit(FieldVisitor& visitor, FlattenArgs& args);
void visit(FieldVisitor& visitor, DropoutArgs& args);
void visit(FieldVisitor& visitor, BatchNorm2dArgs& args);
void visit(FieldVisitor& visitor, GroupNormArgs& args);
void visit(FieldVisitor& visitor, LayerNormArgs& args);
void visit(FieldVisitor& visitor, InstanceNorm2dArgs& args);
void visit(FieldVisitor& visitor, LocalResponseNormArgs& args);
void visit(FieldVisitor& visitor, UpsampleOptions& args);
void visit(FieldVisitor& visitor, Pad2dArgs& args);
void visit(FieldVisitor& visitor, LeakyReLUArgs& args);
void visit(FieldVisitor& visitor, GELUArgs& args);
void visit(FieldVisitor& visitor, SoftmaxArgs& args);
inline void visit(FieldVisitor&, NoArgs&) {}

/// Writes fields as torch's repr does: channels by position, arguments that are rarely given only when they are.
class FieldPrinter : public FieldVisitor {
 public:
  const std::string& text() const { return text_; }

  void field(const char* name, bool& value) override;
  void field(const char* name, int64_t& value) override;
  void field(const char* name, double& value) override;
  void field(const char* name, std::string& value) override;
  void field(const char* name, Pair& value) override;
  void field(const char* name, std::optional<Pair>& value) override;
  void field(const char* name, std::optional<Scale>& value) override;
  void field(const char* name, Padding& value) override;
  void field(const char* name, Fit& value) override;
  void field(const char* name, DType& value) override;
  void field(const char* name, Shape& value) override;

 private:
  void add(std::string_view name, const std::string& value);
  std::string pair(int64_t h, int64_t w) const;
  bool is_convolution_ = false;  // torch prints a convolution's pairs in full, and hides more of its defaults
  std::string text_;
};

}  // namespace cnnx
