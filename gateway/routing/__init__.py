"""Where a request goes: pure decisions over values, no sockets, no clocks of their own."""
