"""One run as it trains: devices, step, phases, loop, callbacks."""
