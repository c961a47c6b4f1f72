"The exchange's stream, and the record of a session"
