#!/usr/bin/env python3
"""Writes tests/data/onnx_versions.txt: for every operator of ONNX's default domain and every version of it that is in
force at some operator set from 7 to 23, models of that version with the values that they should give.

    /usr/bin/python3 scripts/onnx_versions.py > tests/data/onnx_versions.txt

Needs onnx 1.12, NumPy, and PyTorch for convolutions, poolings and recurrent nets. Values are NumPy's or PyTorch's, or
worked out below, never veer's. A line is

    OP VERSION:FIRST-LAST,... run|refuse MODEL IN... > OUT...

FIRST and LAST are the operator sets from 7 to 23 at which a version is in force; versions of which the same is expected
share a line. MODEL is a ModelProto without opset_import, in base64; tensors are dtype[dims]:numbers. After `refuse`
stands a part of the message, with _ for blanks."""
import base64, math, sys
import numpy as np
import torch, torch.nn.functional as F
from onnx import defs, helper, numpy_helper, TensorProto, ModelProto
from onnx.helper import make_graph, make_node, make_tensor_value_info

f, i64, i32, i8, u8, b = np.float32, np.int64, np.int32, np.int8, np.uint8, np.bool_
NEWEST = 23
LATER = { # versions that onnx 1.12 does not know yet, from the changelog of the operators
    18: "BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CenterCropPad Col2Im GroupNormalization LpPool Mish OptionalGetElement OptionalHasElement Pad ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare Resize ScatterElements ScatterND Split",
    19: "AveragePool Cast CastLike Constant DeformConv DequantizeLinear Equal Identity If Loop Pad QuantizeLinear Reshape Resize Scan Shape Size",
    20: "AffineGrid ConstantOfShape DFT Gelu GridSample ImageDecoder IsInf IsNaN ReduceMax ReduceMin RegexFullMatch StringConcat StringSplit",
    21: "Cast CastLike Constant ConstantOfShape DequantizeLinear Flatten GroupNormalization Identity If Loop Pad QLinearMatMul QuantizeLinear Reshape Scan Shape Size Squeeze Transpose Unsqueeze",
    22: "Acos Acosh Asin Asinh Atan Atanh AveragePool Bernoulli Conv ConvTranspose Cos Cosh DeformConv Det Dropout Elu EyeLike GRU GlobalAveragePool GlobalLpPool GlobalMaxPool GridSample HardSigmoid HardSwish InstanceNormalization LSTM LpNormalization LpPool MaxPool MaxRoiPool MaxUnpool Mish Multinomial NegativeLogLikelihoodLoss RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike RoiAlign Round Selu Sin Sinh Softplus Softsign Tan ThresholdedRelu",
    23: "Attention Cast CastLike Constant ConstantOfShape DequantizeLinear Flatten Identity If Loop Pad QuantizeLinear RMSNormalization Reshape RotaryEmbedding Scan Shape Size Squeeze Transpose Unsqueeze",
}
versions = {}
for s in defs.get_all_schemas_with_history():
    if s.domain == "": versions.setdefault(s.name, set()).add(s.since_version)
for v, names in LATER.items():
    for name in names.split(): versions.setdefault(name, set()).add(v)
force = {} # op -> {version: (first, last)}
for op, vs in versions.items():
    vs = sorted(vs)
    for k, v in enumerate(vs):
        last = vs[k + 1] - 1 if k + 1 < len(vs) else NEWEST
        if last >= 7: force.setdefault(op, {})[v] = (max(v, 7), last)

lines, covered = {}, set() # what is expected -> versions

def text(x):
    names = {"float32": "f32", "float64": "f64", "float16": "f16", "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
             "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "bool": "bool"}
    x = np.asarray(x)
    def number(e):
        if x.dtype == np.bool_: return "true" if e else "false"
        if x.dtype.kind in "iu": return str(int(e))
        e = float(e)
        return "nan" if math.isnan(e) else ("-inf" if e < 0 else "inf") if math.isinf(e) else "%.7g" % e
    return "%s[%s]:%s" % (names[str(x.dtype)], ",".join(map(str, x.shape)), ",".join(number(e) for e in x.reshape(-1)))

def emit(op, v, kind, model, ins, outs):
    covered.add((op, v))
    rest = [kind, base64.b64encode(model).decode()] + [text(x) for x in ins] + [">"]
    rest += [text(o) for o in outs] if kind == "run" else [outs.replace(" ", "_")]
    lines.setdefault((op, " ".join(rest)), set()).add(v)

def info(name, x):
    return make_tensor_value_info(name, numpy_helper.from_array(np.asarray(x)).data_type, list(np.asarray(x).shape))

def model_of(nodes, ins, const, outs):
    """ins: name -> array; names in const are initializers; outs: names."""
    g = make_graph(nodes, "g", [info(k, x) for k, x in ins.items() if k not in const],
                   [make_tensor_value_info(o, 0, None) for o in outs],
                   [numpy_helper.from_array(np.asarray(x), k) for k, x in ins.items() if k in const])
    for o in g.output: o.ClearField("type")
    return ModelProto(ir_version=8, graph=g).SerializeToString()

def case(op, v, ins, outs, const=(), skip_out=(), **attrs):
    """One node. ins: arrays or None (absent); const: positions that are initializers; outs: arrays or a message."""
    if v not in force.get(op, {}): return
    names = ["" if x is None else "x%d" % k for k, x in enumerate(ins)]
    refused = isinstance(outs, str)
    count = 1 if refused else len(outs)
    out_names = ["" if k in skip_out else "y%d" % k for k in range(count)]
    node = make_node(op, names, out_names, **attrs)
    given = {n: x for n, x in zip(names, ins) if n}
    m = model_of([node], given, {"x%d" % k for k in const}, [o for o in out_names if o])
    free = [x for n, x in given.items() if n not in {"x%d" % k for k in const}]
    emit(op, v, "refuse" if refused else "run", m, free, outs if refused else [o for n, o in zip(out_names, outs) if n])

def graph(op, v, nodes, ins, outs, const=()):
    """Several nodes; ins: name -> array, outs: name -> array."""
    if v not in force.get(op, {}): return
    m = model_of(nodes, ins, set(const), list(outs))
    emit(op, v, "run", m, [x for k, x in ins.items() if k not in const], list(outs.values()))

def every(op, first=0, last=99): return [v for v in sorted(force[op]) if first <= v <= last]
def at(*vs): return vs

def num(*shape, lo=-2.0, hi=2.0, dtype=f):
    n = int(np.prod(shape))
    k = np.arange(n)
    x = lo + (hi - lo) * (((k * 7919 + 3571) % 1009) / 1009.0)
    return np.round(x, 3).astype(dtype).reshape(shape)
def ints(*shape, lo=-5, hi=5, dtype=i64):
    n = int(np.prod(shape))
    return (lo + (np.arange(n) * 7 + 3) % (hi - lo + 1)).astype(dtype).reshape(shape)
T = lambda x: torch.from_numpy(np.asarray(x))

# ---- elementwise ----
erf = np.vectorize(math.erf)
X, U, G, P = num(2, 3), num(2, 3, lo=-0.9, hi=0.9), num(2, 3, lo=1.2, hi=3.0), num(2, 3, lo=0.1, hi=3.0)
sig = lambda x: 1 / (1 + np.exp(-x.astype(np.float64)))
softplus = lambda x: np.log1p(np.exp(x.astype(np.float64)))
unary = {"Abs": (np.abs, X), "Acos": (np.arccos, U), "Acosh": (np.arccosh, G), "Asin": (np.arcsin, U), "Asinh": (np.arcsinh, X),
         "Atan": (np.arctan, X), "Atanh": (np.arctanh, U), "Ceil": (np.ceil, X), "Cos": (np.cos, X), "Cosh": (np.cosh, X),
         "Erf": (erf, X), "Exp": (np.exp, X), "Floor": (np.floor, X), "Log": (np.log, P), "Neg": (np.negative, X),
         "Reciprocal": (lambda x: 1 / x, P), "Sigmoid": (sig, X), "Sign": (np.sign, X), "Sin": (np.sin, X), "Sinh": (np.sinh, X),
         "Sqrt": (np.sqrt, P), "Tan": (np.tan, U), "Tanh": (np.tanh, X), "Softplus": (softplus, X),
         "Softsign": (lambda x: x / (1 + np.abs(x)), X), "Relu": (lambda x: np.maximum(x, 0), X), "Identity": (lambda x: x, X),
         "HardSwish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), 3 * X), "Mish": (lambda x: x * np.tanh(softplus(x)), X)}
for op, (g, x) in unary.items():
    for v in every(op): case(op, v, [x], [g(x).astype(f)])
for v in every("Round"): case("Round", v, [np.array([0.5, 1.5, -0.5, -1.5, 2.5, 0.4, -2.7], f)], [np.array([0, 2, -0.0, -2, 2, 0, -3], f)])
for op, since in (("Abs", 6), ("Neg", 6), ("Sign", 9), ("Relu", 14)):
    for v in every(op, since): case(op, v, [ints(5, dtype=i32)], [unary[op][0](ints(5, dtype=i32)).astype(i32)])
for v in every("Not"): case("Not", v, [np.array([True, False])], [np.array([False, True])])
special = np.array([1, np.nan, np.inf, -np.inf, 0], f)
for v in every("IsNaN"): case("IsNaN", v, [special], [np.isnan(special)])
for v in every("IsInf"):
    case("IsInf", v, [special], [np.isinf(special)])
    case("IsInf", v, [special], [np.isposinf(special)], detect_negative=0)
    case("IsInf", v, [special], [np.isneginf(special)], detect_positive=0)
for v in at(20): case("IsInf", v, [special.astype(np.float16)], [np.isinf(special)])
for v in every("Elu"):
    case("Elu", v, [X], [np.where(X < 0, np.exp(X) - 1, X).astype(f)])
    case("Elu", v, [X], [np.where(X < 0, 0.5 * (np.exp(X) - 1), X).astype(f)], alpha=0.5)
for v in every("Selu"):
    a, g = 1.67326319217681884765625, 1.05070102214813232421875
    case("Selu", v, [X], [(g * np.where(X < 0, a * (np.exp(X) - 1), X)).astype(f)])
    case("Selu", v, [X], [(3 * np.where(X < 0, 2 * (np.exp(X) - 1), X)).astype(f)], alpha=2.0, gamma=3.0)
for v in every("Celu"): case("Celu", v, [X], [(np.maximum(X, 0) + np.minimum(0, 0.5 * (np.exp(X / 0.5) - 1))).astype(f)], alpha=0.5)
for v in every("HardSigmoid"):
    case("HardSigmoid", v, [3 * X], [np.clip(0.2 * 3 * X + 0.5, 0, 1).astype(f)])
    case("HardSigmoid", v, [X], [np.clip(0.5 * X + 0.25, 0, 1).astype(f)], alpha=0.5, beta=0.25)
for v in every("LeakyRelu"):
    case("LeakyRelu", v, [X], [np.where(X < 0, 0.01 * X, X).astype(f)])
    case("LeakyRelu", v, [X], [np.where(X < 0, 0.3 * X, X).astype(f)], alpha=0.3)
for v in every("ThresholdedRelu"):
    case("ThresholdedRelu", v, [X], [np.where(X > 1, X, 0).astype(f)])
    case("ThresholdedRelu", v, [X], [np.where(X > 0.25, X, 0).astype(f)], alpha=0.25)
for v in every("Shrink"): case("Shrink", v, [X], [np.where(X < -0.75, X + 0.25, np.where(X > 0.75, X - 0.25, 0)).astype(f)], lambd=0.75, bias=0.25)
for v in every("Gelu"):
    case("Gelu", v, [X], [(0.5 * X * (1 + erf(X / math.sqrt(2)))).astype(f)])
    case("Gelu", v, [X], [(0.5 * X * (1 + np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X ** 3)))).astype(f)], approximate="tanh")

