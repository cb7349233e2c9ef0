-- Applies one run of closed entries of one team and journal, once.
-- KEYS  1 watermark  2 holds  3 leases  4 held  5 day  6 days  7 hours  8 entries  9 poison
--       10 spent of the day  11 of the month  12 of all time  13 expired, then the others, by their index in ARGV
-- ARGV  1 packed, under a seal: {believed, last, oldest_ms, day, day_start_ms, ttl = {watermark, hour, day, entry},
--                  stale_ms, entries_max, values_max, other,
--                  spent = {scope, amount, …}, day_sums = {field, sum, …},
--                  lines = {key, {field, sum, …}},
--                  hours = {{key, start_ms, {field, sum, …}}, …},
--                  tags = {{key, key of values, value, {field, sum, …}}, …},
--                  ended = {{inference id, tokens, {{slots key, rate key}, …}}, …}, entries = {score, packed, …},
--                  watch = false or {instance, crossings key, {{scope, window, budget, strict, charged, spent key,
--                           marks key, {{percent, reached at, mark}, …}}, …}}}
--       Sums are strings: they go through HINCRBY, which is exact to 64 bits, where Lua's numbers are to 53.
-- ->    packed, under a seal: {'applied' | 'gap' | 'stale', watermark, overrun, {{scope, window, percent, budget, spent, at_ms}, …}}

local EXACT_MAX = 2 ^ 52

local run = cmsgpack.unpack(ARGV[1])
local now_ms = clock_ms()

