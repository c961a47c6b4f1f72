"From recordings to a strategy that may trade"
