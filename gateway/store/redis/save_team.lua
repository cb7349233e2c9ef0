-- KEYS  1 teams  2 names    ARGV  1 id  2 name  3 document  4 `1` where the team is deleted  5 revision that is replaced
-- ->    0: the name is taken; -1: it is of another revision
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before and (cjson.decode(before).revision or 0) ~= tonumber(ARGV[5]) then return -1 end
local owner = redis.call('HGET', KEYS[2], ARGV[2])
if ARGV[4] ~= '1' and owner and owner ~= ARGV[1] then return 0 end
if before then
  local name = cjson.decode(before).name
  if redis.call('HGET', KEYS[2], name) == ARGV[1] then redis.call('HDEL', KEYS[2], name) end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '1' then redis.call('HSET', KEYS[2], ARGV[2], ARGV[1]) end
return 1
