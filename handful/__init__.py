"""handful: an image classifier from a handful of labelled photos.

An installation holds `handful.service` and `handful.training` below this package. In a checkout and in a Bento the two
lie beside it, at the top, and are found there.
"""

from pathlib import Path

_here = Path(__file__).parent
if not (_here / "service").is_dir():
    __path__.append(str(_here.parent))
