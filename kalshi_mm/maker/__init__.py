"The pure core: events in, actions out"