A, B = num(2, 1, 3), num(4, 1, lo=0.5, hi=2.5)
I, J = ints(2, 3, dtype=i32), ints(3, lo=1, hi=4, dtype=i32)
for op, g in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide)):
    for v in every(op):
        case(op, v, [A, B], [g(A, B).astype(f)])
        whole = np.trunc(I / J).astype(i32) if op == "Div" else g(I, J)
        case(op, v, [I, J], [whole])
    for v in every(op, 14):
        x, y = np.array([7, 250, 9], u8), np.array([2, 3, 4], u8)
        case(op, v, [x, y], [(x // y) if op == "Div" else g(x, y)])
for v in every("Pow"): case("Pow", v, [P, np.array([0.5, 2, 3], f)], [np.power(P, np.array([0.5, 2, 3], f))])
for v in every("Pow", 12):
    case("Pow", v, [P, np.array([2, 3, 1], i64)], [np.power(P, np.array([2, 3, 1])).astype(f)])
    case("Pow", v, [np.array([2, 3, -2], i32), np.array([3, 2, 3], i32)], [np.array([8, 9, -8], i32)])
for v in every("Mod"):
    x, y = np.array([-4, 7, 5, 4, -7, 8], i32), np.array([2, -3, 8, -2, 3, 5], i32)
    case("Mod", v, [x, y], [np.mod(x, y)])
    case("Mod", v, [x, y], [np.fmod(x, y)], fmod=1)
    case("Mod", v, [X, B[:1, 0]], [np.fmod(X, B[:1, 0])], fmod=1)
L, M = np.array([[True, False], [False, True]]), np.array([True, False])
for op, g in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)):
    for v in every(op): case(op, v, [L, M], [g(L, M)])
for op, g in (("BitwiseAnd", np.bitwise_and), ("BitwiseOr", np.bitwise_or), ("BitwiseXor", np.bitwise_xor)):
    for v in every(op): case(op, v, [I, J], [g(I, J)])
for v in every("BitwiseNot"): case("BitwiseNot", v, [I], [~I])
for v in every("BitShift"):
    x, y = np.array([16, 4, 1, 255], u8), np.array([1, 2, 7, 3], u8)
    case("BitShift", v, [x, y], [x << y], direction="LEFT")
    case("BitShift", v, [x, y], [x >> y], direction="RIGHT")
for op, g, types in (("Equal", np.equal, {7: "ib", 11: "ibf"}), ("Less", np.less, {7: "f", 9: "fi"}), ("Greater", np.greater, {7: "f", 9: "fi"}),
                     ("LessOrEqual", np.less_equal, {12: "fi"}), ("GreaterOrEqual", np.greater_equal, {12: "fi"})):
    for v in every(op):
        known = types[max(k for k in types if k <= v)]
        if "f" in known: case(op, v, [np.array([[1, 2], [3, 4]], f), np.array([1, 4], f)], [g(np.array([[1, 2], [3, 4]]), np.array([1, 4]))])
        if "i" in known: case(op, v, [I, J], [g(I, J)])
        if "b" in known: case(op, v, [L, M], [g(L, M)])
for op, g in (("Max", np.maximum), ("Min", np.minimum), ("Sum", np.add), ("Mean", None)):
    for v in every(op):
        three = [num(2, 3), num(2, 3, lo=-1, hi=3), num(2, 3, lo=-3, hi=1)]
        fold = lambda xs: (sum(xs) / len(xs) if op == "Mean" else g(g(xs[0], xs[1]), xs[2])).astype(f)
        case(op, v, three, [fold(three)])
        case(op, v, three[:1], three[:1])
        if v >= 8: case(op, v, [A, B, num(3)], [fold([A, B, num(3)])])
        if v >= 12 and op in ("Max", "Min"): case(op, v, [I, J], [g(I, J)])
for v in every("Where"): case("Where", v, [L, np.array([[1, 2], [3, 4]], f), np.array([9], f)], [np.where(L, [[1, 2], [3, 4]], [9]).astype(f)])
for v in every("PRelu"):
    s = num(3, 1, lo=0.1, hi=0.9)
    case("PRelu", v, [num(2, 3, 2), s], [np.where(num(2, 3, 2) < 0, num(2, 3, 2) * s, num(2, 3, 2))])
for v in every("Clip"):
    if v < 11:
        case("Clip", v, [X], [np.clip(X, -0.5, 1).astype(f)], min=-0.5, max=1.0)
        case("Clip", v, [X], [np.maximum(X, -0.5)], min=-0.5)
    else:
        case("Clip", v, [X, np.array(-0.5, f), np.array(1, f)], [np.clip(X, -0.5, 1).astype(f)])
        case("Clip", v, [X, None, np.array(1, f)], [np.minimum(X, 1)])
    case("Clip", v, [X], [X])
    if v >= 12: case("Clip", v, [I, np.array(-2, i32), np.array(3, i32)], [np.clip(I, -2, 3)])
for v in every("Cast"):
    x = np.array([-1.5, 0, 2.75, 100], f)
    case("Cast", v, [x], [x.astype(i32)], to=TensorProto.INT32)
    case("Cast", v, [x], [x != 0], to=TensorProto.BOOL)
    case("Cast", v, [np.array([True, False])], [np.array([1, 0], f)], to=TensorProto.FLOAT)
    case("Cast", v, [x], [x.astype(np.float16)], to=TensorProto.FLOAT16)
    case("Cast", v, [x], "cast to STRING is not supported", to=TensorProto.STRING)
for v in every("CastLike"): case("CastLike", v, [np.array([-1.5, 2.75], f), np.array([1], i64)], [np.array([-1, 2], i64)])
# Cast to what is stored in 8 or 4 bits, and back. Rounding is to nearest even; E4M3FN ends at 448, E5M2 at 57344.
def there_and_back(op, v, to, x, y, **attrs):
    nodes = [make_node("Cast", ["x"], ["s"], to=to, **attrs), make_node("Cast", ["s"], ["y"], to=1)]
    if op == "CastLike": nodes = [make_node("Cast", ["t"], ["l"], to=to), make_node("CastLike", ["x", "l"], ["s"], **attrs), nodes[1]]
    ins = {"x": np.array(x, f)}
    if op == "CastLike": ins["t"] = np.array([1], f)
    graph(op, v, nodes, ins, {"y": np.array(y, f)}, ("t",))
E4M3FN, E4M3FNUZ, E5M2, E5M2FNUZ, UINT4, INT4 = 17, 18, 19, 20, 21, 22
for op in ("Cast", "CastLike"):
    for v in every(op, 19):
        there_and_back(op, v, E4M3FN, [1, 1.0625, 1.1875, -300, 448, 500, 1e6, 0.001953125], [1, 1, 1.25, -288, 448, 448, 448, 0.001953125])
        there_and_back(op, v, E4M3FN, [448, 500, np.inf], [448, np.nan, np.nan], saturate=0)
        there_and_back(op, v, E5M2, [1, 1.1, 57344, 1e6], [1, 1, 57344, 57344])
        there_and_back(op, v, E5M2, [1e6, -1e6], [np.inf, -np.inf], saturate=0)
        there_and_back(op, v, E4M3FNUZ, [240, 300, -1.0625], [240, 240, -1])
        there_and_back(op, v, E5M2FNUZ, [1.5, 1e6], [1.5, 57344])
    for v in every(op, 21):
        there_and_back(op, v, INT4, [-8, -3.2, 7, 2.5], [-8, -3, 7, 2])
        there_and_back(op, v, UINT4, [0, 3.2, 15, 6.5], [0, 3, 15, 6])

# ---- shapes and moves ----
Q = num(2, 3, 4)
for v in every("Concat"):
    case("Concat", v, [Q, Q[:, :1]], [np.concatenate([Q, Q[:, :1]], 1)], axis=1)
    if v >= 11: case("Concat", v, [Q, Q[..., :1]], [np.concatenate([Q, Q[..., :1]], -1)], axis=-1)
for v in every("Flatten"):
    case("Flatten", v, [Q], [Q.reshape(2, 12)])
    case("Flatten", v, [Q], [Q.reshape(6, 4)], axis=2)
    case("Flatten", v, [Q], [Q.reshape(1, 24)], axis=0)
    if v >= 9: case("Flatten", v, [ints(2, 2)], [ints(2, 2)])
    if v >= 11: case("Flatten", v, [Q], [Q.reshape(6, 4)], axis=-1)
for v in every("Reshape"):
    case("Reshape", v, [Q, np.array([0, -1], i64)], [Q.reshape(2, 12)], const=(1,))
    if v >= 14: case("Reshape", v, [np.zeros((0, 3), f), np.array([3, 0], i64)], [np.zeros((3, 0), f)], const=(1,), allowzero=1)
for op in ("Squeeze", "Unsqueeze"):
    x, y = num(1, 3, 1), num(3, 1)
    if op == "Unsqueeze": x, y = y, x
    for v in every(op):
        axes = [0] if op == "Squeeze" else [0]
        far = [-3] if v >= 11 else [0]
        if v < 13:
            case(op, v, [x], [y], axes=axes)
            case(op, v, [x], [y], axes=far)
            if op == "Squeeze": case(op, v, [x], [num(3)])
        else:
            case(op, v, [x, np.array(axes, i64)], [y], const=(1,))
            case(op, v, [x, np.array(far, i64)], [y], const=(1,))
            if op == "Squeeze": case(op, v, [x], [num(3)])
for v in every("Transpose"):
    case("Transpose", v, [Q], [Q.transpose(2, 1, 0)])
    case("Transpose", v, [Q], [Q.transpose(1, 0, 2)], perm=[1, 0, 2])
for v in every("Expand"): case("Expand", v, [num(3, 1), np.array([2, 1, 4], i64)], [np.broadcast_to(num(3, 1), (2, 3, 4))], const=(1,))
for v in every("Slice"):
    want = Q[:, 1:3, -2:]
    if v < 10:
        case("Slice", v, [Q], [want], starts=[1, -2], ends=[3, 1000], axes=[1, 2])
        case("Slice", v, [Q], [Q[0:1]], starts=[0], ends=[1])
    else:
        case("Slice", v, [Q, np.array([1, -2], i64), np.array([3, 1000], i64), np.array([1, 2 if v < 11 else -1], i64)], [want], const=(1, 2, 3))
        case("Slice", v, [Q, np.array([3], i64), np.array([-1000], i64), np.array([2], i64), np.array([-2], i64)], [Q[..., 3::-2]], const=(1, 2, 3, 4))
for v in every("Split"):
    x = num(2, 6)
    parts, thirds = [x[:, :2], x[:, 2:]], [x[:, :2], x[:, 2:4], x[:, 4:]]
    if v < 13: case("Split", v, [x], parts, axis=1, split=[2, 4])
    else: case("Split", v, [x, np.array([2, 4], i64)], parts, const=(1,), axis=1)
    case("Split", v, [x], thirds, axis=1 if v < 11 else -1, **({"num_outputs": 3} if v >= 18 else {}))
    if v >= 18: case("Split", v, [num(5)], [num(5)[:2], num(5)[2:4], num(5)[4:]], num_outputs=3)
for v in every("Pad"):
    x = num(2, 3)
    wide = lambda mode, **k: np.pad(x, ((0, 1), (1, 2)), mode, **k)
    for mode in ("constant", "reflect", "edge"):
        pads = ((0, 1), (1, 2)) if mode != "reflect" else ((0, 1), (1, 2))
        more = {"constant_values": 1.5} if mode == "constant" else {}
        want = np.pad(x, pads, mode, **more)
        if v < 11: case("Pad", v, [x], [want], pads=[0, 1, 1, 2], mode=mode, value=1.5)
        else: case("Pad", v, [x, np.array([0, 1, 1, 2], i64), np.array(1.5, f)], [want], const=(1, 2), mode=mode)
    if v < 11: case("Pad", v, [x], [x[:, 1:]], pads=[0, -1, 0, 0])
    else: case("Pad", v, [x, np.array([0, -1, 0, 0], i64)], [x[:, 1:]], const=(1,))
    if v >= 18: case("Pad", v, [x, np.array([1, 2], i64), None, np.array([-1], i64)], [np.pad(x, ((0, 0), (1, 2)))], const=(1, 3))
    if v >= 19: case("Pad", v, [x, np.array([0, 1, 1, 2], i64)], [np.pad(x, ((0, 1), (1, 2)), "wrap")], const=(1,), mode="wrap")
for v in every("Tile"): case("Tile", v, [num(2, 3), np.array([2, 3], i64)], [np.tile(num(2, 3), (2, 3))], const=(1,))
for v in every("Trilu"):
    case("Trilu", v, [num(3, 4), np.array(1, i64)], [np.triu(num(3, 4), 1)], const=(1,))
    case("Trilu", v, [num(3, 4)], [np.tril(num(3, 4))], upper=0)
D = num(1, 8, 2, 3)
dcr = D.reshape(1, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2).reshape(1, 2, 4, 6)
crd = D.reshape(1, 2, 2, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3).reshape(1, 2, 4, 6)
for v in every("DepthToSpace"):
    case("DepthToSpace", v, [D], [dcr], blocksize=2)
    if v >= 11: case("DepthToSpace", v, [D], [crd], blocksize=2, mode="CRD")
for v in every("SpaceToDepth"): case("SpaceToDepth", v, [dcr], [D], blocksize=2)
for v in every("Shape"):
    case("Shape", v, [Q], [np.array([2, 3, 4], i64)])
    if v >= 15: case("Shape", v, [Q], [np.array([3], i64)], start=-2, end=2)
for v in every("Size"): case("Size", v, [Q], [np.array(24, i64)])
for v in every("Gather"):
    case("Gather", v, [Q, np.array([[2, 0]], i64)], [np.take(Q, [[2, 0]], 1)], axis=1)
    if v >= 11: case("Gather", v, [Q, np.array([-1, 0], i32)], [np.take(Q, [-1, 0], 0)])
for v in every("GatherElements"):
    k = np.array([[0, 1, -1], [1, -2, 0]], i64)
    case("GatherElements", v, [num(3, 3), k], [np.take_along_axis(num(3, 3), k, 0)])
for v in every("GatherND"):
    case("GatherND", v, [Q, np.array([[0, 1], [1, -1]], i64)], [np.stack([Q[0, 1], Q[1, -1]])])
    if v >= 12: case("GatherND", v, [Q, np.array([[2], [0]], i64)], [np.stack([Q[0, 2], Q[1, 0]])], batch_dims=1)
def scattered(x, k, u, axis, g):
    y = x.copy()
    for p in np.ndindex(*k.shape):
        q = list(p); q[axis] = k[p]
        y[tuple(q)] = g(y[tuple(q)], u[p])
    return y
put, reductions = (lambda a, c: c), {"add": lambda a, c: a + c, "mul": lambda a, c: a * c, "max": max, "min": min}
k, u = np.array([[1, 0, 2], [0, 2, 1]], i64), num(2, 3, lo=3, hi=5)
for op in ("Scatter", "ScatterElements"):
    for v in every(op):
        case(op, v, [num(3, 3), k, u], [scattered(num(3, 3), k, u, 0, put)])
        case(op, v, [num(2, 4), k, u], [scattered(num(2, 4), k, u, 1, put)], axis=1)
for v in every("ScatterElements"):
    case("ScatterElements", v, [num(3, 3), np.array([[-1]], i64), u[:1, :1]], [scattered(num(3, 3), np.array([[2]]), u, 0, put)])
    for name in ("add", "mul", "max", "min"):
        if v >= (16 if name in ("add", "mul") else 18):
            twice = np.array([[1, 1, 1], [1, 1, 0]], i64)
            case("ScatterElements", v, [num(3, 3), twice, u], [scattered(num(3, 3), twice, u, 0, reductions[name]).astype(f)], reduction=name)
for v in every("ScatterND"):
    y = Q.copy(); y[1, 2], y[0, 0] = num(4, lo=7, hi=8), num(4, lo=8, hi=9)
    rows = np.stack([num(4, lo=7, hi=8), num(4, lo=8, hi=9)])
    case("ScatterND", v, [Q, np.array([[1, 2], [0, 0]], i64), rows], [y])
    for name in ("add", "mul", "max", "min"):
        if v >= (16 if name in ("add", "mul") else 18):
            y = num(4); g = reductions[name]
            for p, w in ((1, 3.0), (1, -2.0), (3, 0.5)): y[p] = g(y[p], f(w))
            case("ScatterND", v, [num(4), np.array([[1], [1], [3]], i64), np.array([3, -2, 0.5], f)], [y], reduction=name)
for v in every("OneHot"):
    hot = lambda k, d: np.array([[5 if j == e else 2 for j in range(d)] for e in k], f)
    case("OneHot", v, [np.array([0, 2, 7], i64), np.array(3, i64), np.array([2, 5], f)], [hot([0, 2, 7], 3)], const=(1,))
    case("OneHot", v, [np.array([0, 2], i64), np.array(3, i64), np.array([2, 5], f)], [hot([0, 2], 3).T.copy()], const=(1,), axis=0)
    # Before operator set 11 what is outside [0, depth) is off everywhere; since then negative ones count from the end.
    case("OneHot", v, [np.array([0, -1], i64), np.array(3, i64), np.array([2, 5], f)], [hot([0, -1 if v < 11 else 2], 3)], const=(1,))
for v in every("Compress"):
    c = np.array([False, True, True])
    case("Compress", v, [num(2, 3), c], [num(2, 3)[:, 1:]], const=(1,), axis=1 if v < 11 else -1)
    case("Compress", v, [num(2, 3), c], [num(6)[1:3]], const=(1,))
    case("Compress", v, [num(2, 3), c], "must be known when the model is imported")
for v in every("Constant"):
    t = numpy_helper.from_array(num(2, 2))
    case("Constant", v, [], [num(2, 2)], value=t)
    if v >= 12:
        case("Constant", v, [], [np.array(2.5, f)], value_float=2.5)
        case("Constant", v, [], [np.array([1, 2], i64)], value_ints=[1, 2])
        case("Constant", v, [], [np.array(7, i64)], value_int=7)
        case("Constant", v, [], [np.array([1.5, 2], f)], value_floats=[1.5, 2.0])
        case("Constant", v, [], "strings and sparse tensors are not supported", value_string="a")
for v in every("ConstantOfShape"):
    case("ConstantOfShape", v, [np.array([2, 3], i64)], [np.zeros((2, 3), f)], const=(0,))
    case("ConstantOfShape", v, [np.array([2], i64)], [np.array([7, 7], i32)], const=(0,), value=numpy_helper.from_array(np.array([7], i32)))
for v in every("EyeLike"):
    case("EyeLike", v, [num(3, 4)], [np.eye(3, 4, dtype=f)])
    case("EyeLike", v, [num(3, 4)], [np.eye(3, 4, -1, dtype=i32)], k=-1, dtype=TensorProto.INT32)
for v in every("Range"):
    case("Range", v, [np.array(1, f), np.array(5, f), np.array(1.5, f)], [np.arange(1, 5, 1.5, dtype=f)], const=(0, 1, 2))
    case("Range", v, [np.array(10, i64), np.array(4, i64), np.array(-2, i64)], [np.arange(10, 4, -2, dtype=i64)], const=(0, 1, 2))
for v in every("NonZero"):
    case("NonZero", v, [np.array([[1, 0], [0, 3]], f)], [np.array([[0, 1], [0, 1]], i64)], const=(0,))
    case("NonZero", v, [np.array([[1, 0], [0, 3]], f)], "must be known when the model is imported")
for v in every("TopK"):
    x = num(2, 5)
    big, small = np.argsort(-x, 1)[:, :2], np.argsort(x, 1)[:, :2]
    take = lambda k: [np.take_along_axis(x, k, 1), k.astype(i64)]
    if v < 10: case("TopK", v, [x], take(big), k=2, axis=1)
    else: case("TopK", v, [x, np.array([2], i64)], take(big), const=(1,))
    if v >= 11: case("TopK", v, [x, np.array([2], i64)], take(small), const=(1,), largest=0, axis=-1)
for v in every("ReverseSequence"):
    y = num(4, 2).copy(); y[:3, 0], y[:2, 1] = y[:3, 0][::-1].copy(), y[:2, 1][::-1].copy()
    case("ReverseSequence", v, [num(4, 2), np.array([3, 2], i64)], [y])
for v in every("Unique"):
    case("Unique", v, [np.array([2, 1, 1, 3, 2], f)], [np.array([1, 2, 3], f), np.array([1, 0, 3], i64), np.array([1, 0, 0, 2, 1], i64), np.array([2, 2, 1], i64)], const=(0,))
    case("Unique", v, [np.array([2, 1, 1, 3], f)], [np.array([2, 1, 3], f)], const=(0,), sorted=0)
for v in every("CumSum"):
    case("CumSum", v, [num(2, 4), np.array(1, i64)], [np.cumsum(num(2, 4), 1)], const=(1,))
    case("CumSum", v, [num(4), np.array(0, i32)], [np.append(np.cumsum(num(4)[::-1])[::-1][1:], f(0))], const=(1,), exclusive=1, reverse=1)
for v in every("CenterCropPad"): case("CenterCropPad", v, [num(4, 3), np.array([2, 5], i64)], [np.pad(num(4, 3)[1:3], ((0, 0), (1, 1)))], const=(1,))
for v in every("Col2Im"):
    x = num(1, 4, 6)
    case("Col2Im", v, [x, np.array([3, 4], i64), np.array([2, 2], i64)], [F.fold(T(x), (3, 4), (2, 2)).numpy()], const=(1, 2))

# ---- reductions ----
reduce = {"Sum": np.sum, "Mean": np.mean, "Max": np.max, "Min": np.min, "Prod": np.prod,
          "L1": lambda x, **k: np.sum(np.abs(x), **k), "L2": lambda x, **k: np.sqrt(np.sum(x * x, **k)),
          "LogSum": lambda x, **k: np.log(np.sum(x, **k)), "LogSumExp": lambda x, **k: np.log(np.sum(np.exp(x), **k)),
          "SumSquare": lambda x, **k: np.sum(x * x, **k)}
R = num(2, 3, 2, lo=0.2, hi=2)
for name, g in reduce.items():
    op = "Reduce" + name
    for v in every(op):
        by_input = v >= (13 if name == "Sum" else 18)
        def over(axes, want, **k):
            if by_input: case(op, v, [R, np.array(axes, i64)], [want.astype(f)], const=(1,), **k)
            else: case(op, v, [R], [want.astype(f)], axes=axes, **k)
        case(op, v, [R], [np.asarray(g(R, keepdims=True)).astype(f)])
        case(op, v, [R], [np.asarray(g(R)).astype(f)], keepdims=0)
        over([1], g(R, axis=1, keepdims=True))
        over([0, 2], g(R, axis=(0, 2)), keepdims=0)
        if v >= 11: over([-1], g(R, axis=-1, keepdims=True))
        if by_input:
            each = {"L1": np.abs(R), "L2": np.abs(R), "LogSum": np.log(R), "SumSquare": R * R}.get(name, R)
            if name in ("Sum", "Mean", "Max", "Min", "Prod", "LogSumExp"): case(op, v, [R], [each.astype(f)], noop_with_empty_axes=1)
        if name in ("Max", "Min") and v >= 12: case(op, v, [ints(2, 3, dtype=i8)], [g(ints(2, 3, dtype=i8), keepdims=True)])
        if name in ("Max", "Min") and v >= 20: case(op, v, [L], [g(L, keepdims=True)])
for op, g in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
    for v in every(op):
        x = np.array([[2, 2, 1], [1, 3, 3]], f) if op == "ArgMax" else np.array([[1, 1, 2], [3, 0, 0]], f)
        case(op, v, [x], [g(x, 0)[None].astype(i64)])
        case(op, v, [x], [g(x, 1).astype(i64)], axis=1, keepdims=0)
        if v >= 11: case(op, v, [x], [g(x, 1)[:, None].astype(i64)], axis=-1)
        if v >= 12: case(op, v, [x], [(2 - g(x[:, ::-1], 1)).astype(i64)], axis=1, keepdims=0, select_last_index=1)
def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)
def hardmax(x, axis):
    y = np.zeros_like(x)
    np.put_along_axis(y, np.argmax(x, axis)[..., None] if axis in (-1, x.ndim - 1) else np.expand_dims(np.argmax(x, axis), axis), 1, axis)
    return y
