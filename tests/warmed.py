"""What commands compute alike each time, computed before they are forked (`commands.py`)."""

from handful.training.photos.generic import generic_pictures
from PIL import Image

generic_pictures()
Image.init()
