"""Digits from the bundle, from IDX files and from PNGs are the same digits; what is not MNIST is named."""

import gzip
import hashlib
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench import BenchError, mnist
from bench.mnist import Digits

STEMS = {"train": "train", "test": "t10k"}


def idx(magic: int, array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def some() -> tuple[np.ndarray, np.ndarray]:
    """[6, 28, 28] and [6] as bytes, from the bundle."""
    digits = mnist.load("test")
    return np.round(digits.images[:6, :, :, 0] * 255).astype(np.uint8), digits.labels[:6].astype(np.uint8)


def write_idx(
    folder: Path, part: str = "test", *, packed: bool = False, mark: str = "-"
) -> tuple[Path, Path]:
    images, labels = some()
    paths = []
    for kind, magic, array, dimensions in (("images", 2051, images, 3), ("labels", 2049, labels, 1)):
        path = folder / f"{STEMS[part]}-{kind}{mark}idx{dimensions}-ubyte{'.gz' if packed else ''}"
        content = idx(magic, array)
        path.write_bytes(gzip.compress(content) if packed else content)
        paths.append(path)
    return paths[0], paths[1]


def same_digits(digits: Digits) -> bool:
    images, labels = some()
    assert digits.images.dtype == np.float32
    assert digits.labels.dtype == np.int64
    assert digits.images.shape == (6, 28, 28, 1)
    return bool((digits.images[..., 0] * 255 == images).all() and (digits.labels == labels).all())


def test_bundled_digits_are_whole_and_balanced() -> None:
    train, test = mnist.load("train"), mnist.load("test")
    for digits, count in ((train, 4000), (test, 1000)):
        assert digits.images.shape == (count, 28, 28, 1)
        assert digits.images.dtype == np.float32
        assert (digits.images.min(), digits.images.max()) == (0, 1)
        assert np.bincount(digits.labels).tolist() == [count // 10] * 10
    assert len(set(train.labels[:40].tolist())) > 5, "shuffled"


def test_no_bundled_digit_is_in_both_parts() -> None:
    train, test = (
        {hashlib.sha256(image.tobytes()).digest() for image in mnist.load(p).images}
        for p in ("train", "test")
    )
    assert len(train) == 4000
    assert len(test) == 1000
    assert not train & test


def test_digits_look_like_their_labels() -> None:
    """The mean training image of each digit recognises most test images: labels and pixels belong together."""
    train, test = mnist.load("train"), mnist.load("test")
    means = np.stack([train.images[train.labels == digit].mean(axis=0).ravel() for digit in range(10)])
    distances = ((test.images.reshape(-1, 1, 784) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == test.labels).mean() > 0.75


def test_the_licence_travels_with_the_digits() -> None:
    text = mnist.BUNDLED.with_name("mnist_5k.LICENSE.md").read_text()
    assert "Attribution-Share Alike 3.0" in text
    assert "Sebastian Raschka" in text


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("mark", ["-", "."])
def test_idx_files_in_every_spelling(tmp_path: Path, part: mnist.Part, packed: bool, mark: str) -> None:
    write_idx(tmp_path, part, packed=packed, mark=mark)
    assert same_digits(mnist.load(part, tmp_path))


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_pngs_in_folders_named_by_their_digit(tmp_path: Path, mode: str) -> None:
    images, labels = some()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "testing" / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).convert(mode).save(path)
    order = np.lexsort((np.arange(len(labels)), labels))
    digits = mnist.load("test", tmp_path)
    assert digits.labels.tolist() == labels[order].tolist()
    assert (digits.images[..., 0] * 255 == images[order]).all()


def test_pngs_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "training" / "3"
    folder.mkdir(parents=True)
    for number in (10, 9, 100):
        Image.new("L", (28, 28), number).save(folder / f"{number}.png")
    digits = mnist.load("train", tmp_path)
    assert (digits.images[:, 0, 0, 0] * 255).tolist() == [9, 10, 100]


def spoil_images(folder: Path, change: bytes | None = None, *, cut: int = 0, to: bytes | None = None) -> None:
    images, _ = write_idx(folder)
    content = images.read_bytes()
    images.write_bytes(
        to if to is not None else (change or b"") + content[len(change or b"") : len(content) - cut]
    )


def message_of(folder: Path) -> str:
    with pytest.raises(BenchError) as error:
        mnist.load("test", folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def test_a_wrong_magic_number_is_named(tmp_path: Path) -> None:
    spoil_images(tmp_path, b"\x00\x00\x08\x01")
    assert "magic number 2049 instead of 2051" in message_of(tmp_path)


@pytest.mark.parametrize(
    ("cut", "text"), [(1, "4703 bytes after the header, which announces 4704"), (4710, "too few")]
)
def test_a_truncated_file_is_named(tmp_path: Path, cut: int, text: str) -> None:
    spoil_images(tmp_path, cut=cut)
    assert text in message_of(tmp_path)


def test_too_many_bytes_are_named(tmp_path: Path) -> None:
    spoil_images(tmp_path, to=idx(2051, some()[0]) + b"\0")
    assert "4705 bytes" in message_of(tmp_path)


def test_sizes_that_overflow_are_named(tmp_path: Path) -> None:
    spoil_images(tmp_path, to=struct.pack(">4I", 2051, 2**32 - 1, 2**32 - 1, 2**32 - 1))
    assert "0 bytes after the header" in message_of(tmp_path)


@pytest.mark.parametrize("spoil", ["cut", "plain"])
def test_a_broken_gzip_file_is_named(tmp_path: Path, spoil: str) -> None:
    images, _ = write_idx(tmp_path, packed=True)
    content = images.read_bytes()
    images.write_bytes(content[:-200] if spoil == "cut" else gzip.decompress(content))
    assert "cannot be read" in message_of(tmp_path)


def test_images_of_another_size_are_named(tmp_path: Path) -> None:
    spoil_images(tmp_path, to=idx(2051, np.zeros((6, 20, 28))))
    assert "28×20 pixels; MNIST has 28×28" in message_of(tmp_path)


def test_labels_for_another_number_of_images_are_named(tmp_path: Path) -> None:
    spoil_images(tmp_path, to=idx(2051, np.zeros((5, 28, 28))))
    assert "6 labels for the 5 images" in message_of(tmp_path)


def test_labels_that_are_no_digits_are_named(tmp_path: Path) -> None:
    _, labels = write_idx(tmp_path)
    labels.write_bytes(idx(2049, np.array([0, 1, 2, 3, 4, 10])))
    assert "label 10 is not a digit" in message_of(tmp_path)


def test_images_without_labels_are_named(tmp_path: Path) -> None:
    _, labels = write_idx(tmp_path)
    labels.unlink()
    assert "no t10k-labels-idx1-ubyte next to it" in message_of(tmp_path)


def test_no_images_at_all_are_named(tmp_path: Path) -> None:
    images, labels = write_idx(tmp_path)
    images.write_bytes(idx(2051, np.zeros((0, 28, 28))))
    labels.write_bytes(idx(2049, np.zeros(0)))
    assert "holds no image" in message_of(tmp_path)


def test_folders_without_digits_are_named(tmp_path: Path) -> None:
    assert "no such folder" in message_of(tmp_path / "missing")
    assert "neither t10k-images-idx3-ubyte[.gz] nor a folder testing/" in message_of(tmp_path)
    (tmp_path / "testing" / "7").mkdir(parents=True)
    assert "no PNG in folders named 0 to 9" in message_of(tmp_path)


@pytest.mark.parametrize("spoil", ["size", "cut", "text", "jpeg"])
def test_pngs_that_are_no_mnist_digits_are_named(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "testing" / "7" / "1.png"
    path.parent.mkdir(parents=True)
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8))
    noise.save(path, format="JPEG" if spoil == "jpeg" else "PNG")
    if spoil == "size":
        noise.resize((32, 28)).save(path)
    elif spoil == "cut":
        path.write_bytes(path.read_bytes()[:400])
    elif spoil == "text":
        path.write_text("no image")
    assert ("32×28 pixels" if spoil == "size" else "not a readable PNG") in message_of(tmp_path)


def test_reading_bundled_digits_needs_numpy_only() -> None:
    code = "import sys; from bench import mnist; mnist.load('test'); print('PIL' in sys.modules, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
