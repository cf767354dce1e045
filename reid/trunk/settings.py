"""`model` in params.yaml: which network, of which images, from which weights."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from reid.runtime.settings import Text, settings_class


def _digest(value: str) -> str:
    """Return a SHA-256 as `sha256sum` prints it, or ''. Raises ValueError."""
    if re.fullmatch("([0-9a-f]{64})?", value):
        return value
    raise ValueError("64 digits from 0 to f, as `sha256sum` prints them, or ''")


Side = Annotated[int, Field(ge=32, le=4096)]  # pixels
Digest = Annotated[str, AfterValidator(_digest)]


@settings_class
class ModelSettings:
    """`model` in params.yaml: the trunk and where it ends, image size, stripes, first weights.

    `last_stride` 1 keeps the trunk's last layer from halving the map, 2 leaves it as it is.
    `bnneck` puts a BatchNorm between the global feature and the classifier. `weights_sha256` is of
    the file that `weights` names, and empty where it names none.
    """

    trunk: Text
    last_layer: Text
    height: Side
    width: Side
    stripes: Annotated[int, Field(ge=1, le=256)]
    weights: Text
    weights_sha256: Digest
    last_stride: Literal[1, 2]
    bnneck: bool

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights_sha256 and not self.has_file:
            raise ValueError(
                f"weights_sha256 is set, but weights is {self.weights}, which names no file: set "
                "weights_sha256 to ''"
            )
        return self

    @property
    def has_file(self) -> bool:
        """Whether `weights` is the path of a file: torchvision's names have neither / nor dot."""
        return "/" in self.weights or "." in self.weights
