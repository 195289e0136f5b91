"""Models: backbones with named taps, the features of those taps, and the weights of the membership head.

registry.py    backbones by name: resnet.py, mobilenet.py, densenet.py, xception.py, vit.py
backbone.py    what each of them offers
classifier.py  the developer's model: a backbone, and the features (features.py) of its taps
head_weights.py, conv_head_weights.py   the head's weights: how they start, what they compute, and their file
"""

# A module of backbones registers them when it is imported.
from amint_mpc.models import densenet as densenet
from amint_mpc.models import mobilenet as mobilenet
from amint_mpc.models import resnet as resnet
from amint_mpc.models import vit as vit
from amint_mpc.models import xception as xception
from amint_mpc.models.backbone import TAPS, Backbone, BackboneSpec, StagedBackbone, Taps
from amint_mpc.models.classifier import Classifier, build_classifier, feature_count
from amint_mpc.models.conv_head_weights import ConvWeights, init_conv_head, load_conv_head
from amint_mpc.models.features import Features
from amint_mpc.models.head_weights import HeadWeights, init_head, load_head, seeded_normal
from amint_mpc.models.registry import BACKBONES, check_backbone, register_backbone

__all__ = [
    "BACKBONES",
    "TAPS",
    "Backbone",
    "BackboneSpec",
    "Classifier",
    "ConvWeights",
    "Features",
    "HeadWeights",
    "StagedBackbone",
    "Taps",
    "build_classifier",
    "check_backbone",
    "feature_count",
    "init_conv_head",
    "init_head",
    "load_conv_head",
    "load_head",
    "register_backbone",
    "seeded_normal",
]
