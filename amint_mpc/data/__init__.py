"""Images: a registry of datasets, and the split into members, external and unseen images."""

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
