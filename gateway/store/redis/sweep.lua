-- Ends expired holds of one team, though nobody asks for admission.
-- KEYS  1 holds  2 leases  3 held  4 expired    ARGV  1 how many at most    ->  how many there were
return end_expired(KEYS[1], KEYS[2], KEYS[3], KEYS[4], clock_ms(), tonumber(ARGV[1]))
