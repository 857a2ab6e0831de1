"""Which exceptions are worth another attempt; the same families in every language."""

from __future__ import annotations

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
)
# Trouble with the world: it may have passed by the next attempt.
RETRYABLE: tuple[type[BaseException], ...] = (ConnectionError, TimeoutError, OSError)


class ErrorClassifier:
    """Classifies exceptions.

    An explicit boolean ``retryable`` on the exception wins; then the permanent families; then the retryable ones;
    anything else is retryable.

    Example:
        >>> ErrorClassifier().classify(ValueError("no"))["retryable"]
        False
    """

    def classify(self, error: BaseException) -> Classification:
        """The type, whether it is retryable, and by which rule."""
        error_type = getattr(error, "error_type", None)
        name = error_type if isinstance(error_type, str) and error_type else type(error).__name__
        explicit = getattr(error, "retryable", None)
        if isinstance(explicit, bool):
            return {"error_type": name, "retryable": explicit, "classification": "explicit_attribute"}
        if isinstance(error, PERMANENT):
            return {"error_type": name, "retryable": False, "classification": "permanent_class"}
        if isinstance(error, RETRYABLE):
            return {"error_type": name, "retryable": True, "classification": "retryable_class"}
        return {"error_type": name, "retryable": True, "classification": "default"}

    def is_retryable(self, error: BaseException) -> bool:
        """Whether another attempt may help."""
        return self.classify(error)["retryable"]

    def is_permanent(self, error: BaseException) -> bool:
        """Whether no attempt will help."""
        return not self.is_retryable(error)


_classifier = ErrorClassifier()


def get_classifier() -> ErrorClassifier:
    """The classifier the worker uses."""
    return _classifier


def is_retryable(error: BaseException) -> bool:
    """Whether another attempt may help."""
    return _classifier.is_retryable(error)


def is_permanent(error: BaseException) -> bool:
    """Whether no attempt will help."""
    return _classifier.is_permanent(error)
