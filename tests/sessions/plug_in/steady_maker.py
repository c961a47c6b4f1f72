"Quotes inside the others' spread by a fixed distance, until its event holds enough"
from typing import Annotated

from msgspec import Struct

from kalshi_mm.model.numbers import CENT, CONTRACT, Count, Price
from kalshi_mm.model.types import Quote, Side
from kalshi_mm.strategy import Looks, Quotes, View, Within
from kalshi_mm.strategy.protocol import NoQuote


class SteadyParams(Struct, frozen=True):
    distance: Annotated[Price, Within("cents", "0.01", "20", "inside the others' best prices")] = 1 * CENT
    most: Annotated[Count, Within("contracts", "1", "1000", "held in the event, long or short")] = 60 * CONTRACT


class Steady:
    looks = Looks(depth=3, prints=5, queue=True, event=True)

    def __init__(self, params: SteadyParams):
        self.params, self.first, self.looked = params, None, ""

    def quote(self, view: View) -> Quotes:
        self.first, self.looked = self.first or view, self.looked or repr(view)
        if repr(self.first) != self.looked: raise RuntimeError("a view that was kept has changed")
        if view.bid is None or view.ask is None or view.event is None: return Quotes.none("one side is empty")
        grid, inside = view.market.grid, self.params.distance
        bid, ask = grid.floor(view.bid[0] + inside), grid.ceil(view.ask[0] - inside)
        if bid >= ask: return Quotes.none("the spread is narrow")
        why, held = f"the event holds {view.event.net}, {len(view.prints)} prints", view.event.net
        return Quotes(Quote(Side.BID, bid, 500, why) if held < self.params.most else NoQuote(Side.BID, why),
                      Quote(Side.ASK, ask, 500, why) if held > -self.params.most else NoQuote(Side.ASK, why))
