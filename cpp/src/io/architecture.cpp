// A model's architecture as JSON: {"type": "Conv2d", "args": {...}} and {"type": "Sequential", "children": [[name,
// {...}], ...]}. The outermost one also lists, as "shared", the names under which one tensor appears, if there are
// such.
#include <nlohmann/json.hpp>

#include "check.h"
#include "cnnx/io.h"
#include "nn/registry.h"

namespace cnnx {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kOp = "architecture";
constexpr int kMaxDepth = 256;
constexpr size_t kMaxChildren = 10'000;  // of one module, which looks names up one after the other

class FieldWriter : public FieldVisitor {
 public:
  Json args = Json::object();

  void field(const char* name, bool& value) override { args[name] = value; }
  void field(const char* name, int64_t& value) override { args[name] = value; }
  void field(const char* name, double& value) override { args[name] = value; }
  void field(const char* name, std::string& value) override { args[name] = value; }
  void field(const char* name, Pair& value) override { args[name] = {value.h, value.w}; }
  void field(const char* name, std::optional<Pair>& value) override {
    args[name] = value ? Json{value->h, value->w} : Json();
  }
  void field(const char* name, std::optional<Scale>& value) override {
    args[name] = value ? Json{value->h, value->w} : Json();
  }
  void field(const char* name, Padding& value) override {
    args[name] = value.is_same ? Json("same") : Json{value.top, value.bottom, value.left, value.right};
  }
  void field(const char* name, Fit& value) override {
    args[name] = value == Fit::kFloor    ? Json("floor")
                 : value == Fit::kCeil   ? Json("ceil")
                 : value == Fit::kStrict ? Json("strict")
                                         : Json();
  }
  void field(const char* name, DType& value) override { args[name] = std::string(dtype_name(value)); }
  void field(const char* name, Shape& value) override { args[name] = std::vector<int64_t>(value.begin(), value.end()); }
};

/// Fills fields from JSON; fields that it lacks keep their defaults.
class FieldReader : public FieldVisitor {
 public:
  FieldReader(std::string type, const Json& args) : type_(std::move(type)), args_(args) {}

  void field(const char* name, bool& value) override {
    if (const Json* found = find(name, &Json::is_boolean, "true or false")) value = found->get<bool>();
  }
  void field(const char* name, int64_t& value) override {
    if (const Json* found = find(name, &Json::is_number_integer, "an integer")) value = integer(name, *found);
  }
  void field(const char* name, double& value) override {
    if (const Json* found = find(name, &Json::is_number, "a number")) value = found->get<double>();
  }
  void field(const char* name, std::string& value) override {
    if (const Json* found = find(name, &Json::is_string, "a string")) value = found->get<std::string>();
  }
  void field(const char* name, Pair& value) override {
    if (const Json* found = find(name, &Json::is_array, "two integers")) value = pair(name, *found);
  }
  void field(const char* name, std::optional<Pair>& value) override {
    if (const auto found = args_.find(name); found != args_.end() && found->is_null()) {
      value = std::nullopt;
    } else if (found != args_.end()) {
      value = pair(name, *found);
    }
  }
  void field(const char* name, std::optional<Scale>& value) override {
    const auto found = args_.find(name);
    if (found == args_.end()) return;
    value = std::nullopt;
    if (found->is_null()) return;
    const bool is_pair = found->is_array() && found->size() == 2 && (*found)[0].is_number() && (*found)[1].is_number();
    require(is_pair, name, "two numbers");
    value = Scale((*found)[0].get<double>(), (*found)[1].get<double>());
  }
  void field(const char* name, Padding& value) override {
    const auto found = args_.find(name);
    if (found == args_.end()) return;
    if (found->is_string() && found->get<std::string>() == "same") {
      value = Padding::same();
      return;
    }
    const std::vector<int64_t> v = integers(name, *found, 4);
    value = Padding(v[0], v[1], v[2], v[3]);
  }
  void field(const char* name, Fit& value) override {
    const auto found = args_.find(name);
    if (found == args_.end() || found->is_null()) return;
    const std::string text = found->is_string() ? found->get<std::string>() : "";
    require(text == "floor" || text == "ceil" || text == "strict", name, "\"floor\", \"ceil\" or \"strict\"");
    value = text == "floor" ? Fit::kFloor : text == "ceil" ? Fit::kCeil : Fit::kStrict;
  }
  void field(const char* name, DType& value) override {
    if (const Json* found = find(name, &Json::is_string, "a dtype's name"))
      value = parse_dtype(found->get<std::string>());
  }
  void field(const char* name, Shape& value) override {
    if (const Json* found = find(name, &Json::is_array, "integers")) {
      value = Shape(std::span<const int64_t>(integers(name, *found, found->size())));
    }
  }

