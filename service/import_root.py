"""Where a new process finds this code."""

import sys
from pathlib import Path

# The folder in which `import handful` finds it: a checkout, a Bento's src/, or an installation's site-packages.
IMPORT_ROOT = Path(sys.modules["handful"].__path__[0]).parent
