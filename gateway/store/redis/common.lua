-- What admit.lua, settle.lua and sweep.lua share; put in front of each.

local SECONDS = 61
local EXPIRED_S = 400 * 86400

local function clock_ms()
  local tm = redis.call('TIME')
  return tm[1] * 1000 + math.floor(tm[2] / 1000)
end

-- A sliding minute: {newest second, 61 counts of requests, 61 of tokens}; see gateway/store/rates.py.
local function rate_window(key, now_s)
  local raw = redis.call('GET', key)
  local window
  if raw then
    window = cmsgpack.unpack(raw)
  else
    window = {0, {}, {}}
    for i = 1, SECONDS do window[2][i] = 0; window[3][i] = 0 end
  end
  for second = math.max(window[1] + 1, now_s - SECONDS + 1), now_s do
    window[2][second % SECONDS + 1] = 0
    window[3][second % SECONDS + 1] = 0
  end
  window[1] = math.max(window[1], now_s)
  return window
end

local function keep_rate(key, window)
  redis.call('SET', key, cmsgpack.pack(window), 'EX', 120)
end

-- Gives back what was held against budgets. Returns the hold, or nil where there is none.
local function drop_hold(holds, leases, held, inference_id)
  local raw = redis.call('HGET', holds, inference_id)
  if not raw then return nil end
  local hold = cmsgpack.unpack(raw)
  redis.call('HDEL', holds, inference_id)
  redis.call('ZREM', leases, inference_id)
  if hold.nano_usd ~= '0' then
    for _, field in ipairs(hold.windows) do
      if redis.call('HINCRBY', held, field, '-' .. hold.nano_usd) == 0 then redis.call('HDEL', held, field) end
    end
  end
  return hold
end

-- Ends holds whose lease is over. Each stays on record until its request is settled, which may never happen: its journal
-- went with its host. Returns how many there were.
local function end_expired(holds, leases, held, expired, now_ms, most)
  local overdue = redis.call('ZRANGEBYSCORE', leases, '-inf', now_ms, 'LIMIT', 0, most)
  for _, inference_id in ipairs(overdue) do
    local hold = drop_hold(holds, leases, held, inference_id)
    if hold then
      redis.call('HSET', expired, inference_id, hold.nano_usd)
      redis.call('EXPIRE', expired, EXPIRED_S)
    else
      redis.call('ZREM', leases, inference_id)
    end
  end
  return #overdue
end
