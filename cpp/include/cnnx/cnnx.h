// cnnx: convolutional networks in C++20. Includes the whole public interface.
#pragma once

#include "cnnx/call.h"
#include "cnnx/cudnn.h"
#include "cnnx/device.h"
#include "cnnx/error.h"
#include "cnnx/exchange.h"
#include "cnnx/graph.h"
#include "cnnx/io.h"
#include "cnnx/loss.h"
#include "cnnx/module.h"
#include "cnnx/nn.h"
#include "cnnx/ops.h"
#include "cnnx/optim.h"
#include "cnnx/precision.h"
#include "cnnx/tensor.h"
#include "cnnx/transfer.h"
#include "cnnx/version.h"
