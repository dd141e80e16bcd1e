"""What answers: everything needed to classify an image, nothing that learns."""

from pathlib import Path

import handful

IMPORT_ROOT = Path(handful.__file__).parents[
    1
]  # where `import handful` finds this code: a checkout, a Bento, an installation