for op, g in (("Softmax", softmax), ("LogSoftmax", lambda x, a: np.log(softmax(x, a))), ("Hardmax", hardmax)):
    for v in every(op):
        old = lambda axis: g(Q.reshape(int(np.prod(Q.shape[:axis])), -1), 1).reshape(Q.shape)
        case(op, v, [Q], [(old(1) if v < 13 else g(Q, -1)).astype(f)])
        case(op, v, [Q], [(old(2) if v < 13 else g(Q, 2)).astype(f)], axis=2)
        case(op, v, [Q], [(old(0) if v < 13 else g(Q, 0)).astype(f)], axis=0)
        case(op, v, [Q], [(old(1) if v < 13 else g(Q, 1)).astype(f)], axis=1)
        if v >= 11: case(op, v, [Q], [(old(1) if v < 13 else g(Q, 1)).astype(f)], axis=-2)

# ---- normalisations ----
N = num(2, 4, 3)
def normal(x, axes, eps): return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
c4, d4, m4, v4 = num(4, lo=0.5, hi=1.5), num(4), num(4, lo=-1, hi=1), num(4, lo=0.5, hi=2)
ch = lambda a: a[None, :, None]
for v in every("BatchNormalization"):
    want = (N - ch(m4)) / np.sqrt(ch(v4) + 1e-5) * ch(c4) + ch(d4)
    case("BatchNormalization", v, [N, c4, d4, m4, v4], [want.astype(f)])
    case("BatchNormalization", v, [N, c4, d4, m4, v4], [((N - ch(m4)) / np.sqrt(ch(v4) + 0.01) * ch(c4) + ch(d4)).astype(f)], epsilon=0.01)
    if v == 7:
        case("BatchNormalization", v, [N, c4, d4, m4, v4], [want.astype(f)], spatial=1)
        case("BatchNormalization", v, [N, c4, d4, m4, v4], "spatial=0 are not supported", spatial=0)
    if v >= 14:
        mean, var = N.mean((0, 2)), N.var((0, 2))
        y = (N - ch(mean)) / np.sqrt(ch(var) + 1e-5) * ch(c4) + ch(d4)
        case("BatchNormalization", v, [N, c4, d4, m4, v4], [y.astype(f), (m4 * 0.8 + mean * 0.2).astype(f), (v4 * 0.8 + var * 0.2).astype(f)], training_mode=1, momentum=0.8)
