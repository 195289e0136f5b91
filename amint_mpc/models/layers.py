"""The convolution that all of our convolutional backbones are made of."""

from __future__ import annotations

from torch import nn


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution with a batch norm: maps [n, inputs, h, w] -> [n, outputs, h / stride, w / stride], rounded up.

    Args:
        kernel: side, odd.
        groups: `inputs` for a depthwise convolution.
    """
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))
