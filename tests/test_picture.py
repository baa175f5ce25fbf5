"""Pictures of digits from anywhere end up looking like MNIST's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bench import BenchError, mnist, picture

DIGITS = mnist.load("test")


def drawn(index: int) -> Image.Image:
    """A bundled digit as MNIST has it: light on black, 28×28."""
    return Image.fromarray(np.round(DIGITS.images[index, :, :, 0] * 255).astype(np.uint8))


def saved(tmp_path: Path, image: Image.Image, name: str = "digit.png") -> Path:
    path = tmp_path / name
    image.save(path)
    return path


def nearest(images: np.ndarray) -> np.ndarray:
    """The digit whose mean training image is the nearest: images [N, 28, 28, 1] -> [N]."""
    train = mnist.load("train")
    means = np.stack([train.images[train.labels == digit].mean(axis=0).ravel() for digit in range(10)])
    distances = ((images.reshape(len(images), 1, 784) - means) ** 2).sum(axis=2)
    return np.asarray(distances.argmin(axis=1))


def test_a_picture_of_the_models_size_is_kept_as_it_is(tmp_path: Path) -> None:
    pixels = picture.read(saved(tmp_path, drawn(3)), 28, 28, 1)
    assert pixels.dtype == np.float32
    assert pixels.shape == (28, 28, 1)
    np.testing.assert_allclose(pixels, DIGITS.images[3], atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_ink_on_paper_is_turned_into_light_on_black(tmp_path: Path, mode: str) -> None:
    on_paper = ImageOps.invert(drawn(3)).convert(mode)
    np.testing.assert_allclose(
        picture.read(saved(tmp_path, on_paper), 28, 28, 1), DIGITS.images[3], atol=0.01
    )


def test_what_is_transparent_is_paper(tmp_path: Path) -> None:
    ink = Image.new("LA", (28, 28), 0)
    ink.putalpha(drawn(3))  # black ink where the digit is, nothing elsewhere
    np.testing.assert_allclose(picture.read(saved(tmp_path, ink), 28, 28, 1), DIGITS.images[3], atol=0.01)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_picture_is_seen_the_way_up_that_exif_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Issue 13: a phone held upright writes its sensor's rows and says in EXIF how to turn them."""
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # EXIF 6 is turned by 270 degrees to be seen
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = drawn(3) if turned is None else drawn(3).transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"digit.{suffix}"
    stored.save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    np.testing.assert_allclose(picture.read(path, 28, 28, 1), DIGITS.images[3], atol=0.05)


def test_damaged_exif_does_not_hide_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "digit.jpg"
    drawn(3).save(path, exif=b"Exif\x00\x00MM\x00*\x00\x00\xff\xff", quality=100)
    np.testing.assert_allclose(picture.read(path, 28, 28, 1), DIGITS.images[3], atol=0.05)


@pytest.mark.parametrize("ink", [0, 255], ids=["dark", "light"])
@pytest.mark.parametrize("mode", ["LA", "RGBA", "I;16"])
def test_ink_of_any_colour_is_seen_on_nothing(tmp_path: Path, mode: str, ink: int) -> None:
    shape = drawn(3)
    path = tmp_path / "ink.png"
    if mode == "I;16":
        deep = np.asarray(shape, np.uint16) * 257 if ink else 65535 - np.asarray(shape, np.uint16) * 257
        Image.fromarray(deep).save(path, transparency=0 if ink else 65535)
    else:
        picture_of_ink = Image.new("LA", (28, 28), ink)
        picture_of_ink.putalpha(shape)
        picture_of_ink.convert(mode).save(path)
    np.testing.assert_allclose(picture.read(path, 28, 28, 1), DIGITS.images[3], atol=0.01)


def test_what_is_transparent_is_white_for_models_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(path)
    assert (picture.read(path, 4, 4, 3) == 1).all()


def test_sixteen_bits_are_not_cut_off(tmp_path: Path) -> None:
    deep = Image.fromarray(np.asarray(drawn(3), np.uint16) * 257)
    np.testing.assert_allclose(picture.read(saved(tmp_path, deep), 28, 28, 1), DIGITS.images[3], atol=1e-5)


def test_large_pictures_are_cut_out_and_centred_as_mnist_was(tmp_path: Path) -> None:
    """Digits drawn large, off the centre of a grey page: about as many are recognised as of the originals."""
    count, rng = 150, np.random.default_rng(0)
    read = []
    for index in range(count):
        side = int(rng.integers(120, 300))
        page = Image.new("L", (600, 400), 30)
        left, top = int(rng.integers(0, 600 - side)), int(rng.integers(0, 400 - side))
        page.paste(drawn(index).resize((side, side)).point(lambda value: 30 + value * 3 // 4), (left, top))
        read.append(picture.read(saved(tmp_path, ImageOps.invert(page)), 28, 28, 1))
    labels = DIGITS.labels[:count]
    original = (nearest(DIGITS.images[:count]) == labels).mean()
    assert (nearest(np.stack(read)) == labels).mean() > original - 0.1
    assert float(np.mean([pixels.max() for pixels in read])) > 0.9, "ink is light again"


def test_a_narrow_stroke_keeps_its_shape(tmp_path: Path) -> None:
    page = Image.new("L", (300, 300), 255)
    page.paste(0, (200, 20, 212, 280))
    pixels = picture.read(saved(tmp_path, page), 28, 28, 1)[..., 0]
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    assert (len(rows), len(columns)) == (20, 1)
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 13.5) <= 0.5


def test_an_empty_page_is_black(tmp_path: Path) -> None:
    assert not picture.read(saved(tmp_path, Image.new("L", (90, 50), 250)), 28, 28, 1).any()


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_other_models_get_the_picture_resized(tmp_path: Path, channels: int, mode: str) -> None:
    halves = Image.new("RGB", (64, 40), (255, 0, 0))
    halves.paste((0, 0, 255), (32, 0, 64, 40))
    pixels = picture.read(saved(tmp_path, halves), 20, 16, channels)
    assert pixels.shape == (20, 16, channels)
    expected = [
        np.asarray(Image.new("RGB", (1, 1), c).convert(mode), float).ravel() / 255 for c in ("red", "blue")
    ]
    np.testing.assert_allclose(pixels[10, 2], expected[0], atol=0.01)
    np.testing.assert_allclose(pixels[10, 13], expected[1], atol=0.01)


def test_jpeg_pictures_are_read_too(tmp_path: Path) -> None:
    assert picture.read(saved(tmp_path, drawn(3).resize((280, 280)), "digit.jpg"), 28, 28, 1).max() > 0.9


@pytest.mark.parametrize("spoil", ["missing", "text", "cut", "bitmap", "folder"])
def test_what_is_no_picture_is_named(tmp_path: Path, spoil: str) -> None:
    path = saved(tmp_path, drawn(3))
    if spoil == "missing":
        path.unlink()
    elif spoil == "text":
        path.write_text("no picture")
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:-150])
    elif spoil == "bitmap":
        drawn(3).save(path, format="BMP")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(BenchError) as error:
        picture.read(path, 28, 28, 1)
    assert str(path) in str(error.value)
    assert ("no such file" if spoil == "missing" else "not a readable PNG or JPEG") in str(error.value)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("1", (10_000, 6_000)))
    with pytest.raises(BenchError, match="10000×6000 pixels are too many"):
        picture.read(path, 28, 28, 1)


def test_a_model_with_other_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="the model expects 4 channels"):
        picture.read(saved(tmp_path, drawn(3)), 28, 28, 4)
