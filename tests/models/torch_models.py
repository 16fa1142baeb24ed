"""Small models as PyTorch exports them, with their gradients by autograd: a ViT, a BERT and a U-Net classifier.

Usage: torch_models.py FOLDER. For each model <name>.onnx, <name>.<input>.npy for every input, <name>.d_logits.npy, the
cotangent, and <name>.grad_<input>.npy."""
import math
import sys
import warnings

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

warnings.filterwarnings("ignore")
torch.manual_seed(20251122)
torch.set_num_threads(1)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, mask=None):
        b, n, w = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, w // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(w // self.heads)
        if mask is not None:
            scores = scores + mask
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, w))


class Block(nn.Module):
    def __init__(self, width, heads, first):
        super().__init__()
        self.first, self.attention = first, Attention(width, heads)
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, mask=None):
        if self.first:
            x = x + self.attention(self.one(x), mask)
            return x + self.mlp(self.two(x))
        x = self.one(x + self.attention(x, mask))
        return self.two(x + self.mlp(x))


class ViT(nn.Module):
    def __init__(self, width=32, patches=16):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, patches + 1, width))
        self.blocks = nn.ModuleList(Block(width, 4, True) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, pixels):
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class Bert(nn.Module):
    def __init__(self, width=32, length=12):
        super().__init__()
        self.pos, self.norm = nn.Embedding(length, width), nn.LayerNorm(width)
        self.types = nn.Embedding(2, width)
        self.blocks = nn.ModuleList(Block(width, 4, False) for _ in range(2))
        self.pool, self.head = nn.Linear(width, width), nn.Linear(width, 5)

    def forward(self, embeds, mask, token_types):
        positions = torch.arange(embeds.shape[1]).expand(embeds.shape[0], -1)
        x = self.norm(embeds + self.pos(positions) + self.types(token_types))
        bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * -10000.0
        for block in self.blocks:
            x = block(x, bias)
        return self.head(torch.tanh(self.pool(x[:, 0])))


class Res(nn.Module):
    def __init__(self, a, b, emb):
        super().__init__()
        self.n1, self.c1, self.e = nn.GroupNorm(4, a), nn.Conv2d(a, b, 3, padding=1), nn.Linear(emb, 2 * b)
        self.n2, self.c2 = nn.GroupNorm(4, b), nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x, e):
        h = self.c1(F.silu(self.n1(x)))
        scale, shift = self.e(F.silu(e))[:, :, None, None].chunk(2, 1)
        return self.skip(x) + self.c2(F.silu(self.n2(h) * (1 + scale) + shift))


class UNetClassifier(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32))
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.d1, self.down, self.d2 = Res(width, width, 32), nn.Conv2d(width, width, 3, 2, 1), Res(width, 32, 32)
        self.norm, self.attention = nn.GroupNorm(4, 32), Attention(32, 2)
        self.up, self.u1 = nn.Conv2d(32, 32, 3, padding=1), Res(32 + width, width, 32)
        self.last, self.head = nn.GroupNorm(4, width), nn.Linear(width, 10)

    def forward(self, x, t):
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(8) / 8)
        e = self.time(torch.cat([angles.cos(), angles.sin()], 1))
        top = self.d1(self.stem(x), e)
        h = self.d2(self.down(top), e)
        b, c, s, _ = h.shape
        h = h + self.attention(self.norm(h).flatten(2).transpose(1, 2)).transpose(1, 2).view(b, c, s, s)
        h = self.up(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        h = F.silu(self.last(self.u1(torch.cat([h, top], 1), e)))
        return self.head(F.avg_pool2d(h, 4).mean((2, 3)))


def export(folder, name, model, inputs, wrt):
    model.eval()
    values = list(inputs.values())
    inputs[wrt].requires_grad_()
    logits = model(*values)
    cotangent = torch.randn_like(logits)
    (gradient,) = torch.autograd.grad((logits * cotangent).sum(), inputs[wrt])
    inputs[wrt].requires_grad_(False)
    torch.onnx.export(model, tuple(values), f"{folder}/{name}.onnx", input_names=list(inputs), output_names=["logits"],
                      opset_version=16)
    for key, value in inputs.items():
        np.save(f"{folder}/{name}.{key}.npy", value.numpy())
    np.save(f"{folder}/{name}.d_logits.npy", cotangent.numpy())
    np.save(f"{folder}/{name}.logits.npy", logits.detach().numpy())
    np.save(f"{folder}/{name}.grad_{wrt}.npy", gradient.numpy())


folder = sys.argv[1]
export(folder, "vit", ViT(), {"pixels": torch.randn(2, 3, 16, 16)}, "pixels")
mask = torch.ones(2, 12, dtype=torch.int64)
mask[1, 9:] = 0
types = torch.zeros(2, 12, dtype=torch.int64)
types[:, 6:] = 1
export(folder, "bert", Bert(), {"embeds": torch.randn(2, 12, 32), "mask": mask, "token_types": types}, "embeds")
export(folder, "unet", UNetClassifier(), {"x": torch.randn(2, 3, 16, 16), "t": torch.tensor([3, 700])}, "x")
