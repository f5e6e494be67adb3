// Layers without parameters that act on each value or along an axis, and Flatten.
#include "check.h"
#include "nn/fields.h"

namespace cnnx {

Tensor Identity::forward(const Tensor& x) { return x; }
Tensor ReLU::forward(const Tensor& x) { return relu(x); }
Tensor Sigmoid::forward(const Tensor& x) { return sigmoid(x); }
Tensor Tanh::forward(const Tensor& x) { return tanh(x); }
Tensor SiLU::forward(const Tensor& x) { return silu(x); }

void visit(FieldVisitor& visitor, LeakyReLUArgs& args) { visitor.field("negative_slope", args.negative_slope); }
Tensor LeakyReLU::forward(const Tensor& x) { return leaky_relu(x, args_.negative_slope); }
void LeakyReLU::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

namespace {
bool is_tanh(const std::string& approximate) {
  check(approximate == "none" || approximate == "tanh", "GELU", "approximate must be \"none\" or \"tanh\"; got \"{}\".",
        approximate);
  return approximate == "tanh";
}
}  // namespace

void visit(FieldVisitor& visitor, GELUArgs& args) { visitor.field("approximate", args.approximate); }
GELU::GELU(const std::string& approximate) : Layer(Args{approximate}) { is_tanh(approximate); }
Tensor GELU::forward(const Tensor& x) { return gelu(x, is_tanh(args_.approximate)); }
void GELU::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, SoftmaxArgs& args) { visitor.field("dim", args.dim); }
Tensor Softmax::forward(const Tensor& x) { return softmax(x, normalize_axis("Softmax", args_.dim, x.rank())); }
void Softmax::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }
Tensor LogSoftmax::forward(const Tensor& x) {
  return log_softmax(x, normalize_axis("LogSoftmax", args_.dim, x.rank()));
}
void LogSoftmax::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

void visit(FieldVisitor& visitor, FlattenArgs& args) {
  visitor.field("start_dim", args.start_dim);
  visitor.field("end_dim", args.end_dim);
}
Tensor Flatten::forward(const Tensor& x) {
  return x.flatten(normalize_axis("Flatten", args_.start_dim, x.rank()),
                   normalize_axis("Flatten", args_.end_dim, x.rank()));
}
void Flatten::visit_fields(FieldVisitor& visitor) { visit(visitor, args_); }

}  // namespace cnnx
