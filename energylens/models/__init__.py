"""Models: a name -> an eval-mode nn.Module on float images in [0, 1]; normalisation is a layer of the model.

    model = load_model("Carmon2019")        # RobustBench's name, or its unambiguous beginning
    model.card                              # where it came from, what was published, the digest of its weights

Importing this package imports no torch: `find_models` alone reads a small table.
"""

import importlib
from typing import TYPE_CHECKING, Any

from energylens.models.zoo import ZooRow, find_models

if TYPE_CHECKING:
    from energylens.models.card import ModelCard, card_of, current_card, model_title, module_digest, weights_digest
    from energylens.models.loading import load_model

__all__ = [
    "ModelCard",
    "ZooRow",
    "card_of",
    "current_card",
    "find_models",
    "load_model",
    "model_title",
    "module_digest",
    "weights_digest",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "loading" if name == "load_model" else "card"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
