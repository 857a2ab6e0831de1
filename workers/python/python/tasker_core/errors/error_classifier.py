"""Which exceptions are worth another attempt; the same families in every language."""

from __future__ import annotations

import errno
import re
import sys
from typing import TypedDict

__all__ = ["Classification", "ErrorClassifier", "get_classifier", "is_permanent", "is_retryable", "kind_of"]


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
    StopIteration,
    StopAsyncIteration,
    re.error,
)
# Trouble with the world: it may have passed by the next attempt.
RETRYABLE: tuple[type[BaseException], ...] = (ConnectionError, TimeoutError, OSError)
# Text that is not what it should be; by name, so that no library is loaded for it.
_PERMANENT_NAMES = frozenset({"_csv.Error", "struct.error", "yaml.error.YAMLError", "httpx.InvalidURL"})

# Kinds of trouble by class: the same words in every language, where a class of the language or of a library is meant
# that has another name elsewhere.
_KINDS = {
    "builtins.TypeError": "type_error",
    "builtins.ValueError": "value_error",
    "builtins.KeyError": "key_error",
    "builtins.IndexError": "index_error",
    "builtins.LookupError": "key_error",
    "builtins.AttributeError": "attribute_error",
    "builtins.NameError": "name_error",
    "builtins.ArithmeticError": "arithmetic_error",
    "builtins.NotImplementedError": "not_implemented_error",
    "builtins.AssertionError": "assertion_error",
    "builtins.ImportError": "import_error",
    "builtins.SyntaxError": "syntax_error",
    "builtins.RecursionError": "recursion_error",
    "builtins.StopIteration": "iteration_error",
    "builtins.StopAsyncIteration": "iteration_error",
    "builtins.UnicodeError": "encoding_error",
    "builtins.ConnectionError": "network_error",
    "builtins.TimeoutError": "timeout",
    "builtins.OSError": "io_error",
    "builtins.EOFError": "io_error",
    "builtins.MemoryError": "out_of_memory",
    "asyncio.exceptions.TimeoutError": "timeout",
    "concurrent.futures._base.TimeoutError": "timeout",
    "socket.timeout": "timeout",
    "socket.gaierror": "network_error",
    "socket.herror": "network_error",
    "ssl.SSLError": "network_error",
    "urllib.error.URLError": "network_error",
    "http.client.HTTPException": "network_error",
    "json.decoder.JSONDecodeError": "json_error",
    "re.error": "regex_error",
    "re.PatternError": "regex_error",
    "_csv.Error": "csv_error",
    "xml.etree.ElementTree.ParseError": "xml_error",
    "struct.error": "value_error",
    "yaml.error.YAMLError": "yaml_error",
    "httpx.TimeoutException": "timeout",
    "httpx.TransportError": "network_error",
    "httpx.InvalidURL": "value_error",
    "requests.exceptions.Timeout": "timeout",
    "requests.exceptions.ConnectionError": "network_error",
}
# Errors of the network that have no class of their own.
_UNREACHABLE = frozenset(
    getattr(errno, name)
    for name in ["EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EHOSTDOWN", "ENOTCONN", "EADDRINUSE", "EADDRNOTAVAIL"]
    if hasattr(errno, name)
)
# What an older Python does not list.
_COMMON = (
    "_csv",
    "asyncio",
    "concurrent",
    "decimal",
    "http",
    "json",
    "re",
    "socket",
    "sre_constants",
    "ssl",
    "struct",
    "urllib",
    "xml",
)
# Modules whose classes stand for what they are derived from; those of programs stand for themselves.
_LIBRARIES = frozenset({"builtins", "yaml", "httpx", "requests", *getattr(sys, "stdlib_module_names", _COMMON)})


def _name(family: type) -> str:
    # A class that was made by code without a module has none.
    return f"{getattr(family, '__module__', '')}.{family.__qualname__}"


def kind_of(exception: BaseException) -> str:
    """The word that is stored for an exception: its own ``error_type``, the kind of trouble, else its class's name."""
    said = getattr(exception, "error_type", None)
    if isinstance(said, str) and said:
        return said
    if type(exception) is OSError and exception.errno in _UNREACHABLE:
        return "network_error"
    if _name(type(exception)).partition(".")[0] in _LIBRARIES:
        for family in type(exception).__mro__:
            kind = _KINDS.get(_name(family))
            if kind is not None:
                return kind
    return type(exception).__name__


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
        names = {_name(family) for family in type(exception).__mro__}
        leaves = (SystemExit, KeyboardInterrupt)
        if isinstance(exception, (*self.PERMANENT_ERROR_CLASSES, *leaves)) or names & _PERMANENT_NAMES:
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