for v in every("InstanceNormalization"): case("InstanceNormalization", v, [N, c4, d4], [(normal(N, 2, 1e-5) * ch(c4) + ch(d4)).astype(f)])
for v in every("LayerNormalization"):
    case("LayerNormalization", v, [N, num(3), num(3, lo=0, hi=1)], [(normal(N, -1, 1e-5) * num(3) + num(3, lo=0, hi=1)).astype(f)])
    case("LayerNormalization", v, [N, num(4, 3)], [(normal(N, (1, 2), 0.01) * num(4, 3)).astype(f)], axis=1, epsilon=0.01)
for v in every("GroupNormalization"):
    y = normal(N.reshape(2, 2, 6), 2, 1e-5).reshape(N.shape)
    if v < 21: # one scale and bias per group
        s, t = np.repeat(c4[:2], 2), np.repeat(d4[:2], 2)
        case("GroupNormalization", v, [N, c4[:2], d4[:2]], [(y * ch(s) + ch(t)).astype(f)], num_groups=2)
    else: case("GroupNormalization", v, [N, c4, d4], [(y * ch(c4) + ch(d4)).astype(f)], num_groups=2)
for v in every("RMSNormalization"): case("RMSNormalization", v, [N, num(3)], [(N / np.sqrt((N * N).mean(-1, keepdims=True) + 1e-5) * num(3)).astype(f)])
for v in every("LpNormalization"):
    case("LpNormalization", v, [N], [(N / np.sqrt((N * N).sum(-1, keepdims=True))).astype(f)])
    case("LpNormalization", v, [N], [(N / np.abs(N).sum(1, keepdims=True)).astype(f)], axis=1, p=1)
