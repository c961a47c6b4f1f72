"Deliberate faults in the rooms that move money or keep it safe, one at a time: does a test notice?"
