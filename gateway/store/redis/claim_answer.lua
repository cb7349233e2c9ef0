-- KEYS  1 answer
-- ARGV  1 inference id  2 fingerprint  3 lease in ms  4 life in s  5 inference id whose claim is void, or ''
-- ->    nil where the claim stands; else {inference id, fingerprint, lease is over, is answered, answer} of the first
local tm = redis.call('TIME')
local now_ms = tm[1] * 1000 + math.floor(tm[2] / 1000)
local id, fingerprint, until_ms, answered, answer =
  unpack(redis.call('HMGET', KEYS[1], 'id', 'fingerprint', 'until_ms', 'answered', 'answer'))
if id and id ~= ARGV[1] and (answered or id ~= ARGV[5]) then
  return {id, fingerprint, now_ms > tonumber(until_ms) and 1 or 0, answered and 1 or 0, answer}
end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'fingerprint', ARGV[2], 'until_ms', string.format('%.0f', now_ms + ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return nil