for v in every("LRN"): case("LRN", v, [N], [F.local_response_norm(T(N), 3, 0.5, 0.75, 1.5).numpy()], size=3, alpha=0.5, beta=0.75, bias=1.5)
for v in every("MeanVarianceNormalization"):
    x = num(2, 2, 2, 2)
    g = lambda axes: ((x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-9)).astype(f)
    case("MeanVarianceNormalization", v, [x], [g((0, 2, 3))])
    case("MeanVarianceNormalization", v, [x], [g((1,))], axes=[1])

# ---- products and windows ----
for v in every("MatMul"):
    case("MatMul", v, [num(2, 1, 2, 3), num(2, 3, 2)], [num(2, 1, 2, 3) @ num(2, 3, 2)])
    case("MatMul", v, [num(3), num(3, 2)], [num(3) @ num(3, 2)])
    if v >= 9: case("MatMul", v, [ints(2, 3, dtype=i32), ints(3, 2, dtype=i32)], [ints(2, 3, dtype=i32) @ ints(3, 2, dtype=i32)])
for v in every("Gemm"):
    a, c = num(2, 3), num(3, 4)
    case("Gemm", v, [a, c, num(4)], [a @ c + num(4)])
    case("Gemm", v, [a.T.copy(), c.T.copy(), num(2, 1)], [(0.5 * (a @ c) + 2 * num(2, 1)).astype(f)], alpha=0.5, beta=2.0, transA=1, transB=1)
    if v >= 11: case("Gemm", v, [a, c], [a @ c])
    if v >= 9: case("Gemm", v, [ints(2, 2, dtype=i32), ints(2, 2, dtype=i32), ints(2, dtype=i32)], [ints(2, 2, dtype=i32) @ ints(2, 2, dtype=i32) + ints(2, dtype=i32)])
for v in every("Einsum"): case("Einsum", v, [num(2, 3), num(2, 3, 2)], [np.einsum("bi,bij->bj", num(2, 3), num(2, 3, 2))], equation="bi,bij->bj")
C, W, bias = num(1, 4, 5, 5), num(2, 2, 3, 3), num(2)
for v in every("Conv"):
    case("Conv", v, [C, W, bias], [F.conv2d(T(C), T(W), T(bias), 2, 1, 1, 2).numpy()], group=2, pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3])
    case("Conv", v, [C[:, :2, :4, :4], W], [F.conv2d(F.pad(T(C[:, :2, :4, :4]), (0, 1, 0, 1)), T(W), None, 2).numpy()], auto_pad="SAME_UPPER", strides=[2, 2])
    case("Conv", v, [num(1, 2, 6), num(1, 2, 2)], [F.conv1d(T(num(1, 2, 6)), T(num(1, 2, 2)), None, dilation=2).numpy()], dilations=[2])
