"""Which exceptions are worth another attempt; the same families in every language."""

from __future__ import annotations

import re
from typing import TypedDict

__all__ = ["Classification", "ErrorClassifier", "get_classifier", "is_permanent", "is_retryable"]


class Classification(TypedDict):
    """What the classifier says of an exception."""

    error_type: str
    retryable: bool
    #: ``explicit_attribute``, ``permanent_class``, ``retryable_class`` or ``default``.
    classification: str


# Programming errors: the same input fails the same way again.
PERMANENT: tuple[type[BaseException], ...] = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    NameError,
    NotImplementedError,
    AssertionError,
    ImportError,
    SyntaxError,
    ArithmeticError,
    RecursionError,
    re.error,
)
# Trouble with the world: it may have passed by the next attempt.
RETRYABLE: tuple[type[BaseException], ...] = (ConnectionError, TimeoutError, OSError)


class ErrorClassifier:
    """Classifies exceptions.

    An explicit boolean ``retryable`` on the exception wins; then the permanent families; then the retryable ones;
    anything else is retryable.

    Args:
        default_retryable: What an error of no family is.

    Example:
        >>> ErrorClassifier().classify(ValueError("no"))["retryable"]
        False
    """

    PERMANENT_ERROR_CLASSES = PERMANENT
    RETRYABLE_ERROR_CLASSES = RETRYABLE

    def __init__(self, *, default_retryable: bool = True) -> None:
        self.default_retryable = default_retryable

    def classify(self, exception: BaseException) -> Classification:
        """The type, whether it is retryable, and by which rule."""
        error_type = getattr(exception, "error_type", None)
        name = error_type if isinstance(error_type, str) and error_type else type(exception).__name__
        explicit = getattr(exception, "retryable", None)
        if isinstance(explicit, bool):
            return {"error_type": name, "retryable": explicit, "classification": "explicit_attribute"}
        # Whoever asks the process to end would ask again.
        if isinstance(exception, (*self.PERMANENT_ERROR_CLASSES, SystemExit, KeyboardInterrupt)):
            return {"error_type": name, "retryable": False, "classification": "permanent_class"}
        if isinstance(exception, self.RETRYABLE_ERROR_CLASSES):
            return {"error_type": name, "retryable": True, "classification": "retryable_class"}
        return {"error_type": name, "retryable": self.default_retryable, "classification": "default"}

    def retryable(self, exception: BaseException) -> bool:
        """Whether another attempt may help."""
        return self.classify(exception)["retryable"]

    def permanent(self, exception: BaseException) -> bool:
        """Whether no attempt will help."""
        return not self.retryable(exception)

    def is_retryable(self, exception: BaseException) -> bool:
        """As :meth:`retryable`."""
        return self.retryable(exception)

    def is_permanent(self, exception: BaseException) -> bool:
        """As :meth:`permanent`."""
        return self.permanent(exception)


_classifier = ErrorClassifier()


def get_classifier() -> ErrorClassifier:
    """The classifier the worker uses."""
    return _classifier


def is_retryable(exception: BaseException) -> bool:
    """Whether another attempt may help."""
    return _classifier.is_retryable(exception)


def is_permanent(exception: BaseException) -> bool:
    """Whether no attempt will help."""
    return _classifier.is_permanent(exception)
