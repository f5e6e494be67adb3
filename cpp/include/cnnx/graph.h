// CUDA graphs: what a thread does on a GPU between begin() and end(), kept to be run again at the cost of one launch.
#pragma once

#include <functional>
#include <memory>

#include "cnnx/device.h"

namespace cnnx {

struct Capture;

/// Operations between begin() and end() compute nothing yet; replay() runs them all, on the memory they were given
/// then. What they allocate stays with the graph. Random numbers, learning rates and step counts are those of each run.
/// Whatever else the host decides is fixed: branches, sizes, modes of layers.
class CNNX_API CudaGraph {
 public:
  explicit CudaGraph(Device device = {DeviceType::kCuda});
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  /// From now on this thread captures. What would wait for the device raises CudaError until end() or abandon().
  void begin();
  void end();
  void abandon() noexcept;  ///< Ends a capture that failed. Nothing was computed.
  /// Whether it still does what the captured calls would: not after a layer changed its mode, or after a tensor or an
  /// optimiser's state that the graph works on was replaced.
  bool is_current() const;
  /// Raises CudaError of the device, and std::runtime_error if the graph was not captured or is not current.
  void replay();

 private:
  const Device device_;
  std::unique_ptr<Capture> capture_;
  void* graph_ = nullptr;
};

/// Whether this thread captures a graph.
CNNX_API bool is_capturing();
/// Keeps something alive as long as the graph that this thread captures.
CNNX_API void keep_with_graph(std::shared_ptr<void> thing);

}  // namespace cnnx