for v in every("ConvTranspose"):
    x, w = num(1, 2, 3, 3), num(2, 1, 3, 3)
    case("ConvTranspose", v, [x, w, num(1)], [F.conv_transpose2d(T(x), T(w), T(num(1)), 2, 1, 1).numpy()], strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    y = F.conv_transpose2d(T(x), T(w), None, 2).numpy() # 7 x 7
    case("ConvTranspose", v, [x, w], [y[:, :, :6, :6]], strides=[2, 2], auto_pad="SAME_UPPER")
    # SAME_LOWER puts the odd one of the padding in front, from operator set 11 on and by intention before
    case("ConvTranspose", v, [x, w], [y[:, :, 1:, 1:]], strides=[2, 2], auto_pad="SAME_LOWER")
    case("ConvTranspose", v, [x, w], [y], strides=[2, 2], output_shape=[7, 7])
Y = num(1, 2, 5, 5)
for v in every("MaxPool"):
    case("MaxPool", v, [Y], [F.max_pool2d(T(Y), 2, 2).numpy()], kernel_shape=[2, 2], strides=[2, 2])
    case("MaxPool", v, [Y], [F.max_pool2d(F.pad(T(Y), (0, 1, 0, 1), value=-9), 2, 2).numpy()], kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    if v >= 8:
        y, k = F.max_pool2d(T(Y), 3, 2, 1, return_indices=True)
        k = k.numpy() + np.array([0, 25]).reshape(1, 2, 1, 1)
        case("MaxPool", v, [Y], [y.numpy(), k.astype(i64)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        flip = k % 25
        case("MaxPool", v, [Y], [y.numpy(), (k - flip + flip % 5 * 5 + flip // 5).astype(i64)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], storage_order=1)
    if v >= 10:
        case("MaxPool", v, [Y], [F.max_pool2d(T(Y), 2, 2, ceil_mode=True).numpy()], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        case("MaxPool", v, [Y], [F.max_pool2d(T(Y), 2, 1, 0, 2).numpy()], kernel_shape=[2, 2], dilations=[2, 2])
    if v >= 12: case("MaxPool", v, [ints(1, 1, 3, 3, lo=0, hi=9, dtype=u8)], [F.max_pool2d(T(ints(1, 1, 3, 3, lo=0, hi=9, dtype=f)), 2, 1).numpy().astype(u8)], kernel_shape=[2, 2])
for v in every("AveragePool"):
    case("AveragePool", v, [Y], [F.avg_pool2d(T(Y), 3, 2, 1, count_include_pad=False).numpy()], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    case("AveragePool", v, [Y], [F.avg_pool2d(T(Y), 3, 2, 1).numpy()], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    if v >= 10: case("AveragePool", v, [Y], [F.avg_pool2d(T(Y), 2, 2, ceil_mode=True).numpy()], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    if v >= 19: case("AveragePool", v, [Y], [((Y[..., :3, :3] + Y[..., :3, 2:] + Y[..., 2:, :3] + Y[..., 2:, 2:]) / 4).astype(f)], kernel_shape=[2, 2], dilations=[2, 2])
for v in every("LpPool"):
    g = lambda p, **k: F.lp_pool2d(torch.abs(T(Y)), p, 2, **k).numpy()
    case("LpPool", v, [Y], [g(2, stride=1)], kernel_shape=[2, 2])
    case("LpPool", v, [Y], [g(3, stride=2)], kernel_shape=[2, 2], strides=[2, 2], p=3)
    if v >= 18:
        s = Y * Y
        case("LpPool", v, [Y], [np.sqrt(s[..., :3, :3] + s[..., :3, 2:] + s[..., 2:, :3] + s[..., 2:, 2:]).astype(f)], kernel_shape=[2, 2], dilations=[2, 2])
        case("LpPool", v, [Y], [F.lp_pool2d(F.pad(torch.abs(T(Y)), (0, 1, 0, 1)), 2, 2, stride=2).numpy()], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
for op, g in (("GlobalAveragePool", lambda x: x.mean((2, 3), keepdims=True)), ("GlobalMaxPool", lambda x: x.max((2, 3), keepdims=True)),
              ("GlobalLpPool", lambda x: np.sqrt((x * x).sum((2, 3), keepdims=True)))):
    for v in every(op): case(op, v, [Y], [g(Y).astype(f)])
for v in every("GlobalLpPool"): case("GlobalLpPool", v, [Y], [np.abs(Y).sum((2, 3), keepdims=True).astype(f)], p=1)
for v in every("MaxRoiPool"): # one region over columns and rows 1 to 4 of image 0: bins of 2 by 2
    z = Y[:, :, 1:5, 1:5]
    case("MaxRoiPool", v, [Y, np.array([[0, 1, 1, 4, 4]], f)], [z.reshape(1, 2, 2, 2, 2, 2).max((3, 5))], const=(1,), pooled_shape=[2, 2])
for v in every("MaxUnpool"):
    x = num(1, 1, 4, 4); y, k = F.max_pool2d(T(x), 2, 2, return_indices=True)
    case("MaxUnpool", v, [y.numpy(), k.numpy()], [F.max_unpool2d(y, k, 2, 2).numpy()], kernel_shape=[2, 2], strides=[2, 2])
for v in every("RoiAlign"): # one bin, one point: its centre. Since operator set 16 the corners are moved by half a pixel
    x = np.arange(16, dtype=f).reshape(1, 1, 4, 4)
    roi, k = np.array([[0, 0, 2, 2]], f), np.array([0], i64)
    if v < 16: case("RoiAlign", v, [x, roi, k], [np.array([[[[5.0]]]], f)], sampling_ratio=1)
    else:
        case("RoiAlign", v, [x, roi, k], [np.array([[[[2.5]]]], f)], sampling_ratio=1)
        case("RoiAlign", v, [x, roi, k], [np.array([[[[5.0]]]], f)], sampling_ratio=1, coordinate_transformation_mode="output_half_pixel")
for v in every("NonMaxSuppression"):
    boxes = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11]]], f)
    scores = np.array([[[0.9, 0.75, 0.6]]], f)
    case("NonMaxSuppression", v, [boxes, scores, np.array(3, i64), np.array(0.5, f)], [np.array([[0, 0, 0], [0, 0, 2]], i64)], const=(0, 1, 2, 3))
    case("NonMaxSuppression", v, [boxes, scores, np.array(3, i64), np.array(0.5, f)], "must be known when the model is imported")
for v in every("Det"): case("Det", v, [num(2, 3, 3)], [np.linalg.det(num(2, 3, 3).astype(np.float64)).astype(f)])
for v in every("DeformConv"): # offsets of whole pixels: the convolution of the moved image
    x, w = num(1, 1, 3, 3), num(1, 1, 2, 2)
    off = np.zeros((1, 8, 2, 2), f); off[:, 1::2] = 1
    case("DeformConv", v, [x, w, off], [F.conv2d(F.pad(T(x)[..., 1:], (0, 1)), T(w)).numpy()], kernel_shape=[2, 2])

# ---- resampling ----
S = num(1, 1, 2, 2)
near = lambda x, k: x.repeat(k, 2).repeat(k, 3)
for v in every("Resize"):
    up = np.array([1, 1, 2, 2], f)
    roi = [np.array([], f)] if v >= 11 else []
    sc = 2 if v >= 11 else 1
    if v == 10:
        case("Resize", v, [S, up], [near(S, 2)], const=(1,))
        lin = np.array([[1, 0], [.5, .5], [0, 1], [0, 1]])
        case("Resize", v, [S, up], [(lin @ S[0, 0] @ lin.T)[None, None].astype(f)], const=(1,), mode="linear")
        case("Resize", v, [num(1, 1, 4, 4), np.array([1, 1, .5, .5], f)], [num(1, 1, 4, 4)[:, :, ::2, ::2]], const=(1,))
    else:
        case("Resize", v, [S, roi[0], up], [near(S, 2)], const=(1, 2))
        t = lambda **k: F.interpolate(T(S), scale_factor=2, **k).numpy()
        case("Resize", v, [S, roi[0], up], [t(mode="bilinear", align_corners=False)], const=(1, 2), mode="linear")
        case("Resize", v, [S, roi[0], up], [t(mode="bilinear", align_corners=True)], const=(1, 2), mode="linear", coordinate_transformation_mode="align_corners")
        x = num(1, 1, 4, 4)
        case("Resize", v, [x, roi[0], up], [F.interpolate(T(x), scale_factor=2, mode="bicubic").numpy()], const=(1, 2), mode="cubic")
        case("Resize", v, [S, roi[0], np.array([], f), np.array([1, 1, 4, 6], i64)], [S.repeat(2, 2).repeat(3, 3)], const=(1, 2, 3))
        if v >= 13: case("Resize", v, [S, None, None, np.array([1, 1, 4, 6], i64)], [S.repeat(2, 2).repeat(3, 3)], const=(3,))
        if v >= 18:
            case("Resize", v, [S, None, np.array([2, 2], f)], [near(S, 2)], const=(2,), axes=[2, 3])
            case("Resize", v, [S, None, None, np.array([4, 6], i64)], [near(S, 2)], const=(3,), axes=[2, 3], keep_aspect_ratio_policy="not_larger")
            small = F.interpolate(T(num(1, 1, 4, 4)), scale_factor=0.5, mode="bilinear", antialias=True).numpy()
            case("Resize", v, [num(1, 1, 4, 4), None, np.array([1, 1, .5, .5], f)], [small], const=(2,), mode="linear", antialias=1, exclude_outside=1)
        if v >= 19: case("Resize", v, [S, None, up], [t(mode="bilinear", align_corners=False)], const=(2,), mode="linear", coordinate_transformation_mode="half_pixel_symmetric")
for v in every("Upsample"):
    lin = np.array([[1, 0], [.5, .5], [0, 1], [0, 1]])
    for mode, want in (("nearest", near(S, 2)), ("linear", (lin @ S[0, 0] @ lin.T)[None, None].astype(f))):
        if v < 9: case("Upsample", v, [S], [want], scales=[1.0, 1.0, 2.0, 2.0], mode=mode)
        else: case("Upsample", v, [S, np.array([1, 1, 2, 2], f)], [want], const=(1,), mode=mode)
for v in every("GridSample"):
    x, g = num(1, 1, 3, 3), num(1, 2, 2, 2, lo=-1.2, hi=1.2)
    for mode, name in (("bilinear", "bilinear" if v < 20 else "linear"), ("nearest", "nearest"), ("bicubic", "bicubic" if v < 20 else "cubic")):
        for pad in ("zeros", "border", "reflection"):
            case("GridSample", v, [x, g], [F.grid_sample(T(x), T(g), mode, pad, False).numpy()], mode=name, padding_mode=pad)
    case("GridSample", v, [x, g], [F.grid_sample(T(x), T(g), align_corners=True).numpy()], align_corners=1)
    if v >= 20:
        x, g = num(1, 1, 2, 2, 2), num(1, 1, 1, 2, 3, lo=-0.9, hi=0.9)
        case("GridSample", v, [x, g], [F.grid_sample(T(x), T(g), align_corners=False).numpy()])
for v in every("AffineGrid"):
    th = num(1, 2, 3)
    case("AffineGrid", v, [th, np.array([1, 1, 2, 3], i64)], [F.affine_grid(T(th), (1, 1, 2, 3), align_corners=False).numpy()], const=(1,))
    case("AffineGrid", v, [th, np.array([1, 1, 2, 3], i64)], [F.affine_grid(T(th), (1, 1, 2, 3), align_corners=True).numpy()], const=(1,), align_corners=1)

# ---- recurrent ----
def recurrent(op, v):
    gates, make = {"RNN": (1, torch.nn.RNN), "GRU": (3, torch.nn.GRU), "LSTM": (4, torch.nn.LSTM)}[op]
    order = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}[op] # of ours in PyTorch's: z r h of r z n; i o f c of i f g o
    h, w = 2, 3
    for layout in (0, 1) if v >= 14 else (0,):
        for direction in ("forward", "bidirectional"):
            D = 2 if direction == "bidirectional" else 1
            net = make(w, h, bidirectional=D == 2)
            torch.manual_seed(3)
            for p in net.parameters(): p.data = torch.round(torch.rand(p.shape) * 2000 - 1000) / 1000
            ours = lambda p: p.detach().numpy().reshape(gates, h, -1)[order].reshape(gates * h, -1)
            get = lambda name, d: ours(getattr(net, name + "_l0" + ("_reverse" if d else "")))
            Wx = np.stack([get("weight_ih", d) for d in range(D)])
            Wh = np.stack([get("weight_hh", d) for d in range(D)])
            Bs = np.stack([np.concatenate([get("bias_ih", d)[:, 0], get("bias_hh", d)[:, 0]]) for d in range(D)])
            x = num(3, 2, w)
            y, last = net(T(x))
            y = y.detach().numpy().reshape(3, 2, D, h).transpose(0, 2, 1, 3)
            last = [t.detach().numpy() for t in (last if op == "LSTM" else (last,))]
            xin = x
            if layout: xin, y, last = x.transpose(1, 0, 2).copy(), y.transpose(2, 0, 1, 3).copy(), [t.transpose(1, 0, 2).copy() for t in last]
            attrs = dict(hidden_size=h, direction=direction)
            if layout: attrs["layout"] = 1
            if op == "GRU": attrs["linear_before_reset"] = 1
            case(op, v, [xin, Wx, Wh, Bs], [y] + last, const=(1, 2, 3), **attrs)
for op in ("RNN", "GRU", "LSTM"):
    for v in every(op): recurrent(op, v)

# ---- dropout, random ----
for v in every("Dropout"):
    mask = np.ones((2, 3), f if v < 10 else b)
    if v < 12: case("Dropout", v, [X], [X, mask], ratio=0.4)
    else:
        case("Dropout", v, [X, np.array(0.4, f)], [X, mask], const=(1,))
        case("Dropout", v, [X, np.array(0.0, f), np.array(True)], [X, mask], const=(1, 2))
    case("Dropout", v, [X], [X])
# What a distribution without width gives.
for v in every("RandomNormal"): case("RandomNormal", v, [], [np.full((2, 3), 2.5, f)], shape=[2, 3], mean=2.5, scale=0.0)
for v in every("RandomUniform"): case("RandomUniform", v, [], [np.full((2, 3), 2.5, f)], shape=[2, 3], low=2.5, high=2.5)
for v in every("RandomNormalLike"): case("RandomNormalLike", v, [X], [np.full((2, 3), 2.5, f)], mean=2.5, scale=0.0)
for v in every("RandomUniformLike"): case("RandomUniformLike", v, [ints(2)], [np.full(2, 2.5, np.float64)], low=2.5, high=2.5, dtype=TensorProto.DOUBLE)
for v in every("Bernoulli"):
    case("Bernoulli", v, [np.array([0, 1, 1, 0], f)], [np.array([0, 1, 1, 0], f)])
    case("Bernoulli", v, [np.array([0, 1], f)], [np.array([0, 1], i32)], dtype=TensorProto.INT32)
for v in every("Multinomial"):
    case("Multinomial", v, [np.array([[-1e6, 0, -1e6]], f)], [np.array([[1, 1, 1]], i32)], sample_size=3)
    case("Multinomial", v, [np.array([[-1e6, 0, -1e6]], f)], [np.array([[1]], i64)], dtype=TensorProto.INT64)

# ---- quantised ----
for v in every("QuantizeLinear"):
    x = np.array([[0, 2, 3, 1000], [-254, -1000, 2.5, 5]], f)
    y = lambda s, z, lo, hi: np.clip(np.rint(x / s) + z, lo, hi)
    case("QuantizeLinear", v, [x, np.array(2, f), np.array(128, u8)], [y(2, 128, 0, 255).astype(u8)])
    case("QuantizeLinear", v, [x, np.array(2, f), np.array(-1, i8)], [y(2, -1, -128, 127).astype(i8)])
    case("QuantizeLinear", v, [x, np.array(2, f)], [y(2, 0, 0, 255).astype(u8)])
    s, z = np.array([[2], [4]], f), np.array([[3], [5]])
    if v >= 13: case("QuantizeLinear", v, [x, s[:, 0], z[:, 0].astype(u8)], [y(s, z, 0, 255).astype(u8)], axis=0)
    if v >= 21:
        blocks = np.repeat(np.array([[1, 2], [4, 8]], f), 2, 1)
        case("QuantizeLinear", v, [x, np.array([[1, 2], [4, 8]], f), np.zeros((2, 2), u8)], [y(blocks, 0, 0, 255).astype(u8)], axis=1, block_size=2)
        case("QuantizeLinear", v, [x, np.array(2, f)], [y(2, 0, -128, 127).astype(i8)], output_dtype=TensorProto.INT8)
        case("QuantizeLinear", v, [x, np.array(2, f), np.array(7, np.uint16)], [y(2, 7, 0, 65535).astype(np.uint16)])
        graph("QuantizeLinear", v, [make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=INT4), make_node("Cast", ["q"], ["y"], to=1)],
              {"x": x, "s": np.array(2, f)}, {"y": y(2, 0, -8, 7).astype(f)})
        graph("QuantizeLinear", v, [make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=UINT4), make_node("Cast", ["q"], ["y"], to=1)],
              {"x": x, "s": np.array(2, f)}, {"y": y(2, 0, 0, 15).astype(f)})
    if v >= 19: # through a float8: the zero point says which
        for saturate, most in ((1, 448), (0, np.nan)):
            graph("QuantizeLinear", v, [make_node("Cast", ["z"], ["z8"], to=E4M3FN), make_node("QuantizeLinear", ["x", "s", "z8"], ["q"], saturate=saturate),
                  make_node("Cast", ["q"], ["y"], to=1)], {"x": np.array([2, 2.125, -100, 1e6], f), "s": np.array(2, f), "z": np.array(0, f)},
                  {"y": np.array([1, 1, -48, most], f)}, ("z",))
    if v == 23: case("QuantizeLinear", v, [x, np.array(2, f)], [y(2, 0, 0, 255).astype(u8)], precision=1)
for v in every("DequantizeLinear"):
    x = np.array([[0, 3, 128], [255, 7, 1]], u8)
    case("DequantizeLinear", v, [x, np.array(2, f), np.array(128, u8)], [((x.astype(f) - 128) * 2)])
    case("DequantizeLinear", v, [x.astype(i32), np.array(0.5, f)], [x.astype(f) * f(0.5)])
    if v >= 13: case("DequantizeLinear", v, [x, np.array([1, 2, 4], f), np.array([1, 2, 3], u8)], [((x.astype(f) - [1, 2, 3]) * [1, 2, 4]).astype(f)], axis=-1)
    if v >= 21:
        q = ints(2, 4, lo=-8, hi=7, dtype=i8)
        s = np.array([[1, 2], [4, 8]], f)
        case("DequantizeLinear", v, [q, s], [q.astype(f) * np.repeat(s, 2, 1)], axis=1, block_size=2)
        graph("DequantizeLinear", v, [make_node("Cast", ["x"], ["q"], to=INT4), make_node("DequantizeLinear", ["q", "s"], ["y"], axis=1, block_size=2)],
              {"x": q.astype(f), "s": s}, {"y": q.astype(f) * np.repeat(s, 2, 1)})
        case("DequantizeLinear", v, [q, np.array(0.5, np.float16)], [q.astype(np.float16) * np.float16(0.5)])
    if v >= 19:
        graph("DequantizeLinear", v, [make_node("Cast", ["x"], ["q"], to=E5M2), make_node("DequantizeLinear", ["q", "s"], ["y"])],
              {"x": np.array([1, -1.25, 3], f), "s": np.array(2, f)}, {"y": np.array([2, -2.5, 6], f)})
    if v == 23: case("DequantizeLinear", v, [x, np.array(2, f)], [(x.astype(np.float16) * np.float16(2))], output_dtype=TensorProto.FLOAT16)
for v in every("DynamicQuantizeLinear"): # range [-1.5, 3.6]: scale 0.02, zero point 75
    x = np.array([0, 2, -1.5, 3.6], f)
    case("DynamicQuantizeLinear", v, [x], [np.array([75, 175, 0, 255], u8), np.array(5.1 / 255, f), np.array(75, u8)])
qa, qb = ints(2, 3, lo=0, hi=9, dtype=u8), ints(3, 2, lo=0, hi=9, dtype=u8)
for v in every("MatMulInteger"):
    case("MatMulInteger", v, [qa, qb], [qa.astype(i32) @ qb.astype(i32)])
    case("MatMulInteger", v, [qa, qb, np.array(3, u8), np.array(2, u8)], [(qa.astype(i32) - 3) @ (qb.astype(i32) - 2)])
for v in every("QLinearMatMul"):
    sum_ = (qa.astype(f) - 3) @ (qb.astype(f) - 2) * 0.5 * 0.25 / 0.3
    s = lambda a: np.array(a, f)
    z = lambda a: np.array(a, u8)
    case("QLinearMatMul", v, [qa, s(.5), z(3), qb, s(.25), z(2), s(.3), z(100)], [np.clip(np.rint(sum_) + 100, 0, 255).astype(u8)])
qx, qw = ints(1, 1, 3, 3, lo=0, hi=9, dtype=u8), ints(1, 1, 2, 2, lo=0, hi=9, dtype=u8)
conv = lambda zx, zw: F.conv2d(T(qx.astype(f) - zx), T(qw.astype(f) - zw)).numpy()
for v in every("ConvInteger"): case("ConvInteger", v, [qx, qw, np.array(1, u8)], [conv(1, 0).astype(i32)])
for v in every("QLinearConv"):
    y = np.clip(np.rint((conv(1, 2) + 5) * 0.5 * 0.25 / 0.3) + 100, 0, 255).astype(u8)
    case("QLinearConv", v, [qx, s(.5), z(1), qw, s(.25), z(2), s(.3), z(100), np.array([5], i32)], [y])

# ---- losses ----
lx, lt = num(3, 4), np.array([1, 0, 3], i64)
for v in every("NegativeLogLikelihoodLoss"):
    for red in ("mean", "sum", "none"):
        case("NegativeLogLikelihoodLoss", v, [lx, lt, c4], [F.nll_loss(T(lx), T(lt), T(c4), reduction=red).numpy()], reduction=red)
    case("NegativeLogLikelihoodLoss", v, [lx, lt], [F.nll_loss(T(lx), T(lt), ignore_index=0).numpy()], ignore_index=0)
for v in every("SoftmaxCrossEntropyLoss"):
    for red in ("mean", "sum", "none"):
        case("SoftmaxCrossEntropyLoss", v, [lx, lt, c4], [F.cross_entropy(T(lx), T(lt), T(c4), reduction=red).numpy()], reduction=red)
    case("SoftmaxCrossEntropyLoss", v, [lx, lt], [F.cross_entropy(T(lx), T(lt)).numpy(), F.log_softmax(T(lx), 1).numpy()])

# ---- signals ----
for op, g in (("HannWindow", lambda t: 0.5 - 0.5 * np.cos(t)), ("HammingWindow", lambda t: 25 / 46 - 21 / 46 * np.cos(t)),
              ("BlackmanWindow", lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t))):
    for v in every(op):
        case(op, v, [np.array(6, i64)], [g(2 * np.pi * np.arange(6) / 6).astype(f)], const=(0,))
        case(op, v, [np.array(6, i64)], [g(2 * np.pi * np.arange(6) / 5).astype(f)], const=(0,), periodic=0)
for v in every("DFT"):
    x = num(2, 4, 3, 1)
    pair = lambda c: np.stack([c.real, c.imag], -1).astype(f)
    plain = x[..., 0]
    default = 1 if v < 20 else 2 # the axis: 1 by attribute; the one before the last by input
    case("DFT", v, [x], [pair(np.fft.fft(plain, axis=default))])
    if v < 20: case("DFT", v, [x], [pair(np.fft.fft(plain, axis=2))], axis=2)
    else: case("DFT", v, [x, None, np.array(1, i64)], [pair(np.fft.fft(plain, axis=1))], const=(2,))
    case("DFT", v, [x], [pair(np.fft.rfft(plain, axis=default))], onesided=1)
    z2 = num(2, 4, 3, 2)
    case("DFT", v, [z2], [pair(np.fft.ifft(z2[..., 0] + 1j * z2[..., 1], axis=default))], inverse=1)
for v in every("STFT"):
    x = num(1, 8, 1)
    frames = np.stack([np.fft.rfft(x[0, k:k + 4, 0]) for k in (0, 2, 4)])[None]
    case("STFT", v, [x, np.array(2, i64), None, np.array(4, i64)], [pair(frames)], const=(1, 3))
for v in every("MelWeightMatrix"):
    # 2 triangles over bins of a transform of length 16 at rate 8192, 0 to 4096 Hz; the standard divides the mels by 2 + 2
    mel = lambda h: 2595 * np.log10(1 + h / 700)
    hz = [700 * (10 ** (mel(4096) * k / 4 / 2595) - 1) for k in range(4)]
    e = [int(17 * h // 8192) for h in hz]
    y = np.zeros((9, 2), f)
    for i in range(2):
        low, mid, high = e[i:i + 3]
        for k in range(low, mid + 1): y[k, i] = (k - low) / (mid - low) if mid > low else 1
        for k in range(mid, high): y[k, i] = (high - k) / (high - mid)
    args = [np.array(2, i64), np.array(16, i64), np.array(8192, i64), np.array(0, f), np.array(4096, f)]
    case("MelWeightMatrix", v, args, [y], const=range(5))

# ---- attention ----
for v in every("Attention"):
    q, k2, v2 = num(1, 2, 3, 4), num(1, 2, 5, 4, lo=-1, hi=1), num(1, 2, 5, 4)
    def att(mask=0.0): return (softmax(q @ k2.transpose(0, 1, 3, 2) / 2 + mask, -1) @ v2).astype(f)
    case("Attention", v, [q, k2, v2], [att()])
    m = num(3, 5)
    case("Attention", v, [q, k2, v2, m], [att(m)])
    case("Attention", v, [q, k2, v2], [att(np.where(np.tril(np.ones((3, 5))) > 0, 0, -np.inf))], is_causal=1)
    # scores are capped before the mask is added; a query that sees nothing gives zeros
    raw = q @ k2.transpose(0, 1, 3, 2) / 2
    cap = 0.5 * np.tanh(raw / 0.5)
    case("Attention", v, [q, k2, v2, 3 * m], [(softmax(cap + 3 * m, -1) @ v2).astype(f)], softcap=0.5)
    for mode, scores in enumerate((raw, cap, cap + m, softmax(cap + m, -1))):
        case("Attention", v, [q, k2, v2, m], [(softmax(cap + m, -1) @ v2).astype(f), scores.astype(f)][:1] + [k2, v2, scores.astype(f)],
             softcap=0.5, qk_matmul_output_mode=mode)
    see = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], bool)
    p = softmax(raw + np.where(see, 0, -1e30), -1) * see.any(-1)[:, None]
    case("Attention", v, [q, k2, v2, see], [(p @ v2).astype(f)])
    case("Attention", v, [q, k2, v2, see], [(p @ v2).astype(f)], const=(3,))
    case("Attention", v, [q, k2, v2, see], [(p @ v2).astype(f), k2, v2, p.astype(f)], qk_matmul_output_mode=3)
    flat = lambda t: t.transpose(0, 2, 1, 3).reshape(1, t.shape[2], -1).copy()
    case("Attention", v, [flat(q), flat(k2), flat(v2)], [flat(att())], q_num_heads=2, kv_num_heads=2)
    one = softmax(q @ k2[:, :1].transpose(0, 1, 3, 2) / 2, -1) @ v2[:, :1]
    case("Attention", v, [q, k2[:, :1], v2[:, :1]], [one.astype(f)])
    case("Attention", v, [q, k2[:, :, 2:], v2[:, :, 2:], None, k2[:, :, :2], v2[:, :, :2]], [att(np.where(np.tril(np.ones((3, 5)), 2) > 0, 0, -np.inf)), k2, v2], is_causal=1)
for v in every("RotaryEmbedding"):
    x, ang = num(1, 1, 2, 4), num(1, 2, 2)
    c, s2 = np.cos(ang)[:, None], np.sin(ang)[:, None]
    a, d = x[..., :2], x[..., 2:]
    case("RotaryEmbedding", v, [x, np.cos(ang), np.sin(ang)], [np.concatenate([a * c - d * s2, d * c + a * s2], -1).astype(f)])
    a, d = x[..., ::2], x[..., 1::2]
    case("RotaryEmbedding", v, [x, np.cos(ang), np.sin(ang)], [np.stack([a * c - d * s2, d * c + a * s2], -1).reshape(x.shape).astype(f)], interleaved=1)
for v in every("TfIdfVectorizer"):
    case("TfIdfVectorizer", v, [np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]], i32)], [np.array([[0, 3, 0, 0], [0, 0, 1, 2]], f)], mode="TF",
         min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0, 1, 2, 3], pool_int64s=[2, 3, 5, 6])

