"""The peer in Keras: SE-ResNet as a functional model of stock layers, in the style of keras.applications."""

import keras
from keras import layers

from se_spec import Architecture, Block, Convolution


def plain_model(architecture: Architecture) -> keras.Model:
    """A model of stock layers, with ZeroPadding2D before convolutions that have a stride, and no convolution biases."""
    images = keras.Input((None, None, architecture.in_channels))
    x = images
    for convolution in architecture.stem_convolutions:
        x = layers.ReLU()(_conv_norm(x, convolution))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for block in architecture.blocks():
        x = _block(x, block)
    return keras.Model(images, layers.Dense(architecture.num_classes)(layers.GlobalAveragePooling2D()(x)))


def _block(x: keras.KerasTensor, block: Block) -> keras.KerasTensor:
    residual = x
    for number, convolution in enumerate(block.convolutions):
        residual = layers.ReLU()(residual) if number else residual
        residual = _conv_norm(residual, convolution)
    if block.se:
        gate = layers.GlobalAveragePooling2D(keepdims=True)(residual)
        gate = layers.Dense(block.squeezed_channels, activation="relu", use_bias=block.se_bias)(gate)
        gate = layers.Dense(block.out_channels, activation="sigmoid", use_bias=block.se_bias)(gate)
        residual = layers.Multiply()([residual, gate])
    shortcut = _conv_norm(x, block.projection) if block.projection else x
    return layers.ReLU()(layers.Add()([residual, shortcut]))


def _conv_norm(x: keras.KerasTensor, convolution: Convolution) -> keras.KerasTensor:
    strided = convolution.stride > 1 and convolution.kernel > 1
    x = layers.ZeroPadding2D(convolution.paddings)(x) if strided else x
    x = layers.Conv2D(
        convolution.out_channels,
        convolution.kernel,
        convolution.stride,
        padding="valid" if strided else "same",
        groups=convolution.groups,
        use_bias=False,
    )(x)
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9)(x)