-- What the sender of this journal has not noted yet: also that of a run before this one, whose answer was lost.
local function crossings()
  local told = {}
  if run.watch then
    local all = redis.call('HGETALL', KEYS[run.watch[2]])
    for i = 2, #all, 2 do
      local crossing = cmsgpack.unpack(all[i])
      if crossing[1] == run.watch[1] then told[#told + 1] = crossing[2] end
    end
  end
  return told
end

local raw = redis.call('GET', KEYS[1])
if not raw and run.oldest_ms < now_ms - run.stale_ms then return sealed({'stale', 0, '0', {}}) end
local have = tonumber(raw or '0')
if have ~= run.believed then return sealed({'gap', have, '0', crossings()}) end

-- The first write is the one that fails where the server refuses writes, with no effect. After it nothing may end the
-- script half way: what is refused goes to a list that an operator looks at.
redis.call('SET', KEYS[1], string.format('%.0f', run.last), 'EX', run.ttl.watermark)

local function keep_poison(what, reason)
  redis.pcall('RPUSH', KEYS[9], what .. ' ' .. tostring(reason))
end

local function add(key, sums)
  for i = 1, #sums, 2 do
    local done = redis.pcall('HINCRBY', key, sums[i], sums[i + 1])
    if type(done) == 'table' and done.err then keep_poison(key .. ' ' .. sums[i] .. ' ' .. sums[i + 1], done.err) end
  end
end

for i = 10, 12 do add(KEYS[i], run.spent) end
redis.pcall('EXPIRE', KEYS[10], run.ttl.day)
redis.pcall('EXPIRE', KEYS[11], run.ttl.day)

-- Each threshold is told once for each window; of several budgets the one that was overrun most counts.
local overrun = 0
local function watch(scope, window, budget, strict, charged, spent_key, marks_key, thresholds)
  local spent = tonumber(redis.call('HGET', spent_key, scope) or '0')
  if strict then
    overrun = math.max(overrun, math.max(0, spent - budget) - math.max(0, spent - charged - budget))
  end
  for _, threshold in ipairs(thresholds) do
    local percent, reached_at, mark = unpack(threshold)
    if spent >= reached_at and redis.call('SADD', marks_key, mark) == 1 then
      redis.call('EXPIRE', marks_key, run.ttl.day)
      local crossing = {run.watch[1], {scope, window, percent, budget, spent, now_ms}}
      redis.call('HSET', KEYS[run.watch[2]], mark, cmsgpack.pack(crossing))
    end
  end
end

for _, one in ipairs(run.watch and run.watch[3] or {}) do
  local fine, reason = pcall(watch, one[1], one[2], one[3], one[4], one[5], KEYS[one[6]], KEYS[one[7]], one[8])
  if not fine then keep_poison(one[1], type(reason) == 'table' and reason.err or reason) end
end

add(KEYS[5], run.day_sums)
redis.pcall('EXPIRE', KEYS[5], run.ttl.day)
redis.pcall('ZADD', KEYS[6], run.day_start_ms, run.day)
redis.pcall('ZREMRANGEBYSCORE', KEYS[6], '-inf', now_ms - run.ttl.day * 1000)
add(KEYS[run.lines[1]], run.lines[2])
redis.pcall('EXPIRE', KEYS[run.lines[1]], run.ttl.day)
for _, hour in ipairs(run.hours) do
  add(KEYS[hour[1]], hour[3])
  redis.pcall('EXPIRE', KEYS[hour[1]], run.ttl.hour)
  redis.pcall('ZADD', KEYS[7], hour[2], string.format('%.0f', hour[2]))
end
redis.pcall('ZREMRANGEBYSCORE', KEYS[7], '-inf', now_ms - run.ttl.hour * 1000)

for _, tag in ipairs(run.tags) do
  local sums_key, values_key, value = KEYS[tag[1]], KEYS[tag[2]], tag[3]
  if redis.pcall('SISMEMBER', values_key, value) ~= 1 then
    local count = redis.pcall('SCARD', values_key)
    if type(count) == 'number' and count < run.values_max then
      redis.pcall('SADD', values_key, value)
    else
      value = run.other
    end
  end
  for i = 1, #tag[4], 2 do add(sums_key, {tag[4][i] .. '|' .. value, tag[4][i + 1]}) end
  redis.pcall('EXPIRE', sums_key, run.ttl.day)
  redis.pcall('EXPIRE', values_key, run.ttl.day)
end

-- Ends the holds of all requests that this run closes: each key is read once and written once, however many they are.
local function end_holds()
  local ids, ends = {}, {seen = {}, gone = {}, back = {}, slots = {}, rates = {}}

  local function correct(key, hold, tokens)
    if tokens == hold.tokens then return end
    local window = ends.rates[key]
    if window == nil then
      window = redis.call('EXISTS', key) == 1 and rate_window(key, math.floor(now_ms / 1000))
      ends.rates[key] = window
    end
    if window and window[1] - SECONDS < hold.second and hold.second <= window[1] then
      local at = hold.second % SECONDS + 1
      window[3][at] = math.max(0, window[3][at] + tokens - hold.tokens)
    end
  end

  local function note(ended, raw)
    local hold = cmsgpack.unpack(raw)
    for _, field in ipairs(hold.windows) do
      local sum = (ends.back[field] or 0) + tonumber(hold.nano_usd)
      if sum > EXACT_MAX then
        redis.call('HINCRBY', KEYS[4], field, '-' .. hold.nano_usd)
      else
        ends.back[field] = sum
      end
    end
    ends.gone[#ends.gone + 1] = ended[1]
    for _, keys in ipairs(ended[3]) do
      local slots = KEYS[keys[1]]
      ends.slots[slots] = ends.slots[slots] or {}
      table.insert(ends.slots[slots], ended[1])
      correct(KEYS[keys[2]], hold, ended[2])
    end
  end

  for i, ended in ipairs(run.ended) do ids[i] = ended[1] end
  redis.call('HDEL', KEYS[13], unpack(ids))
  for i, raw in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
    if raw and not ends.seen[ids[i]] then
      ends.seen[ids[i]] = true
      local fine, reason = pcall(note, run.ended[i], raw)
      if not fine then keep_poison(ids[i], type(reason) == 'table' and reason.err or reason) end
    end
  end
  if #ends.gone == 0 then return end
  redis.call('HDEL', KEYS[2], unpack(ends.gone))
  redis.call('ZREM', KEYS[3], unpack(ends.gone))
  for field, sum in pairs(ends.back) do
    if redis.call('HINCRBY', KEYS[4], field, string.format('%.0f', -sum)) == 0 then
      redis.call('HDEL', KEYS[4], field)
    end
  end
  for slots, members in pairs(ends.slots) do redis.call('ZREM', slots, unpack(members)) end
  for key, window in pairs(ends.rates) do
    if window then keep_rate(key, window) end
  end
end

if #run.ended > 0 then
  local fine, reason = pcall(end_holds)
  if not fine then keep_poison('holds', type(reason) == 'table' and reason.err or reason) end
end

if #run.entries > 0 then redis.pcall('ZADD', KEYS[8], unpack(run.entries)) end
redis.pcall('ZREMRANGEBYRANK', KEYS[8], 0, -1 - run.entries_max)
redis.pcall('ZREMRANGEBYSCORE', KEYS[8], '-inf', now_ms - run.ttl.entry * 1000)
redis.pcall('EXPIRE', KEYS[8], run.ttl.entry)
return sealed({'applied', run.last, string.format('%.0f', overrun), crossings()})