# ---- control flow ----
def body(nodes, ins, outs): return make_graph(nodes, "body", [info(n, x) for n, x in ins], [info(n, x) for n, x in outs])
for v in every("If"):
    then_ = body([make_node("Neg", ["x"], ["r"])], [], [("r", X)])
    else_ = body([make_node("Abs", ["x"], ["r"])], [], [("r", X)])
    for c, want in ((True, -X), (False, np.abs(X))):
        graph("If", v, [make_node("If", ["c"], ["y"], then_branch=then_, else_branch=else_)], {"c": np.array(c), "x": X}, {"y": want}, ("c",))
for v in every("Loop"): # v' = v + x, 3 turns, and each turn's number is left behind
    bd = body([make_node("Add", ["v", "x"], ["w"]), make_node("Cast", ["k"], ["left"], to=1), make_node("Identity", ["c"], ["d"])],
              [("k", np.array(0, i64)), ("c", np.array(True)), ("v", X)], [("d", np.array(True)), ("w", X), ("left", np.array(0, f))])
    graph("Loop", v, [make_node("Loop", ["m", "", "x"], ["y", "z"], body=bd)], {"m": np.array(3, i64), "x": X}, {"y": 4 * X, "z": np.array([0, 1, 2], f)}, ("m",))
    bd = body([make_node("Add", ["v", "x"], ["w"]), make_node("Less", ["k", "two"], ["d"])],
              [("k", np.array(0, i64)), ("c", np.array(True)), ("v", X)], [("d", np.array(True)), ("w", X)])
    bd.initializer.append(numpy_helper.from_array(np.array(2, i64), "two"))
    nodes = [make_node("Loop", ["", "yes", "x"], ["y"], body=bd)] # turns 0, 1, 2: the condition fails after the third
    if v >= 11: graph("Loop", v, nodes, {"yes": np.array(True), "x": X}, {"y": 4 * X}, ("yes",))
