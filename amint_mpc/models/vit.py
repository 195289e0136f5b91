"""A vision transformer for small images, of torchvision's encoder blocks.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", arXiv 2010.11929, section 3.1; patch 4, tokens of 64 and 12
blocks as in aMINT's experiments (arXiv 2509.07879). A head has 32 numbers, so that a token of 64 has two of them; the
MLP is 4 times as wide as a token, as in table 1 of the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from amint_mpc.errors import UsageError
from amint_mpc.models.backbone import BackboneSpec, StagedBackbone
from amint_mpc.models.registry import register_backbone

PATCH = 4
HEAD = 32


class _Embed(nn.Module):
    """Patches -> tokens, each with its learned position."""

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        height, width = (side // PATCH for side in spec.shape[1:])
        self.patches = nn.Conv2d(spec.shape[0], spec.width, PATCH, PATCH)
        self.positions = nn.Parameter(torch.randn(1, spec.width, height, width) * 0.02)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.patches(images) + self.positions
        return tokens


class _Blocks(nn.Sequential):
    """Encoder blocks on tokens that come and go as maps [n, width, h, w]."""

    def forward(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2).transpose(1, 2)
        for block in self:
            tokens = block(tokens)
        return tokens.transpose(1, 2).reshape(maps.shape)  # a view


@register_backbone("vit", width=64, small=32)
class ViT(StagedBackbone):
    """Patches of 4 x 4 pixels, 12 encoder blocks (5 in the small version), the mean of all tokens.

    The mean takes the place of the class token, so that one map [n, width, h / 4, w / 4] holds all that the rest
    depends on. Taps: `entry` the embedding and block 1; `middle` blocks 6 and 7 (2 and 3); `output` the last two.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        from torchvision.models.vision_transformer import EncoderBlock  # seconds to import, and only this needs it

        def blocks(count: int) -> list[nn.Module]:
            return [EncoderBlock(spec.width // HEAD, spec.width, 4 * spec.width, 0.0, 0.0) for _ in range(count)]

        counts = spec.pick((1, 5, 1, 4, 1), (1, 1, 1, 1, 1))
        stages = [_Blocks(*blocks(count)) for count in counts]
        classify = nn.Sequential(nn.LayerNorm(spec.width, eps=1e-6), nn.Linear(spec.width, spec.classes))
        super().__init__(spec, [_Embed(spec), *stages], classify)

    @classmethod
    def check(cls, spec: BackboneSpec) -> None:
        height, width = spec.shape[1:]
        if height % PATCH or width % PATCH or not height or not width:
            raise UsageError(
                f"images of {height} x {width} pixels cannot be cut into patches of {PATCH} x {PATCH}",
                f"Both sides must be multiples of {PATCH}",
            )
        if spec.width % HEAD:
            raise UsageError(f"a width of {spec.width} cannot be cut into heads", f"Take a multiple of {HEAD}")
