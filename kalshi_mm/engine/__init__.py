"The live loop around the core: journal, gateway, discovery, lock, alerts"
