"""What answers: everything needed to classify an image, nothing that learns."""

from pathlib import Path

import handful

if __name__ == "service":
    # BentoML imports it by this name, in a checkout and in a Bento. To load the Bento `handful:TAG` it first looks for
    # a module `handful`, and so may have imported an installed one. The code beside this file is what must run.
    _root = Path(__file__).parents[1]
    handful.__path__[:] = [str(_root / "handful"), str(_root)]
