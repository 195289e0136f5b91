"""The method, aMINT (arXiv 2509.07879), in plaintext: it knows no secure computation.

schedule.py         every step and scoring of a run, in order; both parties walk the same list
audit.py            `Audit`, where any training loop meets the head, which is known only as `MintHead`
                    (plaintext_head.py); told.py its events, seat.py what it is given by whoever has the head
taps.py, mint_loss.py   hooks on a model's modules; the membership loss as autograd meets it
loop_errors.py      what a loop is told that does not keep to the experiment
batches.py, evaluation.py   the agreed batches; whole sets through the classifier
trainer.py          the training loop of this program; objective.py the joint loss
optimizers.py       how the head's weights move
opened_gradient.py  what the developer gets of the head's gradient where the auditor tells less of it
plaintext_head.py, plaintext_conv_head.py   the heads that a secure one is compared with
scoring.py          the order of a scoring's rows, and the way back to their sets
metrics.py          figures with intervals; chooses the threshold, on calibration images, for whoever has the scores
verdicts.py         what scores of queried images say: threshold, p, q
stopping.py         early stopping on calibration images; snapshot.py what a training resumes from
sealing.py          features and rows of sealed epochs; transfer.py tensors between an accelerator and the host
passive.py, attacks/, detectors.py, outputs.py   what active MINT is compared with
robustness.py, image_changes.py, model_changes.py   whether the audit survives changes of image and classifier
"""

from amint_mpc.amint.audit import Audit
from amint_mpc.amint.batches import Batch
from amint_mpc.amint.metrics import MembershipFigures, membership_figures
from amint_mpc.amint.plaintext_conv_head import PlaintextConvHead
from amint_mpc.amint.plaintext_head import MintHead, PlaintextHead
from amint_mpc.amint.schedule import SCORE_BATCH, ScoreSets, TrainStep, schedule
from amint_mpc.amint.trainer import Trainer

__all__ = [
    "SCORE_BATCH",
    "Audit",
    "Batch",
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
