-- Puts up one worker's post and gives all the others'; an urgent one wakes them.
-- KEYS  1 posts  2 bell    ARGV  instance, post, life in ms, 1 if urgent
-- ->    {now_ms, instance, post, instance, post, …}
local tm = redis.call('TIME')
local now_ms = tm[1] * 1000 + math.floor(tm[2] / 1000)
local life_ms = tonumber(ARGV[3])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', now_ms, ARGV[2]))
redis.call('PEXPIRE', KEYS[1], life_ms * 4)
if ARGV[4] == '1' then
  redis.call('XADD', KEYS[2], 'MAXLEN', '100', '*', ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[2], life_ms * 4)
end
local answer = {now_ms}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at_ms, post = string.match(all[i + 1], '^(%d+) (.*)$')
  if now_ms - at_ms > life_ms then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = post
  end
end
return answer
