"""How long each phase of an exchange may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds per phase; None waits for ever.

    `connect_s` covers name look-up, TCP and TLS. `first_byte_s` runs from the written request to the complete
    response head. `between_bytes_s` runs only while the caller waits for body bytes.
    """

    connect_s: float | None = 5.0
    pool_s: float | None = 1.0
    write_s: float | None = 30.0
    first_byte_s: float | None = 60.0
    between_bytes_s: float | None = 30.0
