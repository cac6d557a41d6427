"""Images of any depth, and what stands beside their pixels."""

import ast
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from vxl.data.source.headers import describe_media
from vxl.errors import DataError
from vxl.video.image import eight_bits, rgb_of
from vxl.video.load import load_image


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def ramp(most: float, kind: type) -> np.ndarray:
    return np.linspace(0, most, 256 * 64).astype(kind).reshape(64, 256)


@pytest.mark.parametrize("form", ["png", "tiff"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_grey_of_any_depth_keeps_its_middle(form: str, bits: int) -> None:
    levels_HW = ramp(2**bits - 1, np.uint8 if bits == 8 else np.uint16)
    loaded = load_image(saved(Image.fromarray(levels_HW), form), None)
    assert loaded.shape == (3, 64, 256)
    assert loaded.float().mean() == pytest.approx(127.5, abs=1.0)
    assert (int(loaded.min()), int(loaded.max())) == (0, 255)


@pytest.mark.parametrize(
    ("most", "kind"), [(65535, np.int32), (1.0, np.float32), (255.0, np.float32), (65535.0, np.float32)]
)
def test_grey_tiffs_of_whole_and_broken_numbers(most: float, kind: type) -> None:
    loaded = load_image(saved(Image.fromarray(ramp(most, kind)), "tiff"), None)
    assert loaded.float().mean() == pytest.approx(127.5, abs=1.0)


def test_levels_that_are_no_numbers_are_black() -> None:
    levels_HW = np.array([[0.0, 0.5, 1.0, np.nan, np.inf, -1.0]])
    assert eight_bits(levels_HW).tolist() == [[0, 128, 255, 0, 0, 0]]


def test_a_long_text_beside_the_pixels_is_an_error_or_passed_over() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("notes", "x" * 3_000_000, zip=True)
    data = saved(Image.new("RGB", (8, 6), (9, 9, 9)), "png", pnginfo=notes)
    try:
        assert load_image(data, None).shape == (3, 6, 8)
    except DataError as error:
        assert "can't be read as an image" in str(error)  # noqa: PT017
    behind = data[:8] + data[8:33] + b"".join(_chunks(data)[1:])
    with pytest.raises(DataError, match="can't be read as an image"):
        load_image(behind[:60], None)


def _chunks(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunk = data[at : at + 12 + length]
        assert zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        found.append(chunk)
        at += 12 + length
    return found


def test_damaged_notes_on_orientation_do_not_cost_the_picture() -> None:
    data = saved(Image.new("RGB", (8, 6)), "webp", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert load_image(data, None).shape == (3, 6, 8)


def test_whoever_opens_an_image_says_which_formats_are_meant() -> None:
    """Pillow starts Ghostscript for a file that is PostScript, whatever its name."""
    opens = []
    for file in (Path(__file__).parents[2] / "vxl").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                opens.append((file.name, "formats" in {keyword.arg for keyword in node.keywords}))
    assert opens
    assert not [name for name, says in opens if not says]


@pytest.mark.parametrize(
    ("mode", "form"), [("RGBA", "png"), ("LA", "png"), ("RGBA", "webp"), ("RGBA", "tiff")]
)
def test_what_is_transparent_shows_the_colour_under_it(mode: str, form: str) -> None:
    """As `Image.convert("RGB")` of the family's own loaders gives it."""
    image = Image.new(mode, (16, 8), (90, 0) if mode == "LA" else (90, 90, 90, 0))
    data = saved(image, form, **({"lossless": True, "exact": True} if form == "webp" else {}))
    loaded = load_image(data, None)
    assert loaded.unique().tolist() == [90]
    assert rgb_of(image).tolist() == loaded.permute(1, 2, 0).tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["jpeg", "png", "webp", "tiff", "avif", "mpo"])
def test_a_header_tells_the_size_of_the_upright_image(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif if form == "tiff" else exif.tobytes()}
    data = saved(Image.linear_gradient("L").resize((16, 8)).convert("RGB"), form, **options)
    header, loaded = describe_media(data, "image", "x"), load_image(data, None)
    assert (header["height"], header["width"]) == loaded.shape[1:]
    assert (loaded.shape[1:] == (16, 8)) == (orientation >= 5)
