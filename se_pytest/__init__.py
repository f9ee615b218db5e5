"""The pytest plugin of se-resnet. It imports neither a framework nor numpy, since pytest loads it in every session."""
