"""Checks of the models' inputs: rank, channel count, size and dtype, with the same messages in every framework."""

from collections.abc import Sequence


def expect_images(shape: Sequence[int | None], axes: str, channels: int, smallest_side: int = 1) -> None:
    """Check the shape of a batch of images.

    Args:
        shape: the batch's shape; None for a size that is not known yet.
        axes: "NCHW" or "NHWC".
        channels: the number of channels expected on C.
        smallest_side: the smallest height and width in pixels.

    Raises:
        ValueError: for another rank or channel count, or a smaller image.
    """
    channel_axis = axes.index("C")
    sides = [(axis, size) for axis, size in enumerate(shape) if axis not in (0, channel_axis)]
    if len(shape) == len(axes) and shape[channel_axis] == channels:
        if any(size is not None and size < smallest_side for _, size in sides):
            raise ValueError(f"the network expects images of {smallest_side} pixels a side or more: got {tuple(shape)}")
        return
    on_another_axis = len(shape) == len(axes) and any(size == channels for _, size in sides)
    hint = "; the channels seem to be on another axis" if on_another_axis else ""
    raise ValueError(f"the network expects images ({', '.join(axes)}) with C = {channels}: got {tuple(shape)}{hint}")


def expect_features(shape: Sequence[int | None], channel_axis: int, channels: int) -> None:
    """Check the shape of an SE layer's input.

    Args:
        shape: the shape of a batch; None for a size that is not known yet.
        channel_axis: 1 for (N, C, spatial...), -1 for (N, spatial..., C).
        channels: the number of channels expected there.

    Raises:
        ValueError: for an input without a spatial axis, or with another channel count.
    """
    if len(shape) >= 3 and shape[channel_axis] == channels:
        return
    axes = "(N, C, spatial...)" if channel_axis == 1 else "(N, spatial..., C)"
    raise ValueError(f"SELayer expects {axes} with one or more spatial axes and C = {channels}: got {tuple(shape)}")


def expect_floating(layer: str, floating: bool, dtype: object) -> None:
    """Raise TypeError unless the values are floating-point: integer images have not been scaled.

    Args:
        layer: name of the layer in the message.
        floating: whether the dtype is floating-point.
        dtype: dtype of the values, for the message.
    """
    if not floating:
        raise TypeError(f"{layer} expects floating-point values: got {dtype}; scale and cast images first")
