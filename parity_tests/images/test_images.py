"""Decoding, resizing, cropping and normalizing images, bit for bit as Pillow and timm do; and names of classes."""

import json
from dataclasses import replace

import numpy as np
import pytest

from se_images import UnreadableImage, labels, preprocess, read_image, resize, resize_and_crop, top_predictions
from se_parity.inputs.trained_like import trained_like_weights
from se_spec import architecture
from se_weights import Checkpoint, MalformedFile, Preprocessing, UnsupportedFormat, read, write
from se_weights.preprocessing import CAFFE, CAFFE_CLASSES, CIFAR, IMAGENET, KNOWN
from se_weights.transforms.reorder import caffe_to_standard

Image = pytest.importorskip("PIL.Image", reason="needs the extra images")

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pixels of 0, of 255 and between, which overflow where a cubic kernel is not clipped."""
    pixels = np.random.default_rng(seed).integers(-128, 384, (height, width, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("seed", range(60))
def test_resizing_is_bit_equal_to_pillow(interpolation, seed):
    height, width, new_height, new_width = map(int, np.random.default_rng(seed).integers(1, 200, 4))
    pixels = noise(height, width, seed)
    theirs = Image.fromarray(pixels).resize((new_width, new_height), FILTERS[interpolation])
    np.testing.assert_array_equal(resize(pixels, new_height, new_width, interpolation), np.asarray(theirs))


@pytest.mark.parametrize(
    ("size", "new_size"),
    [
        ((100, 100), (50, 75)),
        ((100, 100), (49, 75)),
        ((9, 7), (9, 3)),
        ((9, 7), (3, 7)),
        ((5, 4), (5, 4)),
        ((1, 1), (3, 2)),
    ],
)
def test_the_order_of_rows_and_columns_is_that_of_pillow(size, new_size):
    pixels = noise(*size)
    theirs = Image.fromarray(pixels).resize(new_size[::-1], FILTERS["bicubic"])
    np.testing.assert_array_equal(resize(pixels, *new_size, "bicubic"), np.asarray(theirs))


@pytest.mark.parametrize(("interpolation", "sides"), [("lanczos", (2, 2)), ("bilinear", (0, 2))])
def test_what_cannot_be_resized_is_an_error(interpolation, sides):
    with pytest.raises(ValueError, match=r"lanczos|0x2"):
        resize(noise(4, 4), *sides, interpolation)


def by_pillow(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The crop mode "center" of timm, written with Pillow's own operations."""
    image = Image.fromarray(pixels)
    short = int(preprocessing.size / preprocessing.crop)
    width, height = image.size
    new = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    resized = image.resize(new, FILTERS[preprocessing.interpolation])
    left, top = (round((side - preprocessing.size) / 2) for side in resized.size)
    return np.asarray(resized.crop((left, top, left + preprocessing.size, top + preprocessing.size)))


SIZES = [(427, 640), (640, 427), (224, 224), (225, 300), (31, 500), (33, 47), (1000, 999), (257, 255)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("side", "crop", "interpolation"), [(224, 0.875, "bilinear"), (112, 0.95, "bicubic")])
def test_the_center_crop_is_bit_equal_to_one_by_pillow(size, side, crop, interpolation):
    preprocessing = replace(IMAGENET, size=side, crop=crop, interpolation=interpolation)
    pixels = noise(*size)
    np.testing.assert_array_equal(resize_and_crop(pixels, preprocessing), by_pillow(pixels, preprocessing))


def test_a_border_keeps_the_whole_image_on_the_mean_color():
    preprocessing = replace(IMAGENET, size=30, crop=1.0, crop_mode="border")
    cropped = resize_and_crop(noise(40, 20), preprocessing)
    assert cropped.shape == (30, 30, 3)
    np.testing.assert_array_equal(cropped[:, 0], np.broadcast_to([124, 116, 104], (30, 3)))
    np.testing.assert_array_equal(cropped[:, 7:22], resize(noise(40, 20), 30, 15, "bilinear"))


def test_squashing_ignores_the_aspect():
    preprocessing = replace(IMAGENET, size=16, crop=0.8, crop_mode="squash")
    expected = resize(noise(40, 30), 20, 20, "bilinear")[2:18, 2:18]
    np.testing.assert_array_equal(resize_and_crop(noise(40, 30), preprocessing), expected)


def test_an_unknown_filter_or_crop_mode_is_an_error():
    with pytest.raises(UnsupportedFormat, match="and not by 'lanczos'"):
        resize_and_crop(noise(8, 8), replace(IMAGENET, interpolation="lanczos"))
    with pytest.raises(UnsupportedFormat, match="crop mode 'corner' is not one of center, squash, border"):
        resize_and_crop(noise(8, 8), replace(IMAGENET, crop_mode="corner"))


