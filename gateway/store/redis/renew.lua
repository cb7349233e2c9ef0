-- KEYS  1 slots    ARGV  1 lease in ms  2… inference ids    Prolongs those that still hold a slot.
local tm = redis.call('TIME')
local until_ms = tm[1] * 1000 + math.floor(tm[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', until_ms, ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
