"Is everything in order, and is the exchange what we believe it to be?"
