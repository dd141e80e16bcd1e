"""Kinds of files: which endings promise a photo, and what to do with a photo of a kind that is not read."""

from __future__ import annotations

from pathlib import PurePath

READ = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
ALLOWED = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
EXPORT = "export it as JPEG and take that file"

_READ_ENDINGS = (
    "jpg jpeg jpe jfif jif jps mpo insp png apng pns webp gif bmp dib tif tiff heic heif heics heifs hif avif avifs"
)
# Cameras' raw files, by maker: Adobe, Arri, Canon, Casio, Epson, Fujifilm, GoPro, Hasselblad, Kodak, Leaf, Leica,
# Mamiya, Minolta, Nikon, Olympus, Panasonic, Pentax, Phase One, Red, Samsung, Sigma, Sony.
_RAW_ENDINGS = (
    "dng ari crw cr2 cr3 bay erf raf gpr 3fr fff dcr dcs drf k25 kdc mos rwl mef mrw mdc nef nrw orf ori raw rw2 pef"
    " ptx cap eip iiq r3d srw x3f arw ari sr2 srf rwz braw"
)
_OTHER_ENDINGS = (
    "avci avcs jxl jp2 j2k j2c jpc jpf jpx jpm jph jxr wdp hdp jxs psd psb xcf kra ora clip svg svgz ico icns cur tga"
    " icb vda vst pcx dcx ppm pgm pbm pnm pam pfm exr hdr dds bpg flif qoi eps ps ai emf wmf fit fits fts dcm dicom"
    " xbm xpm sgi rgb rgba bw ras sun pict pct pic livp fpx djvu wbmp ktx afphoto procreate"
)
RAW_SUFFIXES = frozenset(f".{ending}" for ending in _RAW_ENDINGS.split())
SUFFIXES = frozenset(f".{ending}" for ending in f"{_READ_ENDINGS} {_OTHER_ENDINGS}".split()) | RAW_SUFFIXES

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RIFF, _BOXES = b"RIFF", b"ftyp"
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
_AVIF_BRANDS = (b"avif", b"avis")

_RAW = "a camera's raw file"
_OTHERS = (  # where, first bytes, what it is
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"II\xbc\x01", "a JPEG XR picture"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"#?RADIANCE", "a Radiance HDR picture"),
    (0, b"BPG\xfb", "a BPG picture"),
    (0, b"qoif", "a QOI picture"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"FLIF", "a FLIF picture"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"\0\0\2\0", "a cursor"),
    (0, b"icns", "an icon"),
    (0, b"SIMPLE  =", "a FITS file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"\0MRM", _RAW),
    (0, b"FOVb", _RAW),
    (8, b"CR\x02", _RAW),
    (6, b"HEAPCCDR", _RAW),
    (4, b"ftypcrx", _RAW),
    (4, b"ftypqt", "a video"),
    (4, b"ftypisom", "a video"),
    (4, b"ftypmp4", "a video"),
    (4, b"ftypM4V", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"PK\x03\x04", "a zip"),
)


def begins_like_image(head: bytes) -> bool:
    """Whether a file with these first 16 bytes is worth a look, whatever its name."""
    return head.startswith(SIGNATURES) or is_webp(head) or is_heif(head) or is_avif(head)


def is_webp(data: bytes) -> bool:
    return data[:4] == _RIFF and data[8:12] == b"WEBP"


def has_boxes(data: bytes) -> bool:
    """Whether it may be HEIF or AVIF, which lie in the same kind of box."""
    return is_heif(data) or is_avif(data)


def is_heif(data: bytes) -> bool:
    return data[4:8] == _BOXES and data[8:12] in _HEIF_BRANDS


def is_avif(data: bytes) -> bool:
    return data[4:8] == _BOXES and data[8:12] in _AVIF_BRANDS


def foreign_kind(data: bytes) -> str | None:
    """What a file is whose kind is not read, in words; None where its first bytes do not tell."""
    for start, signature, kind in _OTHERS:
        if data.startswith(signature, start):
            return kind
    head = data[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return "an SVG drawing" if head.startswith(b"<svg") or (head[:5] == b"<?xml" and b"<svg" in head) else None


def is_raw(name: str) -> bool:
    """Whether the ending is one of a camera's raw file."""
    return PurePath(name).suffix.lower() in RAW_SUFFIXES


def ending(name: str) -> str:
    """In small letters, with its point; empty where there is none."""
    return PurePath(name).suffix.lower()
