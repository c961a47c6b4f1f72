"The vocabulary: exact numbers, the exchange's nouns, events and actions, fees"
