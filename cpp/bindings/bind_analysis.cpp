// What cnnx.analysis builds on: observers of calls, the search for anomalies, the allocators' books.
#include "module_arguments.h"

namespace cnnx::bindings {
namespace {

/// Tells two Python functions of the calls of modules: entered(path, type, inputs) and left(path, type, outputs).
class PythonObserver : public CallObserver {
 public:
  PythonObserver(py::object entered, py::object left) : entered_(std::move(entered)), left_(std::move(left)) {}
  ~PythonObserver() override {
    const GilAcquire gil;
    entered_ = left_ = py::object();
  }
  void entered(const Call& call) override { tell(entered_, call, call.inputs()); }
  void left(const Call& call, std::span<const Tensor> outputs) override { tell(left_, call, outputs); }

 private:
  static void tell(const py::object& listener, const Call& call, std::span<const Tensor> tensors) {
    const GilAcquire gil;
    if (listener.is_none()) return;
    py::list list;
    for (const Tensor& tensor : tensors) list.append(tensor.defined() ? py::cast(tensor) : py::none());
    until_exit([&] { listener(call.path(), call.module().type_name(), list); });
  }
  py::object entered_, left_;
};

/// The arguments of the observer that __enter__ makes: it watches the thread it is made on.
struct CallWatch {
  py::object entered, left;
};

py::dict stats_of(const Device& device) {
  const MemoryStats stats = memory_stats(device);
  const auto kinds = [](const std::array<long long, kMemoryKinds>& bytes) {
    constexpr const char* kNames[] = {"activations", "parameters", "gradients", "optimizer", "batch", "workspace"};
    py::dict named;
    for (size_t i = 0; i < bytes.size(); ++i) named[kNames[i]] = bytes[i];
    return named;
  };
  return py::dict(py::arg("current") = stats.current, py::arg("peak") = stats.peak, py::arg("cached") = stats.cached,
                  py::arg("resident") = stats.resident, py::arg("resident_peak") = stats.resident_peak,
                  py::arg("by_kind") = kinds(stats.by_kind), py::arg("peak_by_kind") = kinds(stats.peak_by_kind));
}

struct KindArg {
  MemoryKind kind;
};

}  // namespace

void bind_analysis(py::module_& m) {
  py::class_<CallWatch>(m, "_CallWatch", "Tells two functions of the calls of modules on this thread.")
      .def(py::init<py::object, py::object>(), py::arg("entered"), py::arg("left"))
      .def("__enter__", [](const CallWatch& watch) { enter_guard<PythonObserver>(watch.entered, watch.left); })
      .def("__exit__", [](const CallWatch&, const py::args&) { exit_guard<PythonObserver>(); });
  m.def("_set_detect_anomaly", &set_detect_anomaly, py::arg("on"));
  m.def("_is_detect_anomaly", &is_detect_anomaly);

  py::class_<KindArg>(m, "_MemoryKind", "What the buffers made in a block are for, in the allocator's books.")
      .def(py::init([](int kind) {
             if (kind < 0 || kind >= kMemoryKinds) throw py::value_error("[memory] there is no such kind.");
             return KindArg{static_cast<MemoryKind>(kind)};
           }),
           py::arg("kind"))
      .def("__enter__", [](const KindArg& self) { enter_guard<MemoryKindGuard>(self.kind); })
      .def("__exit__", [](const KindArg&, const py::args&) { exit_guard<MemoryKindGuard>(); });
  m.def("_memory_stats", [](const DeviceArg& device) { return stats_of(device.value); }, py::arg("device") = "cpu");
  m.def(
      "_reset_peak_memory", [](const DeviceArg& device) { reset_peak_memory(device.value); },
      py::arg("device") = "cpu");
  m.def("_empty_cache", [](const DeviceArg& device) { empty_cache(device.value); }, py::arg("device") = "cpu");
  m.def("_cuda_device_count", &cuda_device_count);
  m.def("_cuda_allow_tf32", &cuda_allow_tf32);
  m.def("_set_cuda_allow_tf32", &set_cuda_allow_tf32, py::arg("on"));
  m.def("_autocast", [] { return static_cast<int>(autocast_precision()); });
  m.def("_set_autocast", [](int precision) {
    if (precision < 0 || precision > static_cast<int>(Precision::kFloat16))
      throw py::value_error("[autocast] there is no such precision.");
    set_autocast_precision(static_cast<Precision>(precision));
  });
  m.def("_cuda_memory", [](const DeviceArg& device) {
    const DeviceMemory memory = cuda_memory(device.value);
    return py::make_tuple(memory.free, memory.total);
  });
  m.def("_synchronize", [](const DeviceArg& device) {
    const GilRelease release;
    synchronize(device.value);
  });
  m.def("_set_workspace_limit", &set_workspace_limit, py::arg("bytes"));
  m.def("_workspace_limit", &workspace_limit);
}

}  // namespace cnnx::bindings
