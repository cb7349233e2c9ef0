-- KEYS  1 workers    ARGV  1 instance  2 ms after which one is taken for gone    ->  {how many live, Unix ms}
local now_ms = clock_ms()
redis.call('ZADD', KEYS[1], now_ms, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {redis.call('ZCARD', KEYS[1]), now_ms}
