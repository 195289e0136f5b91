"""The method, aMINT (arXiv 2509.07879): joint objective, schedule, training loop, figures."""

from amint_mpc.amint.metrics import MembershipFigures, membership_figures
from amint_mpc.amint.plaintext_conv_head import PlaintextConvHead
from amint_mpc.amint.plaintext_head import MintHead, PlaintextHead
from amint_mpc.amint.schedule import SCORE_BATCH, ScoreSets, TrainStep, schedule
from amint_mpc.amint.trainer import Trainer

__all__ = [
    "SCORE_BATCH",
    "MembershipFigures",
    "MintHead",
    "PlaintextConvHead",
    "PlaintextHead",
    "ScoreSets",
    "TrainStep",
    "Trainer",
    "membership_figures",
    "schedule",
]
