-- Put in front of the scripts that book: what came over the wire is what was sent, or nothing is done. TCP's own sum
-- lets a damaged packet pass now and then, and a digit is enough.
-- ARGV  1 packed  2 SHA-1 of the keys and of it
if redis.sha1hex(table.concat(KEYS, '\n') .. '\n' .. ARGV[1]) ~= ARGV[2] then
  return redis.error_reply('DAMAGED the call was changed on its way')
end

local function sealed(value)
  local packed = cmsgpack.pack(value)
  return packed .. redis.sha1hex(packed)
end

