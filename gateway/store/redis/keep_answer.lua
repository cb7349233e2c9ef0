-- KEYS  1 answer    ARGV  1 inference id  2 fingerprint  3 life in s  4 answer, left out where it is not kept
local id = redis.call('HGET', KEYS[1], 'id')
if id and id ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'fingerprint', ARGV[2], 'until_ms', '0', 'answered', '1')
if ARGV[4] then redis.call('HSET', KEYS[1], 'answer', ARGV[4]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
