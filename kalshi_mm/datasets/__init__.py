"The market kept: history, recordings, and one layout and one reader for all of them"
