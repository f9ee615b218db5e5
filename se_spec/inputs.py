"""What the models say to an input of the wrong rank, channel count or type: one sentence for every framework."""

from collections.abc import Sequence


def expect_images(shape: Sequence[int | None], axes: str, channels: int, smallest_side: int = 1) -> None:
    """Raise ValueError unless `shape` has the axes "NCHW" or "NHWC", with `channels` on C and no smaller side."""
    place = axes.index("C")
    if len(shape) == len(axes) and shape[place] == channels:
        if any(size is not None and size < smallest_side for axis, size in enumerate(shape) if axis not in (0, place)):
            raise ValueError(f"SEResNet expects images of at least {smallest_side} pixels a side: got {tuple(shape)}")
        return
    elsewhere = [axis for axis, size in enumerate(shape) if axis not in (0, place) and size == channels]
    hint = "; the channels seem to stand on another axis" if len(shape) == len(axes) and elsewhere else ""
    raise ValueError(f"SEResNet expects images ({', '.join(axes)}) with C = {channels}: got {tuple(shape)}{hint}")


def expect_features(shape: Sequence[int | None], channel_axis: int, channels: int) -> None:
    """Raise ValueError unless `shape` is a batch with at least one spatial axis and `channels` on `channel_axis`."""
    if len(shape) >= 3 and shape[channel_axis] == channels:
        return
    axes = "(N, C, spatial...)" if channel_axis == 1 else "(N, spatial..., C)"
    raise ValueError(f"SELayer expects {axes} with one or more spatial axes and C = {channels}: got {tuple(shape)}")


def expect_floating(layer: str, floating: bool, dtype: object) -> None:
    """Raise TypeError unless the values are floating-point; whole numbers would be scaled nowhere."""
    if not floating:
        raise TypeError(f"{layer} expects floating-point values: got {dtype}; scale and cast images first")
