#!/usr/bin/env python3
"""Time one guided step (denoiser, classifier with gradient, DDPM update) in eager PyTorch, on the weights of ONNX files.

usage: torch_step.py [PAIR...] [--threads N] [--seconds S] [--patience S] [--models DIR] [--perf DIR] [--oracles DIR]
PAIR: digits e2e adm64 difflm (default: all whose files are there). One JSON object per pair on stdout, times in milliseconds.

An ONNX graph is turned back into the PyTorch code that somebody would have written: F.conv2d, F.linear, F.group_norm,
F.layer_norm, F.gelu, F.silu, einsum, with everything that depends on shapes and weights only computed once beforehand.
So what is timed is PyTorch, not a graph interpreter. Outputs and gradients are checked against the oracles first.
Needs python3-torch, python3-onnx, python3-numpy; libopenblas0-openmp is the BLAS to compare with (the output names the one in use).
"""
import argparse, collections, ctypes, json, math, os, pathlib, re, statistics, subprocess, sys, time
import numpy as np
import onnx
from onnx import numpy_helper
import torch
import torch.nn.functional as F

PAIRS = {  # folder of the models ("perf": the large ones), files, batch, inputs that are not x and t, head, prediction, training steps
    "digits": dict(root="models", denoiser="digits/unet", classifier="digits/classifier", batch=16, head="softmax", prediction="epsilon", steps=1000),
    "e2e": dict(root="models", denoiser="e2e/transformer", classifier="e2e/classifier", batch=4, head="bernoulli", prediction="sample", steps=2000),
    "adm64": dict(root="perf", denoiser="adm64-unet", classifier="adm64-classifier", batch=1, head="softmax", prediction="epsilon", steps=1000),
    "difflm": dict(root="perf", denoiser="difflm-transformer", classifier="difflm-classifier", batch=1, head="bernoulli", prediction="sample", steps=2000),
}
ORACLES = [  # case, model, output, gradient (input, how) or None
    ("digits_unet", "digits/unet", "out_sample", None), ("digits_unet_sum", "digits/unet", "out_sample", ("sample", "sum")),
    ("digits_cfg_unet", "digits-cfg/unet", "out_sample", None), ("digits_classifier", "digits/classifier", "logits", ("x", "softmax")),
    ("e2e_transformer", "e2e/transformer", "out_sample", None), ("e2e_classifier", "e2e/classifier", "logit", ("x_t", "bernoulli")),
]
ONNX_DTYPES = {1: "torch.float32", 6: "torch.int32", 7: "torch.int64", 9: "torch.bool", 10: "torch.float16", 11: "torch.float64"}
NOTHING = {"Identity", "Dropout"}


