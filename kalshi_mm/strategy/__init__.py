"What to quote and why"
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .protocol import NoQuote, Quotes, Strategy, View
    from .spread_capture import Params, SpreadCapture

__all__ = ["NoQuote", "Params", "Quotes", "SpreadCapture", "Strategy", "View"]


def __getattr__(name: str) -> object:
    if name not in __all__: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import protocol, spread_capture

    return getattr(protocol if name in protocol.__all__ else spread_capture, name)


def __dir__() -> list[str]: return __all__
