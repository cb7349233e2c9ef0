-- KEYS  1 last uses  2 keys    ARGV  id, team id, milliseconds; and so on
for i = 1, #ARGV, 3 do
  local key = redis.call('HGET', KEYS[2], ARGV[i])
  if key and cjson.decode(key).team_id == ARGV[i + 1] then
    local before = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or '0')
    if tonumber(ARGV[i + 2]) > before then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
  end
end
return 1
