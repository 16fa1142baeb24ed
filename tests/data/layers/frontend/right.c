#include "ir/graph.h"
#include "onnx.h"
