"""Many callers at one limit, through several gateways at once: exactly as many get through as fit."""
