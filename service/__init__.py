"""What answers: everything needed to classify an image, nothing that learns."""

from pathlib import Path

import handful

# the folder in which `import handful` finds this code: a checkout, a Bento or site-packages
IMPORT_ROOT = Path(handful.__file__).parents[1]
