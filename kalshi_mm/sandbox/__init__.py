"The exchange on your machine"
