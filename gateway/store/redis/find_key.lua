-- KEYS  1 digests  2 keys  3 teams    ARGV  1 digest    ->  {key document, team document} or nil
local id = redis.call('HGET', KEYS[1], ARGV[1])
local key = id and redis.call('HGET', KEYS[2], id)
if not key then return nil end
return {key, redis.call('HGET', KEYS[3], cjson.decode(key).team_id)}
