"What to quote and why"
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .parameters import Within
    from .presets import Preset
    from .protocol import Looks, NoQuote, Quotes, Strategy, View
    from .spread_capture import Params, SpreadCapture

__all__ = ["Looks", "NoQuote", "Params", "Preset", "Quotes", "SpreadCapture", "Strategy", "View", "Within"]


def __getattr__(name: str) -> object:
    if name not in __all__: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import parameters, presets, protocol, spread_capture

    rooms = (protocol, parameters, presets, spread_capture)
    return getattr(next(room for room in rooms if name in room.__all__), name)


def __dir__() -> list[str]: return __all__
