"How an engine is started, reached and killed"
