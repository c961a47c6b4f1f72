"The real market, no money: a sandbox that repeats another exchange"
