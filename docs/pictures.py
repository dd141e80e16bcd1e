"""docs/images/: the web page with answers and with what was learned, the top of a report, the top row of `explain`.

All from generated photos. The pictures have few colours, so that each stays under MAX_BYTES.
"""

from __future__ import annotations

import io
import shutil

from PIL import Image

from docs.blocks import ROOT
from docs.browser import browser
from docs.examples import EXAMPLES, environment, generated_photos, shell
from docs.server import serving

IMAGES = ROOT / "docs/images"
MAX_BYTES = 120_000
PHOTO = "new-photos/handbags/0007.jpg"  # not one of the training photos
TRIED = [f"new-photos/{label}/{number:04}.*" for label in ("handbags", "shoes") for number in (3, 7)]


def renew() -> None:
    IMAGES.mkdir(exist_ok=True)
    with generated_photos() as folder, browser() as page:
        for command in EXAMPLES["train"]:
            shell(command, folder)
        shutil.copytree(folder / "photos", folder / "home/photos/bags")  # into the photo library
        report = folder / "home/models/bags/1/report/report.html"
        page.open(report.as_uri(), 800, 860)
        _save("report", page.screenshot())
        shell(f"handful explain {PHOTO} --out why.png --short", folder)
        _save("explain", (folder / "why.png").read_bytes())
        with serving(folder, environment(folder)) as address:
            page.open(f"http://{address}/#/m/bags/try", 1120, 900)
            page.wait_for("document.querySelector('.drop-zone')")
            page.choose_files("input[type=file]", *(next(folder.glob(photo)) for photo in TRIED))
            page.wait_for("document.querySelector('.chips')")
            page.wait_for("[...document.querySelectorAll('img')].every(each => each.complete)")
            _save("page", page.screenshot())
            page.open(f"http://{address}/#/m/bags/photos", 1120, 700)
            page.wait_for("document.querySelectorAll('.thumb img').length > 20")
            page.wait_for("[...document.querySelectorAll('.thumb img')].slice(0, 12).every(each => each.complete)")
            _save("page-photos", page.screenshot())


def _save(name: str, picture: bytes) -> None:
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (256, 128, 64, 32):
        out = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= MAX_BYTES:
            break
    path = IMAGES / f"{name}.png"
    path.write_bytes(out.getvalue())
    print(f"{path.relative_to(ROOT)}: {image.width} x {image.height}, {colours} colours, {out.tell() / 1000:.0f} kB")
