"""Real faults on one machine: a provider that misbehaves, a proxy that cuts, real Redis servers, and the judge."""