def test_images_of_the_size_of_the_network_are_not_resized():
    np.testing.assert_array_equal(resize_and_crop(noise(32, 32), CIFAR), noise(32, 32))


@pytest.mark.parametrize("name", KNOWN)
def test_normalization_is_in_float32_in_the_order_of_torchvision(name):
    preprocessing = replace(KNOWN[name], size=8, crop=1.0)
    pixels = resize_and_crop(noise(8, 8), preprocessing).astype(np.float32)
    ordered = pixels[..., ::-1] if preprocessing.channels == "BGR" else pixels
    scaled = ordered / np.float32(255) if preprocessing.maximum == 1 else ordered
    expected = (scaled - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)
    batch = preprocess([noise(8, 8)], preprocessing)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "image", [noise(4, 4)[..., 0], noise(4, 4).astype(np.float32), np.zeros((4, 4, 4), np.uint8)], ids=str
)
def test_an_array_that_is_no_rgb_image_is_an_error(image):
    with pytest.raises(ValueError, match="is not one of uint8"):
        preprocess([image], IMAGENET)


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="no images"):
        preprocess([], IMAGENET)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_an_image_of_any_mode_is_read_as_rgb(tmp_path, mode):
    suffix = "tiff" if mode == "CMYK" else "png"
    image = Image.fromarray(noise(5, 7)).convert(mode)
    image.save(tmp_path / f"image.{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"image.{suffix}"), np.asarray(image.convert("RGB")))


def test_a_file_that_is_no_image_is_refused(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"<html>")
    with pytest.raises(UnreadableImage, match="not an image in a format that Pillow reads"):
        read_image(path)


def test_a_truncated_image_is_refused(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UnreadableImage, match="is damaged"):
        read_image(path)


def test_an_image_of_too_many_pixels_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.fromarray(noise(64, 64)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.raises(UnreadableImage, match="Make the image smaller"):
        read_image(path)


def test_a_missing_image_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "none.png")


def test_labels_follow_the_order_of_the_classes():
    standard, caffe = labels(1000, IMAGENET), labels(1000, CAFFE)
    assert (standard[0].name, standard[0].wordnet_id) == ("tench, Tinca tinca", "n01440764")
    assert [label.wordnet_id for label in standard] == sorted(label.wordnet_id for label in standard)
    assert CAFFE.classes == CAFFE_CLASSES
    assert all(caffe[index].name == standard[caffe_to_standard()[index]].name for index in (0, 489, 999))
    assert [label.index for label in caffe] == list(range(1000))
    assert [label.name for label in labels(3, IMAGENET)] == ["0", "1", "2"]
    assert labels(1000, None)[7].name == "7"


def test_the_most_probable_classes_come_first():
    logits = np.full((2, 1000), -30.0)
    logits[0, [3, 7]] = 2.0, 1.0
    logits[1, 9] = 1000.0
    first, second = top_predictions(logits, IMAGENET, top=2)
    assert [each.label.index for each in first] == [3, 7]
    assert [each.probability for each in first] == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.e)])
    assert (second[0].label.index, second[0].probability) == (9, 1.0)
    with pytest.raises(ValueError, match="top=0"):
        top_predictions(logits, IMAGENET, top=0)


INVALID = [
    *({"size": size} for size in (0, -1, 10**9, 1.5)),
    *({"crop": crop} for crop in (0.0, 1.1, float("nan"))),
    *({"std": std} for std in ((0.0, 1.0, 1.0), (1.0, 1.0), (float("inf"),) * 3)),
    {"mean": (float("nan"), 0.0, 0.0)},
    {"channels": "GBR"},
    {"maximum": 0.0},
    {"interpolation": "bi\x1b[31m"},
    {"crop_mode": ""},
    {"classes": "x" * 101},
]


@pytest.mark.parametrize("change", INVALID, ids=str)
def test_a_file_cannot_ask_for_what_no_image_has(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} cannot be"):
        replace(IMAGENET, **change)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"input_size": [3, 10**9, 10**9]}, "size cannot be"),
        ({"input_size": [3, 224, 112]}, "224x112"),
        ({"input_size": "big"}, "invalid"),
        ({"mean": [0.5, 0.5]}, "not enough values"),
        ({"mean": "grey"}, "could not convert"),
        ({"std": [0, 0, 0]}, "std cannot be"),
        ({"crop_pct": 7}, "crop cannot be"),
        ({"interpolation": "\u001b[31m"}, "interpolation cannot be"),
        ({"input_range": [0]}, "invalid"),
    ],
    ids=str,
)
def test_an_invalid_config_beside_a_file_is_refused(config, said, tmp_path):
    network = architecture("se_resnet20_cifar")
    write(Checkpoint(network, trained_like_weights(network)), tmp_path / "model.safetensors")
    known = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], **config}
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": known}))
    with pytest.raises(MalformedFile, match=said):
        read(tmp_path / "model.safetensors")
