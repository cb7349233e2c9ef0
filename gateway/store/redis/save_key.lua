-- KEYS  1 digests  2 keys  3 key ids of the team    ARGV  1 id  2 document  3 revision that is replaced  4… digests
-- that open it    ->  0: it is of another revision
-- What stops opening the key is forgotten before anything else is written.
local before = redis.call('HGET', KEYS[2], ARGV[1])
if before then
  local old = cjson.decode(before)
  if (old.revision or 0) ~= tonumber(ARGV[3]) then return 0 end
  for _, digest in ipairs({old.digest, old.old_digest}) do
    if type(digest) == 'string' and redis.call('HGET', KEYS[1], digest) == ARGV[1] then
      redis.call('HDEL', KEYS[1], digest)
    end
  end
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('SADD', KEYS[3], ARGV[1])
for i = 4, #ARGV do redis.call('HSET', KEYS[1], ARGV[i], ARGV[1]) end
return 1
