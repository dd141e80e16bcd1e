"""docs/images/: the web page with an answer, the top of a report, the top row of `explain`.

All from generated photos. The pictures have few colours, so that each stays under MAX_BYTES.
"""

from __future__ import annotations

import io

from PIL import Image

from docs.blocks import ROOT
from docs.browser import browser
from docs.examples import EXAMPLES, environment, generated_photos, shell
from docs.server import serving

IMAGES = ROOT / "docs/images"
MAX_BYTES = 120_000
PHOTO = "new-photos/handbags/0007.jpg"  # not one of the training photos


def renew() -> None:
    IMAGES.mkdir(exist_ok=True)
    with generated_photos() as folder, browser() as page:
        for command in EXAMPLES["train"]:
            shell(command, folder)
        report = folder / "home/models/bags/1/report/report.html"
        page.open(report.as_uri(), 800, 860)
        _save("report", page.screenshot())
        shell(f"handful explain {PHOTO} --out why.png --short", folder)
        _save("explain", (folder / "why.png").read_bytes())
        with serving(folder, environment(folder)) as address:
            page.open(f"http://{address}/", 720, 640)
            page.choose_file("input[type=file]", folder / PHOTO)
            page.wait_for("document.querySelector('#answer h2')")
            _save("page", page.screenshot())


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
