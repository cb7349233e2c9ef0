"""An hour of a fleet of gateways before providers that misbehave, in seconds and without a socket."""
