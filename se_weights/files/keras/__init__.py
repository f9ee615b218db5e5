"""Files that Keras saves: `.weights.h5`, `.keras`, and `.h5` of Keras 2."""
