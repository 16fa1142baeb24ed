"""Gradients by torch.autograd of what the rows of frontend/onnx/forms.def say in PyTorch, against those that test_grad_onnx wrote.

Reads a JSON list of {row, expr, args: [[name, shape, values]], weights, grads: {name: values}}; prints "row error" lines,
the error relative to the largest element of the gradient (1 at least)."""
import json
import math
import sys

import torch
import torch.nn.functional as F


def rnn(x, w, r, b):
    h, out, n = torch.zeros(x.shape[1], r.shape[0]).double(), [], r.shape[0]
    for t in x:
        h = torch.tanh(t @ w.T + h @ r.T + b[:n] + b[n:])
        out.append(h)
    return torch.stack(out)


def gru(x, w, r, b):
    n = r.shape[1]
    h, out = torch.zeros(x.shape[1], n).double(), []
    wb, rb = b[:3 * n], b[3 * n:]
    for t in x:
        a = t @ w.T + wb
        z = torch.sigmoid(a[:, :n] + h @ r[:n].T + rb[:n])
        reset = torch.sigmoid(a[:, n:2 * n] + h @ r[n:2 * n].T + rb[n:2 * n])
        new = torch.tanh(a[:, 2 * n:] + (reset * h) @ r[2 * n:].T + rb[2 * n:])
        h = (1 - z) * new + z * h
        out.append(h)
    return torch.stack(out)


def lstm(x, w, r, b):
    n = r.shape[1]
    h = c = torch.zeros(x.shape[1], n).double()
    out = []
    for t in x:
        a = t @ w.T + h @ r.T + b[:4 * n] + b[4 * n:]
        i, o, f, g = a[:, :n].sigmoid(), a[:, n:2 * n].sigmoid(), a[:, 2 * n:3 * n].sigmoid(), a[:, 3 * n:].tanh()
        c = f * c + i * g
        h = o * c.tanh()
        out.append(h)
    return torch.stack(out)


def scatter_mul(x, index, updates):
    """Along axis 1, without in-place products."""
    rows = []
    for i in range(x.shape[0]):
        row = list(x[i])
        for k, at in enumerate(index[i].tolist()):
            row[at] = row[at] * updates[i, k]
        rows.append(torch.stack(row))
    return torch.stack(rows)


for case in json.load(open(sys.argv[1])):
    names = {}
    for name, shape, values in case["args"]:
        names[name] = torch.tensor(values, dtype=torch.float64).view(shape).requires_grad_(name[0] == "x")
    y = eval(case["expr"], {**globals(), **names})
    (y.flatten() * torch.tensor(case["weights"], dtype=torch.float64)).sum().backward()
    worst = 0.0
    for name, values in case["grads"].items():
        want, got = names[name].grad.flatten(), torch.tensor(values, dtype=torch.float64)
        worst = max(worst, ((got - want).abs().max() / max(1.0, want.abs().max())).item())
    print(case["row"], worst)
