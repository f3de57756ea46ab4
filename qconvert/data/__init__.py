"""A dataset folder becomes named input batches: find parts and kinds, decode, preprocess, label, check."""

from .dataset import Dataset, open_dataset
from .samples import Sample, Samples
from .sanity import Hints, Watch, sanity, scan
from .settings import DatasetSettings, InputSettings, Preprocess, Resize
from .userfunc import load_function

__all__ = [
    "Dataset",
    "DatasetSettings",
    "Hints",
    "InputSettings",
    "Preprocess",
    "Resize",
    "Sample",
    "Samples",
    "Watch",
    "load_function",
    "open_dataset",
    "sanity",
    "scan",
]