for v in every("Scan"): # running sums over rows
    bd = body([make_node("Add", ["s", "r"], ["t"]), make_node("Identity", ["t"], ["o"])],
              [("s", num(3)), ("r", num(3))], [("t", num(3)), ("o", num(3))])
    rows, s0 = num(4, 3), num(3)
    sums = s0 + np.cumsum(rows, 0)
    if v == 8:
        graph("Scan", v, [make_node("Scan", ["", "s0", "rows"], ["y", "z"], num_scan_inputs=1, body=bd)],
              {"s0": np.stack([s0, 2 * s0]), "rows": np.stack([rows, rows])},
              {"y": np.stack([sums[-1], sums[-1] + s0]), "z": np.stack([sums, sums + s0])})
    else:
        graph("Scan", v, [make_node("Scan", ["s0", "rows"], ["y", "z"], num_scan_inputs=1, body=bd)], {"s0": s0, "rows": rows}, {"y": sums[-1], "z": sums})
        back = s0 + np.cumsum(rows[::-1], 0)
        graph("Scan", v, [make_node("Scan", ["s0", "rows"], ["y", "z"], num_scan_inputs=1, body=bd, scan_input_directions=[1], scan_output_axes=[1])],
              {"s0": s0, "rows": rows}, {"y": back[-1], "z": back.T.copy()})
        if v >= 11:
            graph("Scan", v, [make_node("Scan", ["s0", "rows"], ["y", "z"], num_scan_inputs=1, body=bd, scan_input_axes=[-1], scan_output_axes=[-1])],
                  {"s0": s0, "rows": rows.T.copy()}, {"y": sums[-1], "z": sums.T.copy()})

# ---- what has no tensors ----
for op in ("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
           "SequenceMap", "SplitToSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "StringNormalizer", "StringConcat",
           "StringSplit", "RegexFullMatch", "ImageDecoder"):
    for v in every(op): case(op, v, [X], "the operator is not supported")

missing = [(op, v) for op in sorted(force) for v in sorted(force[op]) if (op, v) not in covered]
if missing: sys.exit("not covered: %s" % missing)
print("# Written by scripts/onnx_versions.py: %d versions of %d operators." % (len(covered), len(force)))
for (op, rest), vs in lines.items():
    print(op, ",".join("%d:%d-%d" % ((v,) + force[op][v]) for v in sorted(vs)), rest)
