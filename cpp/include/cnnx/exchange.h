// Lending a tensor's memory to another library.
#pragma once

#include <memory>

#include "cnnx/tensor.h"

namespace cnnx {

class Storage;

/// A tensor's buffer in foreign hands: alive, and taken to change at any time, as long as one of these lives.
class CNNX_API Loan {
 public:
  explicit Loan(const Tensor& tensor);
  ~Loan();
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  void* data() const;

 private:
  std::shared_ptr<Storage> storage_;
};

/// Tells the tape that a Loan's values have been written: what it saved of them is stale.
CNNX_API void note_write(const Tensor& tensor);

}  // namespace cnnx