 private:
  void require(bool condition, const char* name, std::string_view what) const {
    check(condition, kOp, "{}'s argument \"{}\" must be {}.", type_, name, what);
  }
  const Json* find(const char* name, bool (Json::*is)() const noexcept, std::string_view what) const {
    const auto found = args_.find(name);
    if (found == args_.end()) return nullptr;
    require(((*found).*is)(), name, what);
    return &*found;
  }
  int64_t integer(const char* name, const Json& value) const {
    require(value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX), name,
            "an integer of 64 bits");
    return value.get<int64_t>();
  }
  std::vector<int64_t> integers(const char* name, const Json& value, size_t count) const {
    require(value.is_array() && value.size() == count, name, format("{} integers", count));
    std::vector<int64_t> numbers;
    for (const Json& item : value) numbers.push_back(integer(name, item));
    return numbers;
  }
  Pair pair(const char* name, const Json& value) const {
    const std::vector<int64_t> v = integers(name, value, 2);
    return {v[0], v[1]};
  }

  std::string type_;
  const Json& args_;
};

Json describe(Module& module, const std::string& path, int depth) {
  check(module.is_describable(), kOp,
        "{} is {}, not one of the library's layers, so the file cannot describe it. Save its state_dict.",
        path.empty() ? "the model" : "\"" + path + "\"", module.type_name());
  check(depth < kMaxDepth, kOp, "the model is nested more than {} deep.", kMaxDepth);
  check(module.named_children().size() <= kMaxChildren, kOp, "{} has more than {} children.", module.type_name(),
        kMaxChildren);
  FieldWriter writer;
  module.visit_fields(writer);
  Json result = {{"type", module.type_name()}};
  if (!writer.args.empty()) result["args"] = writer.args;
  if (!module.named_children().empty()) {
    Json& children = result["children"] = Json::array();
    for (const auto& [name, child] : module.named_children()) {
      children.push_back({name, describe(*child, path.empty() ? name : path + "." + name, depth + 1)});
    }
  }
  return result;
}

std::shared_ptr<Module> build(const Json& json, int depth) {
  check(json.is_object() && json.contains("type") && json["type"].is_string(), kOp,
        "expected an object with a \"type\".");
  check(depth < kMaxDepth, kOp, "the model is nested more than {} deep.", kMaxDepth);
  const auto type = json["type"].get<std::string>();
  const auto builder = layer_registry().find(type);
  check(builder != layer_registry().end(), kOp, "unknown layer \"{}\".", type);
  static const Json kNone = Json::object();
  const Json& args = json.contains("args") ? json["args"] : kNone;
  check(args.is_object(), kOp, "the \"args\" of {} must be an object.", type);
  FieldReader reader(type, args);
  std::shared_ptr<Module> module = builder->second(reader);
  if (!json.contains("children")) return module;
  check(json["children"].is_array() && dynamic_cast<Container*>(module.get()) != nullptr, kOp,
        "only Sequential, Residual and Concat have \"children\", a list; got them in {}.", type);
  check(json["children"].size() <= kMaxChildren, kOp, "{} has more than {} children.", type, kMaxChildren);
  for (const Json& child : json["children"]) {
    check(child.is_array() && child.size() == 2 && child[0].is_string(), kOp, "a child must be a name and a layer.");
    const auto name = child[0].get<std::string>();
    check(module->slot(name) == Module::Slot::kNone, kOp, "the child \"{}\" appears twice.", name);
    module->register_module(name, build(child[1], depth + 1));
  }
  return module;
}

}  // namespace

std::string architecture_json(Module& model) {
  Json json = describe(model, "", 0);
  if (const auto shared = model.shared_names(); !shared.empty()) json["shared"] = shared;
  return json.dump();
}

ModulePtr module_from_json(const std::string& json) {
  Json parsed;
  try {
    parsed = Json::parse(json, [](int depth, Json::parse_event_t, Json&) {
      if (depth > 4 * kMaxDepth) throw std::invalid_argument("nested too deeply");
      return true;
    });
  } catch (const std::exception&) {
    fail(kOp, "the description is not valid JSON.");
  }
  const std::shared_ptr<Module> model = build(parsed, 0);
  if (!parsed.contains("shared")) return model;
  std::vector<std::vector<std::string>> shared;
  try {
    parsed["shared"].get_to(shared);
  } catch (const Json::exception&) {
    fail(kOp, "\"shared\" must be a list of lists of names.");
  }
  size_t count = 0;
  for (const auto& names : shared) count += names.size();
  check(count <= model->state_dict().size(), kOp, "\"shared\" has more names than the model has tensors.");
  for (const auto& names : shared) model->share_tensors(names);
  return model;
}

}  // namespace cnnx