class Module:
    """The forward function of one ONNX model for fixed input shapes, as generated PyTorch source."""

    def __init__(self, path, inputs):
        model = onnx.load(str(path))
        graph = model.graph
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.input_names = [i.name for i in graph.input if i.name in inputs]
        self.output_names = [o.name for o in graph.output]
        self.values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self.static = set(self.values) | {""}
        self.alias = {}
        self.nodes = []
        for name in self.input_names:
            self.values[name] = inputs[name]
        with torch.no_grad():
            for node in graph.node:
                self.fold(node)
        self.recognise()
        self.generate()

    # ---- folding: one evaluation with example inputs; what depends on shapes and weights only becomes a constant ----
    def fold(self, node):
        ins = [self.alias.get(i, i) for i in node.input]
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        attrs = {k: v.decode() if isinstance(v, bytes) else v for k, v in attrs.items()}
        n = dict(op=node.op_type, ins=ins, outs=list(node.output), attrs=attrs)
        if n["op"] in NOTHING or self.is_no_op(n):
            self.alias[node.output[0]] = ins[0]
            return
        results = eval(self.expression(n, self.literal_value), {"torch": torch, "F": F, "math": math, "V": self.values})
        results = results if isinstance(results, (list, tuple)) else [results]
        for name, value in zip(node.output, results):
            self.values[name] = value
        if n["op"] in ("Shape", "Constant") or all(i in self.static for i in ins):
            self.static.update(node.output)
        else:
            self.nodes.append(n)

    def is_no_op(self, n):
        if n["ins"][:1] and n["ins"][0] in self.static:
            return False
        if n["op"] == "Cast":
            return ONNX_DTYPES[n["attrs"]["to"]] == str(self.values[n["ins"][0]].dtype)
        if n["op"] == "Pad":
            return not self.values[n["ins"][1]].any()
        return False

    def literal_value(self, name):
        return f"V[{name!r}]"

    def ints(self, name):
        return [int(v) for v in self.values[name].reshape(-1)]

    def scalar(self, name):
        """The number that a constant of one element is, or None."""
        if name in self.static and name and self.values[name].numel() == 1:
            return self.values[name].item()
        return None

    def rank(self, name):
        return self.values[name].dim()

    # ---- one ONNX node as a PyTorch expression ----
    def expression(self, n, ref):
        op, a, ins = n["op"], n["attrs"], n["ins"]
        arg = lambda k: ref(ins[k])
        given = lambda k: k < len(ins) and ins[k] != ""
        binary = {"Add": "+", "Sub": "-", "Mul": "*", "Equal": "==", "Less": "<", "Greater": ">", "And": "&"}
        unary = {"Cos": "cos", "Sin": "sin", "Sigmoid": "sigmoid", "Tanh": "tanh", "Sqrt": "sqrt", "Erf": "erf", "Exp": "exp", "Log": "log",
                 "Neg": "neg", "Not": "logical_not", "Relu": "relu"}
        if op in binary:
            return f"{arg(0)} {binary[op]} {arg(1)}"
        if op in unary:
            return f"torch.{unary[op]}({arg(0)})"
        if op == "Div":
            if not self.values[ins[0]].is_floating_point():
                return f"torch.div({arg(0)}, {arg(1)}, rounding_mode='trunc')"
            return f"{arg(0)} / {arg(1)}"
        if op == "Pow":
            return f"torch.pow({arg(0)}, {arg(1)})"
        if op == "Constant":
            value = a.get("value")
            value = torch.from_numpy(numpy_helper.to_array(value).copy()) if value is not None else torch.tensor(next(iter(a.values())))
            self.values[n["outs"][0]] = value
            return f"V[{n['outs'][0]!r}]"
        if op == "ConstantOfShape":
            fill = numpy_helper.to_array(a["value"]) if "value" in a else np.zeros(1, np.float32)
            return f"torch.full({self.ints(ins[0])}, {fill.item()!r}, dtype={torch.from_numpy(fill.copy()).dtype})"
        if op == "Shape":
            return f"torch.tensor({list(self.values[ins[0]].shape)})"
        if op == "Cast":
            return f"{arg(0)}.to({ONNX_DTYPES[a['to']]})"
        if op == "Reshape":
            shape = [self.values[ins[0]].shape[i] if d == 0 and not a.get("allowzero") else d for i, d in enumerate(self.ints(ins[1]))]
            return f"{arg(0)}.reshape({shape})"
        if op == "Unsqueeze":
            text, axes = arg(0), self.ints(ins[1]) if given(1) else a["axes"]
            rank = self.rank(ins[0]) + len(axes)
            for axis in sorted(x % rank for x in axes):
                text += f".unsqueeze({axis})"
            return text
        if op == "Squeeze":
            text, axes = arg(0), self.ints(ins[1]) if given(1) else a["axes"]
            for axis in sorted((x % self.rank(ins[0]) for x in axes), reverse=True):
                text += f".squeeze({axis})"
            return text
        if op == "Transpose":
            return f"{arg(0)}.permute({list(a['perm'])})"
        if op == "Expand":
            x = self.values[ins[0]]
            return f"{arg(0)}.expand({list(torch.broadcast_shapes(x.shape, self.ints(ins[1])))})"
        if op == "Concat":
            return f"torch.cat([{', '.join(ref(i) for i in ins)}], {a['axis']})"
        if op == "Split":
            axis = a.get("axis", 0)
            sizes = self.ints(ins[1]) if given(1) else [self.values[ins[0]].shape[axis] // len(n["outs"])] * len(n["outs"])
            return f"torch.split({arg(0)}, {sizes}, {axis})"
        if op == "Slice":
            return self.slice_expression(n, ref)
        if op == "Gather":
            return self.gather_expression(n, ref)
        if op == "Where":
            return f"torch.where({arg(0)}, {arg(1)}, {arg(2)})"
        if op in ("ReduceMean", "ReduceSum"):
            axes = self.ints(ins[1]) if given(1) else list(a["axes"])
            return f"torch.{'mean' if op == 'ReduceMean' else 'sum'}({arg(0)}, {axes}, keepdim={bool(a.get('keepdims', 1))})"
        if op == "Softmax":
            return f"torch.softmax({arg(0)}, {a.get('axis', -1)})"
        if op == "MatMul":
            return f"torch.matmul({arg(0)}, {arg(1)})"
        if op == "Einsum":
            return f"torch.einsum({a['equation']!r}, {', '.join(ref(i) for i in ins)})"
        if op == "Gemm":
            x = f"{arg(0)}.t()" if a.get("transA") else arg(0)
            w = arg(1) if a.get("transB") else f"{arg(1)}.t()"
            if a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
                raise SystemExit("Gemm with alpha or beta other than 1 is not supported")
            return f"F.linear({x}, {w}{', ' + arg(2) if given(2) else ''})"
        if op == "Conv":
            dims, pads = self.rank(ins[0]) - 2, list(a.get("pads", [0] * 8))
            half = pads[: len(pads) // 2][:dims]
            if "pads" in a and half != pads[dims:]:
                raise SystemExit("Conv with unequal padding is not supported")
            ones = [1] * dims
            return (f"F.conv{dims}d({arg(0)}, {arg(1)}, {arg(2) if given(2) else None}, {list(a.get('strides', ones))}, {half}, "
                    f"{list(a.get('dilations', ones))}, {a.get('group', 1)})")
        if op == "AveragePool":
            dims = self.rank(ins[0]) - 2
            return f"F.avg_pool{dims}d({arg(0)}, {list(a['kernel_shape'])}, {list(a.get('strides', [1] * dims))}, {list(a.get('pads', [0] * dims))[:dims]})"
        if op == "Resize" and a.get("mode", "nearest") == "nearest":
            if given(3):
                return f"F.interpolate({arg(0)}, size={self.ints(ins[3])[2:]}, mode='nearest')"
            return f"F.interpolate({arg(0)}, scale_factor={[float(v) for v in self.values[ins[2]].reshape(-1)][2:]}, mode='nearest')"
        if op == "InstanceNormalization":
            return f"F.instance_norm({arg(0)}, weight={arg(1)}, bias={arg(2)}, eps={a.get('epsilon', 1e-5)!r})"
        if op == "LayerNormalization":
            axis = a.get("axis", -1) % self.rank(ins[0])
            return f"F.layer_norm({arg(0)}, {list(self.values[ins[0]].shape[axis:])}, {arg(1)}, {arg(2) if given(2) else None}, {a.get('epsilon', 1e-5)!r})"
        # made by recognise()
        if op == "silu":
            return f"F.silu({arg(0)})"
        if op == "gelu":
            return f"F.gelu({arg(0)})"
        if op == "group_norm":
            return f"F.group_norm({arg(0)}, {a['groups']}, {arg(1)}, {arg(2)}, {a['eps']!r})"
        raise SystemExit(f"operator {op} is not supported")

    def slice_expression(self, n, ref):
        ins = n["ins"]
        shape, starts, ends = self.values[ins[0]].shape, self.ints(ins[1]), self.ints(ins[2])
        axes = self.ints(ins[3]) if len(ins) > 3 and ins[3] else range(len(starts))
        steps = self.ints(ins[4]) if len(ins) > 4 and ins[4] else [1] * len(starts)
        index = [":"] * len(shape)
        for start, end, axis, step in zip(starts, ends, axes, steps):
            if step < 0:
                raise SystemExit("Slice with a negative step is not supported")
            index[axis] = "{}:{}:{}".format(*slice(start, end, step).indices(shape[axis]))
        return f"{ref(ins[0])}[{', '.join(index)}]"

    def gather_expression(self, n, ref):
        data, indices = n["ins"]
        axis, index = n["attrs"].get("axis", 0), self.values[indices]
        if indices in self.static and index.dim() == 0:
            return f"{ref(data)}.select({axis}, {index.item()})"
        if axis == 0 and self.rank(data) == 2:
            return f"F.embedding({ref(indices)}, {ref(data)})"
        shape = list(self.values[data].shape)
        shape[axis:axis + 1] = list(index.shape)
        return f"{ref(data)}.index_select({axis}, {ref(indices)}.reshape(-1)).reshape({shape})"

    # ---- recognising what exporters spell out ----
    def recognise(self):
        self.index()
        for rule in (self.find_silu, self.find_gelu, self.find_layer_norm, self.find_group_norm, self.find_linear):
            for n in list(self.nodes):
                if n["op"] != "gone":
                    rule(n)
            self.nodes = [n for n in self.nodes if n["op"] != "gone"]
            self.index()
        self.remove_unused()

    def index(self):
        self.maker = {o: n for n in self.nodes for o in n["outs"]}
        self.users = collections.defaultdict(list)
        for n in self.nodes:
            for i in n["ins"]:
                self.users[i].append(n)
        for o in self.output_names:
            self.users[self.alias.get(o, o)].append(None)

    def only_user(self, name, op):
        users = self.users[name]
        return users[0] if len(users) == 1 and users[0] is not None and users[0]["op"] == op else None

    def other(self, n, name):
        return n["ins"][1] if n["ins"][0] == name else n["ins"][0]

    def replace(self, chain, op, ins, attrs):
        last = chain[-1]
        last.update(op=op, ins=ins, attrs=attrs)
        for n in chain[:-1]:
            n["op"] = "gone"

    def find_silu(self, n):  # x * sigmoid(x)
        if n["op"] != "Sigmoid":
            return
        mul = self.only_user(n["outs"][0], "Mul")
        if mul and self.other(mul, n["outs"][0]) == n["ins"][0]:
            self.replace([n, mul], "silu", [n["ins"][0]], {})

    def find_gelu(self, n):  # x / sqrt(2) -> erf -> + 1 -> * x -> * 0.5
        if n["op"] != "Erf":
            return
        div = self.maker.get(n["ins"][0])
        add = self.only_user(n["outs"][0], "Add")
        if not div or div["op"] != "Div" or not add or abs((self.scalar(div["ins"][1]) or 0) - math.sqrt(2)) > 1e-6:
            return
        x, mul = div["ins"][0], self.only_user(add["outs"][0], "Mul")
        half = mul and self.only_user(mul["outs"][0], "Mul")
        if half and self.other(mul, add["outs"][0]) == x and self.scalar(self.other(half, mul["outs"][0])) == 0.5:
            self.replace([div, n, add, mul, half], "gelu", [x], {})

    def find_layer_norm(self, n):  # mean, subtract, square, mean, + eps, sqrt, divide, * weight, + bias
        if n["op"] != "Div":
            return
        root = self.maker.get(n["ins"][1])
        plus = root and root["op"] == "Sqrt" and self.maker.get(root["ins"][0])
        var = plus and plus["op"] == "Add" and self.maker.get(plus["ins"][0])
        power = var and var["op"] == "ReduceMean" and self.maker.get(var["ins"][0])
        sub = power and power["op"] == "Pow" and self.maker.get(power["ins"][0])
        mean = sub and sub["op"] == "Sub" and sub["outs"][0] == n["ins"][0] and self.maker.get(sub["ins"][1])
        mul = self.only_user(n["outs"][0], "Mul")
        add = mul and self.only_user(mul["outs"][0], "Add")
        if not mean or mean["op"] != "ReduceMean" or mean["ins"][0] != sub["ins"][0] or list(mean["attrs"]["axes"]) != [-1] or not add:
            return
        weight, bias = self.other(mul, n["outs"][0]), self.other(add, mul["outs"][0])
        if weight in self.static and bias in self.static and self.scalar(power["ins"][1]) == 2:
            chain = [mean, sub, power, var, plus, root, n, mul, add]
            self.replace(chain, "LayerNormalization", [sub["ins"][0], weight, bias], {"epsilon": self.scalar(plus["ins"][1])})

    def find_group_norm(self, n):  # reshape to [N, groups, -1], instance norm, reshape back, * weight, + bias
        if n["op"] != "InstanceNormalization":
            return
        before, after = self.maker.get(n["ins"][0]), self.only_user(n["outs"][0], "Reshape")
        mul = after and self.only_user(after["outs"][0], "Mul")
        add = mul and self.only_user(mul["outs"][0], "Add")
        if not add or not before or before["op"] != "Reshape":
            return
        weight, bias = self.other(mul, after["outs"][0]), self.other(add, mul["outs"][0])
        channels = self.values[before["ins"][0]].shape[1]
        plain = (self.values[n["ins"][1]] == 1).all() and (self.values[n["ins"][2]] == 0).all()
        if plain and weight in self.static and bias in self.static and self.values[weight].numel() == self.values[bias].numel() == channels:
            groups = self.values[n["ins"][0]].shape[1]
            ins = [before["ins"][0], self.constant(weight, lambda t: t.reshape(-1)), self.constant(bias, lambda t: t.reshape(-1))]
            keep = before if len(self.users[before["outs"][0]]) > 1 else None
            self.replace(([] if keep else [before]) + [n, after, mul, add], "group_norm", ins, {"groups": groups, "eps": n["attrs"].get("epsilon", 1e-5)})

    def find_linear(self, n):  # x @ constant matrix (+ constant vector)
        if n["op"] != "MatMul" or n["ins"][1] not in self.static or self.rank(n["ins"][1]) != 2:
            return
        weight = self.constant(n["ins"][1], lambda t: t.t().contiguous())
        add = self.only_user(n["outs"][0], "Add")
        bias = add and self.other(add, n["outs"][0])
        if add and bias in self.static and self.rank(bias) == 1:
            self.replace([n, add], "Gemm", [n["ins"][0], weight, bias], {"transB": 1})
        else:
            self.replace([n], "Gemm", [n["ins"][0], weight], {"transB": 1})

    def constant(self, name, change):
        changed = f"{name} changed"
        self.values[changed] = change(self.values[name])
        self.static.add(changed)
        return changed

    def remove_unused(self):
        wanted, kept = {self.alias.get(o, o) for o in self.output_names}, []
        for n in reversed(self.nodes):
            if wanted.intersection(n["outs"]):
                wanted.update(n["ins"])
                kept.append(n)
        self.nodes = kept[::-1]

    # ---- the source ----
    def generate(self):
        self.names, self.constants = {name: f"in{i}" for i, name in enumerate(self.input_names)}, {}
        last_use = {i: k for k, n in enumerate(self.nodes) for i in n["ins"]}
        finals = [self.alias.get(o, o) for o in self.output_names]
        lines = []
        for k, n in enumerate(self.nodes):
            text = self.expression(n, self.reference)
            outs = [self.names.setdefault(o, f"v{len(self.names)}") for o in n["outs"]]
            lines.append(f"{', '.join(outs)} = {text}")
            dead = {self.names[i] for i in n["ins"] if last_use[i] == k and i not in self.static and i not in finals}
            dead -= set(outs)
            if dead:
                lines.append("del " + ", ".join(sorted(dead)))
        lines.append(f"return {', '.join(self.reference(f) for f in finals)}")
        self.source = f"def forward({', '.join(self.names[i] for i in self.input_names)}):\n    " + "\n    ".join(lines)
        scope = {"torch": torch, "F": F, **dict(self.constants.values())}
        exec(compile(self.source, "generated", "exec"), scope)
        self.forward, self.values = scope["forward"], None

    def reference(self, name):
        if name in self.names:
            return self.names[name]
        value = self.values[name]
        if value.dim() == 0 and value.is_floating_point():
            return repr(value.item())
        if name not in self.constants:
            self.constants[name] = (f"c{len(self.constants)}", value.contiguous())
        return self.constants[name][0]

    def __call__(self, inputs):
        return self.forward(*(inputs[i] for i in self.input_names))


def log_p(head, out, target):
    """The sum over the batch of log p; target: labels (softmax), phi (bernoulli)."""
    if head == "sum":
        return out.sum()
    if head == "softmax":
        return F.log_softmax(out, -1).gather(1, target[:, None]).sum()
    return (target * F.logsigmoid(out) + (1 - target) * F.logsigmoid(-out)).sum()


def gradient(module, inputs, wrt, head, target):
    with torch.enable_grad():
        x = inputs[wrt].detach().requires_grad_(True)
        return torch.autograd.grad(log_p(head, module({**inputs, wrt: x}), target), x)[0]


# ---- correctness first ----
def check_oracles(args):
    for case, model, output, grad in ORACLES:
        folder, path = args.oracles / case, args.models / model / "model.onnx"
        if not folder.exists() or not path.exists():
            print(f"check: {case}: absent, skipped", file=sys.stderr)
            continue
        arrays = {p.stem: torch.from_numpy(np.load(p)) for p in folder.glob("*.npy")}
        inputs = {k: v for k, v in arrays.items() if k not in (output, "label", "phi") and not k.startswith("grad_")}
        module = Module(path, inputs)
        errors = []
        if output in arrays:
            with torch.no_grad():
                errors.append((relative(module(inputs), arrays[output]), 5e-6))
        if grad:
            target = arrays.get("label", arrays.get("phi"))
            errors.append((relative(gradient(module, inputs, grad[0], grad[1], target), arrays["grad_" + grad[0]]), 1e-4))
        print(f"check: {case}: " + ", ".join(f"{e:.1e}" for e, _ in errors), file=sys.stderr)
        if any(not e <= limit for e, limit in errors):
            raise SystemExit(f"check: {case}: differs from its oracle")


def relative(got, want):
    return ((got.double() - want.double()).abs().max() / (want.max() - want.min()).clamp(min=1e-12)).item()


# ---- the step ----
def model_inputs(path, batch):
    """Random inputs by the shapes that the model declares; every open dimension is the batch."""
    torch.manual_seed(0)
    inputs = {}
    for i in onnx.load(str(path), load_external_data=False).graph.input:
        dims = [d.dim_value if d.HasField("dim_value") else batch for d in i.type.tensor_type.shape.dim]
        integer = i.type.tensor_type.elem_type == onnx.TensorProto.INT64
        inputs[i.name] = torch.randint(3, 100, dims) if integer else torch.randn(dims)
    return inputs


class Schedule:
    """DDPM tables in double, one float tensor each (cosine for epsilon models, sqrt for x_0 models)."""

    def __init__(self, kind, steps):
        f = (lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2) if kind == "epsilon" else (lambda u: 1 - math.sqrt(u + 0.0001))
        beta = np.array([min(1 - f((i + 1) / steps) / f(i / steps), 0.999) for i in range(steps)])
        bar = np.cumprod(1 - beta)
        before = np.append(1.0, bar[:-1])
        var = beta * (1 - before) / (1 - bar)
        tables = dict(recip=1 / np.sqrt(bar), recipm1=np.sqrt(1 / bar - 1), coef1=beta * np.sqrt(before) / (1 - bar),
                      coef2=(1 - before) * np.sqrt(1 - beta) / (1 - bar), low=np.log(np.append(var[1], var[1:])), high=np.log(beta))
        self.tables = {k: torch.from_numpy(v).float() for k, v in tables.items()}

    def at(self, name, t, x):
        return self.tables[name][t].reshape([-1] + [1] * (x.dim() - 1))


def update(schedule, x, t, out, grad, scale, prediction):
    """x_{t-1} from the denoiser's output and the classifier's gradient."""
    at = lambda name: schedule.at(name, t, x)
    log_var = at("low")
    if out.shape[1] == 2 * x.shape[1]:  # the second half of the channels interpolates the log variance
        out, v = torch.split(out, x.shape[1], 1)
        frac = (v + 1) / 2
        log_var = frac * at("high") + (1 - frac) * log_var
    x0 = (at("recip") * x - at("recipm1") * out).clamp(-1, 1) if prediction == "epsilon" else out
    mean = at("coef1") * x0 + at("coef2") * x + scale * torch.exp(log_var) * grad
    return mean + torch.exp(0.5 * log_var) * torch.randn_like(x)


class Step:
    def __init__(self, pair, args):
        self.pair, self.batch = pair, args.batch or pair["batch"]
        root = args.models if pair["root"] == "models" else args.perf
        paths = {k: root / pair[k] / "model.onnx" for k in ("denoiser", "classifier")}
        self.inputs = {k: model_inputs(p, self.batch) for k, p in paths.items()}
        self.modules = {k: Module(p, self.inputs[k]) for k, p in paths.items()}
        self.x_name = {k: next(n for n in ("sample", "x", "x_t") if n in self.inputs[k]) for k in paths}
        self.t_name = {k: next(n for n in ("timestep", "timesteps", "t") if n in self.inputs[k]) for k in paths}
        self.schedule = Schedule(pair["prediction"], pair["steps"])
        self.target = torch.arange(self.batch) % 10 if pair["head"] == "softmax" else torch.ones(self.batch)
        self.x = self.inputs["denoiser"][self.x_name["denoiser"]]
        self.t = torch.full((self.batch,), pair["steps"] // 2)

    def feed(self, which):
        return {**self.inputs[which], self.x_name[which]: self.x, self.t_name[which]: self.t}

    @torch.no_grad()
    def denoise(self):
        return self.modules["denoiser"](self.feed("denoiser"))

    @torch.no_grad()
    def classify(self):
        return self.modules["classifier"](self.feed("classifier"))

    def guide(self):
        return gradient(self.modules["classifier"], self.feed("classifier"), self.x_name["classifier"], self.pair["head"], self.target)

    @torch.no_grad()
    def step(self):
        return update(self.schedule, self.x, self.t, self.denoise(), self.guide(), 2.0, self.pair["prediction"])


def others_busy(since=None):
    """CPU seconds of everything but this process (with `since`: from then on)."""
    ticks = [int(v) for v in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    now = (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") - time.process_time()
    return now if since is None else now - since


def measure(run, args):
    """(median, best, quiet) in milliseconds of at least 10 runs that take about args.seconds together.

    On a shared machine the median says little. So runs are grouped in windows; while other processes use more than a twentieth of a
    CPU, the window is disturbed, its runs do not count for the median, and measuring goes on for up to args.patience seconds.
    """
    for _ in range(3):
        run()
    everything, quiet = [], []
    start = time.perf_counter()
    while True:
        window, times, busy = time.perf_counter(), [], others_busy()
        while time.perf_counter() - window < 0.5 or len(times) < 2:
            before = time.perf_counter()
            run()
            times.append((time.perf_counter() - before) * 1e3)
        everything += times
        if others_busy(busy) < 0.05 * (time.perf_counter() - window):
            quiet += times
        spent = time.perf_counter() - start
        if spent >= args.seconds and len(everything) >= 10 and (len(quiet) >= 10 or spent >= args.patience):
            break
    enough = len(quiet) >= 10
    return statistics.median(quiet if enough else everything), min(everything), enough


def blas_libraries():
    """The BLAS libraries this process has loaded, as text; OpenBLAS says its version and the kernels it has chosen."""
    found = {}
    for path in sorted({os.path.realpath(m) for m in re.findall(r"\S*/lib\S*blas\S*\.so\S*", pathlib.Path("/proc/self/maps").read_text())}):
        config = getattr(ctypes.CDLL(path), "openblas_get_config", None)
        if config:
            config.restype = ctypes.c_char_p
        found.setdefault(config().decode().strip() if config else path, path)
    return "; ".join(found)


def prefer_fast_blas():
    """Start again with OpenBLAS's kernels for this CPU where OpenBLAS knows the CPU too little to use its vector units.

    It chooses by model number and falls back to SSE kernels (Prescott and older) on CPUs newer than itself, which would make
    the comparison unfair. A core type given by the user stays.
    """
    if "OPENBLAS_CORETYPE" in os.environ or not re.search(r"Prescott|Core2|Nehalem|Generic", blas_libraries()):
        return
    info = pathlib.Path("/proc/cpuinfo").read_text()
    core = "SKYLAKEX" if " avx512f " in info else "HASWELL" if " avx2 " in info else None
    if core:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OPENBLAS_CORETYPE": core})


def peak_rss_mb():
    """Of this process alone: getrusage's figure survives exec."""
    return round(int(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 1024, 1)


def run_pair(name, args):
    s = Step(PAIRS[name], args)
    result, quiet = dict(pair=name, batch=s.batch, threads=args.threads), True
    parts = (("denoiser", s.denoise), ("classifier_forward", s.classify), ("classifier", s.guide), ("step", s.step))
    for key, run in parts[-1:] if args.step_only else parts:
        median, best, enough = measure(run, args)
        result[f"{key}_ms"], result[f"{key}_best_ms"] = round(median, 3), round(best, 3)
        quiet = quiet and enough
    result["quiet"] = quiet  # false: other processes were running, only the best times mean anything
    result["peak_rss_mb"] = peak_rss_mb()
    result["torch"], result["blas"] = torch.__version__, blas_libraries()
    print(json.dumps(result), flush=True)


def parse():
    repo = pathlib.Path(__file__).resolve().parent.parent
    fixtures = os.environ.get("VEER_FIXTURES")
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("pairs", nargs="*", metavar="PAIR", help="digits e2e adm64 difflm")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--batch", type=int, help="instead of the pair's own")
    ap.add_argument("--seconds", type=float, default=5, help="for each of the four measurements of a pair")
    ap.add_argument("--patience", type=float, default=20, help="seconds to wait for enough undisturbed runs, likewise")
    ap.add_argument("--models", type=pathlib.Path, default=repo / "examples")
    ap.add_argument("--oracles", type=pathlib.Path, default=repo / "tests/data/oracles")
    ap.add_argument("--perf", type=pathlib.Path, default=pathlib.Path(fixtures) / "perf" if fixtures else None,
                    help="folder of the large models with their weights.bin; $VEER_FIXTURES/perf unless given")
    ap.add_argument("--step-only", action="store_true", help="time the whole guided step, not its parts")
    ap.add_argument("--no-check", action="store_true", help="do not compare with the oracles first")
    ap.add_argument("--source", metavar="MODEL", type=pathlib.Path, help="print the PyTorch code generated for an ONNX file instead")
    args = ap.parse_args()
    for pair in args.pairs:
        if pair not in PAIRS:
            ap.error(f"no pair {pair}: one of {' '.join(PAIRS)}")
    return args


def main():
    args = parse()
    prefer_fast_blas()
    torch.set_num_threads(args.threads)
    if args.source:
        print(Module(args.source, model_inputs(args.source, args.batch or 2)).source)
        return
    if not args.no_check:
        check_oracles(args)
    pairs = args.pairs or [p for p, v in PAIRS.items() if v["root"] == "models" or args.perf]
    if any(PAIRS[p]["root"] == "perf" for p in pairs) and not args.perf:
        raise SystemExit("the large models need --perf DIR or VEER_FIXTURES")
    if len(pairs) == 1:
        run_pair(pairs[0], args)
        return
    for pair in pairs:  # a process each, so that peak_rss_mb is its own
        options = [f"--{k}={v}" for k, v in vars(args).items() if k not in ("pairs", "no_check", "step_only", "source") and v is not None]
        options += ["--step-only"] * args.step_only
        subprocess.run([sys.executable, __file__, pair, "--no-check", *options], check=True)


if __name__ == "__main__":
    main()
