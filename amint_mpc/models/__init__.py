"""Models: backbones with named taps, the features of those taps, and the membership head in plaintext."""

from amint_mpc.models.backbone import Backbone, Taps
from amint_mpc.models.classifier import BACKBONES, Classifier, build_classifier, feature_count
from amint_mpc.models.conv_head import ConvWeights, init_conv_head, load_conv_head
from amint_mpc.models.features import FEATURE_LIMIT, Features
from amint_mpc.models.head import (
    GRADIENT_LIMIT,
    HIDDEN_LIMIT,
    LOGIT_LIMIT,
    HeadWeights,
    init_head,
    load_head,
    seeded_normal,
)

__all__ = [
    "BACKBONES",
    "FEATURE_LIMIT",
    "GRADIENT_LIMIT",
    "HIDDEN_LIMIT",
    "LOGIT_LIMIT",
    "Backbone",
    "Classifier",
    "ConvWeights",
    "Features",
    "HeadWeights",
    "Taps",
    "build_classifier",
    "feature_count",
    "init_conv_head",
    "init_head",
    "load_conv_head",
    "load_head",
    "seeded_normal",
]
