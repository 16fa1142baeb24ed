#include "frontend/onnx.h"
#include "ir/graph.h"
