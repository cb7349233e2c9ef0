"""What was sent and used, on this host's disk, before anybody else is told."""
