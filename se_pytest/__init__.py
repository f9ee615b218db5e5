"""The pytest plugin of se-resnet. Loading it imports neither a framework nor numpy: pytest does so in every session."""
