#include "../ir/graph.h"
