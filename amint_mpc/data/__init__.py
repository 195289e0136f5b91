"""Images: a registry of datasets, and the split into members, external and unseen images.

registry.py    datasets by name: mnist.py (idx.py), cifar.py, gtsrb.py, tiny_imagenet.py, classfolders.py
pictures.py    image files -> pixels; files.py folders and lists, bounded, every complaint at once
split.py       who is member, external, unseen; duplicates.py identical pictures
own_sets.py    sets that a loop of one's own brings, read image by image (reading_ahead.py)
order.py       which step uses which image
"""

from amint_mpc.data.duplicates import SplitCounts
from amint_mpc.data.registry import DATASETS, Dataset, LabelledImages, dataset
from amint_mpc.data.split import SETS, SplitImages, load_split, set_counts, split_images

__all__ = [
    "DATASETS",
    "SETS",
    "Dataset",
    "LabelledImages",
    "SplitCounts",
    "SplitImages",
    "dataset",
    "load_split",
    "set_counts",
    "split_images",
]
