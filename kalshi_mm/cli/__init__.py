"The `kalshi-mm` command"
