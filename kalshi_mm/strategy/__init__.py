"What to quote and why"
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .spread_capture import NoQuote, Params, Quotes, SpreadCapture, Strategy, View

__all__ = ["NoQuote", "Params", "Quotes", "SpreadCapture", "Strategy", "View"]


def __getattr__(name: str) -> object:
    if name not in __all__: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import spread_capture

    return getattr(spread_capture, name)


def __dir__() -> list[str]: return __all__
