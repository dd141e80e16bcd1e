"""handful: an image classifier from a handful of labelled photos.

    import handful

    model = handful.train("photos")           # or handful.load("bags"), a folder, "ORG/REPO"
    print(model("photo.jpg").label)

docs/python.md shows all of it. Nothing heavy is loaded before a name is first used.

An installation holds `handful.service` and `handful.training` below this package. In a checkout and in a Bento the two
lie beside it, at the top, and are found there.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from handful.model import Model as Model
    from handful.model import load as load
    from handful.model import train as train
    from handful.prediction import Evaluation as Evaluation
    from handful.prediction import Explained as Explained
    from handful.prediction import Prediction as Prediction
    from handful.prediction import Predictions as Predictions
    from handful.service.artifact.errors import ArtifactError as ArtifactError
    from handful.service.artifact.errors import BackboneError as BackboneError
    from handful.service.artifact.errors import DataError as DataError
    from handful.service.artifact.errors import HandfulError as HandfulError
    from handful.service.artifact.errors import HubError as HubError
    from handful.service.artifact.errors import ImageError as ImageError
    from handful.service.artifact.errors import ModelNotFound as ModelNotFound
    from handful.service.artifact.errors import UsageError as UsageError

_EXPORTS = {  # module -> its public names (PEP 562)
    "handful.model": ("Model", "load", "train"),
    "handful.prediction": ("Evaluation", "Explained", "Prediction", "Predictions"),
    "handful.service.artifact.errors": (
        *("ArtifactError", "BackboneError", "DataError", "HandfulError", "HubError", "ImageError", "ModelNotFound"),
        "UsageError",
    ),
}
__all__ = [
    *("ArtifactError", "BackboneError", "DataError", "Evaluation", "Explained", "HandfulError", "HubError"),
    *("ImageError", "Model", "ModelNotFound", "Prediction", "Predictions", "UsageError", "load", "train"),
]

_here = Path(__file__).parent
if not (_here / "service").is_dir():
    __path__.append(str(_here.parent))


def __getattr__(name: str) -> object:
    for module, names in _EXPORTS.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
