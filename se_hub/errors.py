"""The errors of se_hub. Each message says what was found, where, and what to do."""

from se_spec import ArchitectureError
from se_weights import MalformedFile, WeightsError


class UnknownWeights(ArchitectureError):
    """There are no published weights of this name, or several; or they have other settings than those asked for."""


class DownloadFailed(WeightsError):
    """The host cannot be reached, refuses the file, or sent less of it than it announced. Nothing is kept."""

    id = "hub.failed"


class MissingFile(WeightsError):
    """The hub has no such repository, revision or file."""

    id = "hub.missing"


class WrongContent(MalformedFile):
    """What was downloaded is not what the hub or the catalogue says. It is removed."""

    id = "hub.content"
