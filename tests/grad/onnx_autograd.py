"""Gradients by torch.autograd of what the rows of frontend/onnx/forms.def say in PyTorch, against those that test_grad_onnx wrote.

Reads a JSON list of {row, expr, args: [[name, shape, values]], weights, grads, v, seconds: {name: values}, by_weights}, where
seconds and by_weights are the gradients of h = sum of v * grads by inputs and weights; prints lines "row error error-of-second", each
error relative to the largest element (1 at least), -1 where PyTorch itself has no second derivative."""
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


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def error(got, want):
    return ((tensor(got) - want.flatten()).abs().max() / max(1.0, want.abs().max())).item() if got else 0.0


def gradients(y, by, **more):
    """Zeros where y does not depend on an input."""
    if not y.requires_grad:
        return [torch.zeros_like(x) for x in by]
    return [torch.zeros_like(x) if g is None else g for x, g in zip(by, torch.autograd.grad(y, by, allow_unused=True, **more))]


for case in json.load(open(sys.argv[1])):
    names = {}
    for name, shape, values in case["args"]:
        names[name] = tensor(values).view(shape).requires_grad_(name[0] == "x")
    inputs = list(case["grads"])
    weights = tensor(case["weights"]).requires_grad_()
    y = eval(case["expr"], {**globals(), **names})
    first = gradients((y.flatten() * weights).sum(), [names[n] for n in inputs], create_graph=True)
    worst = max(error(case["grads"][n], g) for n, g in zip(inputs, first))
    h = sum((tensor(case["v"][n]) * g.flatten()).sum() for n, g in zip(inputs, first))
    try:
        second = gradients(h, [names[n] for n in inputs] + [weights])
        wanted = [case["seconds"][n] for n in inputs] + [case["by_weights"]]
        again = max(error(got, want) for got, want in zip(wanted, second))
    except (RuntimeError, NotImplementedError) as what:  # an operator that PyTorch differentiates once
        if "not implemented" not in str(what):
            raise
        again = -1.0
    print(case["row"], worst, again)
