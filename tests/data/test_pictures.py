"""One image file: every kind of colour ends in agreed pixels, everything else in one DataError."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from amint_mpc.data import pictures
from amint_mpc.data.files import Listing
from amint_mpc.data.pictures import read_picture, read_pictures
from amint_mpc.errors import DataError
from tests.data.written_sets import noise

GREY, COLOUR = (1, 8, 8), (3, 8, 8)


def stored(folder: Path, image: Image.Image, name: str = "a.png", **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.ppm", "A.PNG", "a.webp"])
def test_colours_are_kept(tmp_path: Path, name: str) -> None:
    pixels = noise(1, 8, 8, 3)
    options = {"lossless": True} if name.endswith("webp") else {}
    found = read_picture(stored(tmp_path, Image.fromarray(pixels), name, **options), COLOUR)
    assert found.dtype == np.uint8
    assert np.array_equal(found, pixels.transpose(2, 0, 1))


def test_jpeg_is_close(tmp_path: Path) -> None:
    path = stored(tmp_path, Image.new("RGB", (8, 8), (200, 100, 50)), "a.jpg", quality=95)
    assert np.abs(read_picture(path, COLOUR).mean((1, 2)) - (200, 100, 50)).max() < 3


def test_grey_and_colour_become_each_other(tmp_path: Path) -> None:
    grey = noise(2, 8, 8)
    path = stored(tmp_path, Image.fromarray(grey))
    assert np.array_equal(read_picture(path, GREY), grey[None])
    assert np.array_equal(read_picture(path, COLOUR), np.stack([grey] * 3))
    path = stored(tmp_path, Image.new("RGB", (8, 8), (255, 0, 0)))
    assert (read_picture(path, GREY) == 76).all()  # .299 of 255, ITU-R 601
    path = stored(tmp_path, Image.fromarray(grey > 99))  # one bit a pixel
    assert np.array_equal(read_picture(path, GREY)[0], 255 * (grey > 99))


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
def test_of_sixteen_bits_the_upper_eight_are_taken(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(3).integers(0, 1 << 16, (8, 8), dtype=np.uint16)
    path = stored(tmp_path, Image.fromarray(values), name)
    assert np.array_equal(read_picture(path, GREY)[0], values >> 8)


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    colour = np.full((8, 8, 4), (10, 20, 30, 255), dtype=np.uint8)
    colour[:4, :, 3] = 0
    found = read_picture(stored(tmp_path, Image.fromarray(colour)), COLOUR)
    assert (found[:, :4] == 255).all()
    assert (found[:, 4:] == np.array([10, 20, 30])[:, None, None]).all()
    grey = Image.fromarray(np.ascontiguousarray(colour[:, :, 2:]))  # LA
    assert read_picture(stored(tmp_path, grey), GREY)[0, :, 0].tolist() == [255] * 4 + [30] * 4


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.paste(0, (0, 0, 4, 8))
    for name, left in (("a.png", (0, 0, 0)), ("b.png", (255, 255, 255)), ("c.gif", (255, 255, 255))):
        options = {} if name == "a.png" else {"transparency": 0}
        found = read_picture(stored(tmp_path, image, name, **options), COLOUR)
        assert tuple(found[:, 0, 0]) == left
        assert tuple(found[:, 0, 7]) == (9, 8, 7)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_pictures_are_turned_upright(tmp_path: Path, mode: str, orientation: int) -> None:
    """Corners of four brightnesses; EXIF's orientation says which corner of the file is the top left one."""
    corners = {1: "abcd", 2: "badc", 3: "dcba", 4: "cdab", 5: "acbd", 6: "cadb", 7: "dbca", 8: "bdac"}  # as they look
    brightness = dict(zip("abcd", (0, 80, 160, 240), strict=True))
    pixels = np.kron(np.array([[0, 80], [160, 240]], dtype=np.uint8), np.ones((4, 4), dtype=np.uint8))
    image = Image.fromarray(pixels.astype(np.uint16) << 8) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_picture(stored(tmp_path, image, exif=exif), GREY)[0]
    assert found[::7, ::7].flatten().tolist() == [brightness[corner] for corner in corners[orientation]]


def test_other_sizes_are_scaled_as_a_whole(tmp_path: Path) -> None:
    wide = np.zeros((4, 32), dtype=np.uint8)
    wide[:, 16:] = 200
    found = read_picture(stored(tmp_path, Image.fromarray(wide)), GREY)[0]
    assert found[:, :3].max() == 0
    assert found[:, 5:].min() == 200


@pytest.mark.parametrize("side", [8_300, 10_000, 40_000])  # above our limit, where Pillow warns, where it refuses
def test_an_image_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.pgm"
    path.write_bytes(f"P5 {side} {side} 255\n".encode())
    with pytest.raises(DataError, match=r"bomb.pgm has more than 67,108,864 pixels"):
        read_pictures(Listing([path], [0]), GREY, print)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "an empty file"),
        (b"words", "a file that starts with b'words'"),
        (EPS, r"a file that starts with b'%!PS-Adobe-3.0 E'"),  # Pillow would start Ghostscript
        (b"\x89PNG\r\n\x1a\n", "not an image|cannot be read"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "not an image|cannot be read"),
        (b"GIF89a" + bytes(7), "not an image|cannot be read"),
        (b"II*\x00\x08\x00\x00\x00\xff\xff", "not an image|cannot be read"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "not an image|cannot be read"),
        (b"BM" + b"\xff" * 60, "not an image|cannot be read"),
        (b"P6 8 8 255\n\x00", "truncated"),
        (b"P6 x 8 255\n", "not an image|cannot be read"),
    ],
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "strange.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as raised:
        read_pictures(Listing([path], [0]), COLOUR, print)
    assert str(path) in raised.value.message
    assert raised.value.hint


def test_no_damage_ends_in_another_error(tmp_path: Path) -> None:
    """Files with bytes changed or cut off are read or refused, in every format."""
    random = np.random.default_rng(4)
    path = tmp_path / "damaged"
    refused = 0
    for kind in ("png", "jpeg", "gif", "tiff", "webp", "bmp", "ppm"):
        whole = np.frombuffer(stored(tmp_path, Image.fromarray(noise(5, 9, 9, 3)), f"a.{kind}").read_bytes(), np.uint8)
        for _ in range(40):
            raw = whole[: random.integers(1, len(whole) + 1)].copy()
            raw[random.integers(len(raw), size=3)] = random.integers(0, 256, 3)
            path.write_bytes(raw.tobytes())
            with suppress(DataError):
                refused += 1
                read_pictures(Listing([path], [0]), COLOUR, print)
                refused -= 1
    assert 100 < refused < 7 * 40


@pytest.mark.parametrize(("kind", "words"), [(np.int32, "32-bit whole"), (np.float32, "floating-point")])
def test_pixels_of_an_unclear_range_are_refused(tmp_path: Path, kind: type, words: str) -> None:
    path = stored(tmp_path, Image.fromarray(np.ones((8, 8), dtype=kind)), "a.tiff")
    with pytest.raises(DataError, match=words):
        read_picture(path, GREY)


def test_long_reading_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = Listing([stored(tmp_path, Image.new("L", (8, 8), at), f"{at}.png") for at in range(6)], [*range(6)])
    clock = iter(range(0, 1000, 2))  # every look at it comes two seconds after the last
    monkeypatch.setattr(pictures.time, "monotonic", lambda: float(next(clock)))
    told: list[str] = []
    images, labels = read_pictures(listing, GREY, told.append)
    assert told == ["3 of 6 images read", "6 of 6 images read"]
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [*range(6)]
