-- KEYS  1 answer    ARGV  1 inference id
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] or redis.call('HEXISTS', KEYS[1], 'answered') == 1 then return 0 end
return redis.call('DEL', KEYS[1])
