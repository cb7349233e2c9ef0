-- Admits one request in all its scopes, or in none.
-- KEYS  1 holds  2 leases  3 held  4 expired, then for each scope: spent of its window, rate, slots
-- ARGV  1 packed, under a seal: {id, hold (string), tokens, lease_ms, not_after_ms, slot_ms, forced, expired_max = {usual, all},
--                  scopes = {{id, window, budget, strict, resets_at_ms, requests, tokens, slots}, …}}
-- ->    packed, under a seal: {now_ms, reason or false, scope index, retry_after_s, spent, held, {remaining of each scope}}
local ask = cmsgpack.unpack(ARGV[1])
local now_ms = clock_ms()
local now_s = math.floor(now_ms / 1000)

local function used(counts)
  local sum = 0
  for i = 1, SECONDS do sum = sum + counts[i] end
  return sum
end

local function wait_s(counts, second, limit, wanted)
  local free = limit - used(counts)
  if free >= wanted then return 0 end
  for age = SECONDS - 1, 0, -1 do
    free = free + counts[(second - age) % SECONDS + 1]
    if free >= wanted then return SECONDS - age end
  end
  return SECONDS - 1
end

local function reset_s(counts, second)
  for age = 0, SECONDS - 1 do
    if counts[(second - age) % SECONDS + 1] > 0 then return SECONDS - age end
  end
  return 0
end

local function amounts(scope)
  local spent = tonumber(redis.call('HGET', scope.spent_key, scope.id) or '0')
  local held = tonumber(redis.call('HGET', KEYS[3], scope.id .. '|' .. scope.window) or '0')
  return spent, held
end

-- Looked at and not cleared up: before the first write that a full memory refuses no other may be made.
local function taken_slots(scope) return redis.call('ZCOUNT', scope.slots_key, '(' .. now_ms, '+inf') end

local function remaining()
  local all = {}
  for i, scope in ipairs(ask.scopes) do
    local left = {}
    if scope.budget then
      local spent, held = amounts(scope)
      left.budget_nano_usd = scope.budget - spent - held
    end
    if scope.requests then
      left.requests = math.max(0, scope.requests - used(scope.rate[2]))
      left.reset_requests_s = reset_s(scope.rate[2], scope.rate[1])
    end
    if scope.tokens then
      left.tokens = math.max(0, scope.tokens - used(scope.rate[3]))
      left.reset_tokens_s = reset_s(scope.rate[3], scope.rate[1])
    end
    if scope.slots then left.slots = math.max(0, scope.slots - taken_slots(scope)) end
    left.scope = i
    all[i] = left
  end
  return all
end

if now_ms > ask.not_after_ms then return sealed({now_ms, 'late', 1, 1, 0, 0, {}}) end

local function end_overdue(most) return end_expired(KEYS[1], KEYS[2], KEYS[3], KEYS[4], now_ms, most) end

end_overdue(ask.expired_max.usual)
for i, scope in ipairs(ask.scopes) do
  scope.spent_key, scope.rate_key, scope.slots_key = KEYS[3 * i + 2], KEYS[3 * i + 3], KEYS[3 * i + 4]
  scope.rate = rate_window(scope.rate_key, now_s)
end
if redis.call('HEXISTS', KEYS[1], ask.id) == 1 then
  return sealed({now_ms, false, 0, 0, 0, 0, remaining()})
end

local hold = tonumber(ask.hold)
for i, scope in ipairs(ask.scopes) do
  local reason, retry_s, spent, held = nil, 0, 0, 0
  if scope.budget and scope.strict then
    spent, held = amounts(scope)
    -- Nobody is refused for what only waits to be cleared away.
    if spent + held + hold > scope.budget and end_overdue(ask.expired_max.all) > 0 then spent, held = amounts(scope) end
    if spent + held + hold > scope.budget then
      reason, retry_s = 'budget', math.max(0, ((scope.resets_at_ms or now_ms) - now_ms) / 1000)
    end
  end
  if not reason and scope.requests then
    retry_s = wait_s(scope.rate[2], scope.rate[1], scope.requests, 1)
    if retry_s > 0 then reason = 'requests' end
  end
  if not reason and scope.tokens then
    retry_s = wait_s(scope.rate[3], scope.rate[1], scope.tokens, ask.tokens)
    if retry_s > 0 then reason = 'tokens' end
  end
  if not reason and scope.slots then
    if taken_slots(scope) >= scope.slots then reason, retry_s = 'concurrency', 1 end
  end
  if reason and not ask.forced then return sealed({now_ms, reason, i, retry_s, spent, held, remaining()}) end
end

local kept = {nano_usd = ask.hold, windows = {}, tokens = ask.tokens, second = now_s}
for _, scope in ipairs(ask.scopes) do
  if scope.budget then kept.windows[#kept.windows + 1] = scope.id .. '|' .. scope.window end
end
redis.call('HSET', KEYS[1], ask.id, cmsgpack.pack(kept))
if ask.forced then redis.call('HDEL', KEYS[4], ask.id) end
redis.call('ZADD', KEYS[2], now_ms + ask.lease_ms, ask.id)
for _, field in ipairs(kept.windows) do redis.call('HINCRBY', KEYS[3], field, ask.hold) end
for _, scope in ipairs(ask.scopes) do
  if scope.requests or scope.tokens then
    local at = scope.rate[1] % SECONDS + 1
    scope.rate[2][at] = scope.rate[2][at] + 1
    scope.rate[3][at] = scope.rate[3][at] + ask.tokens
    keep_rate(scope.rate_key, scope.rate)
  end
  if scope.slots then
    redis.call('ZREMRANGEBYSCORE', scope.slots_key, '-inf', now_ms)
    redis.call('ZADD', scope.slots_key, now_ms + ask.slot_ms, ask.id)
    redis.call('PEXPIRE', scope.slots_key, ask.slot_ms)
  end
end
return sealed({now_ms, false, 0, 0, 0, 0, remaining()})
