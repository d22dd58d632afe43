-- Decides about claims, each for itself: all that it asks for is taken, or nothing.
--
-- KEYS  four for each claim: the shard's incarnation; the key's windows; its budget's window; what its process
--       has under way
-- ARGV[1] now in Unix ms, '' = by this server's clock
-- ARGV[2] the incarnation that the claims are made under
-- ARGV[3] 'take', or 'look' to decide without taking
--       then eleven for each claim: claim id; key id; window (Unix s); requests; tokens; rpm; tpd; calls at once
--       (-1 = any number); budget in nano-dollars (-1 = none); worst case; least (nano-dollars)
-- Returns for each claim {verdict, retry ms or -1, requests left, their reset ms, tokens left, their reset ms,
--       spent, reserved, granted}. verdict: 0 allowed, 1 budget, 2 tokens, 3 requests, 4 calls at
--       once, 5 another incarnation, 6 an error, whose words follow.

local SECOND, SECONDS = 1000, 61
local SLICE, SLICES = 600000, 145
local STEP = 2000 -- ms that the clock may step back without a word

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end

-- A window as it is at this moment, read but not written. Fields of the hash: <name>n the total, <name>h the
-- newest bucket, <name>l the last one used, <name><bucket> what was taken in it.
local function window(key, name, width, size, total, head, last, current)
  local w = {key = key, name = name, width = width, size = size, gone = {}}
  local bucket = math.floor(now / width)
  w.total, w.head, w.last = tonumber(total) or 0, tonumber(head) or bucket, tonumber(last) or 0
  w.current = tonumber(current) or 0
  if bucket < w.head then
    if w.head * width - now > STEP then
      -- What lies in the future was taken before the clock was set back: now, for all that can be known.
      for future = bucket + 1, w.head do
        local amount = tonumber(redis.call('HGET', key, name .. future))
        if amount then
          w.current = w.current + amount
          w.gone[#w.gone + 1] = name .. future
        end
      end
      w.head, w.last = bucket, bucket
    else
      bucket = w.head
      w.current = tonumber(redis.call('HGET', key, name .. bucket)) or 0
    end
  elseif bucket > w.head then
    local first = w.head - size + 1
    local final = math.min(bucket - size, w.head)
    if w.total > 0 then
      for old = first, final do
        local amount = tonumber(redis.call('HGET', key, name .. old))
        if amount then
          w.total = w.total - amount
          w.gone[#w.gone + 1] = name .. old
        end
      end
    end
    w.head = bucket
  end
  w.time = math.max(now, w.head * width)
  return w
end

-- Milliseconds until all of it is out of the window; what was used last may have been given back.
local function reset(w)
  if w.total == 0 then return 0 end
  local last = w.last
  while last > w.head - w.size do
    local taken = last == w.head and w.current or tonumber(redis.call('HGET', w.key, w.name .. last)) or 0
    if taken > 0 then break end
    last = last - 1
  end
  return (last + w.size) * w.width - w.time
end

-- Milliseconds until so much more fits the limit, nil if never.
local function wait(w, limit, amount)
  if amount > limit then return nil end
  local excess = w.total + amount - limit
  if excess <= 0 then return 0 end
  for bucket = w.head - w.size + 1, w.head do
    local taken
    if bucket == w.head then taken = w.current
    else taken = tonumber(redis.call('HGET', w.key, w.name .. bucket)) or 0 end
    excess = excess - taken
    if excess <= 0 then return (bucket + w.size) * w.width - w.time end
  end
  error('the buckets hold less than their total')
end

local function take(w, amount)
  if amount > 0 then
    w.total = w.total + amount
    w.current = w.current + amount
    w.last = w.head
  end
end

local function words(w, list)
  local name = w.name
  for _, word in ipairs({name .. 'n', w.total, name .. 'h', w.head, name .. 'l', w.last,
                         name .. w.head, w.current}) do
    list[#list + 1] = word
  end
end

local function item(number)
  local incarnation, key, budget_key, open_key = unpack(KEYS, number * 4 - 3, number * 4)
  if redis.call('HGET', incarnation, 'n') ~= ARGV[2] then return {5} end
  local at = 3 + (number - 1) * 11
  local id, key_id, window_start = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local requests, tokens = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local rpm, tpd = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local at_once, budget = tonumber(ARGV[at + 8]), tonumber(ARGV[at + 9])
  local worst, least = tonumber(ARGV[at + 10]), tonumber(ARGV[at + 11])
  local under_way = 'p' .. ARGV[2]

  local second, slice = math.floor(now / SECOND), math.floor(now / SLICE)
  local known = redis.call('HMGET', key, 'rn', 'rh', 'rl', 'r' .. second, 'tn', 'th', 'tl', 't' .. slice, under_way)
  local r = window(key, 'r', SECOND, SECONDS, known[1], known[2], known[3], known[4])
  local t = window(key, 't', SLICE, SLICES, known[5], known[6], known[7], known[8])
  local calls = tonumber(known[9]) or 0
  local sums = redis.call('HMGET', budget_key, 'c', 'r')
  local spent, reserved = tonumber(sums[1]) or 0, tonumber(sums[2]) or 0

  local verdict, retry = 0, nil
  local left = budget - spent - reserved
  if budget >= 0 and (budget == 0 or left < least) then
    verdict = 1
  else
    if budget >= 0 and left < worst then worst = left end
    local is_tokens, is_requests = t.total + tokens > tpd, r.total + requests > rpm
    if is_tokens or is_requests then
      verdict = is_tokens and 2 or 3
      local first, second = wait(t, tpd, tokens), wait(r, rpm, requests)
      retry = first and second and math.max(first, second)
    elseif at_once >= 0 and calls >= at_once then
      verdict, retry = 4, 1000
    end
  end

  if verdict == 0 and ARGV[3] == 'take' then
    take(r, requests)
    take(t, tokens)
    local list = {under_way, calls + 1}
    words(r, list)
    words(t, list)
    redis.call('HSET', key, unpack(list))
    if #r.gone > 0 then redis.call('HDEL', key, unpack(r.gone)) end
    if #t.gone > 0 then redis.call('HDEL', key, unpack(t.gone)) end
    if not known[2] or tonumber(known[2]) ~= r.head then redis.call('PEXPIRE', key, (SLICES + 1) * SLICE) end
    redis.call('HSET', budget_key, 'c', spent, 'r', reserved + worst)
    redis.call('HSET', open_key, id, table.concat(
      {key_id, window_start, string.format('%.0f', worst), r.head, t.head, requests, string.format('%.0f', tokens)}, ' '))
  end
  return {verdict, retry or -1, math.max(0, rpm - r.total), reset(r), math.max(0, tpd - t.total), reset(t),
          spent, reserved, worst}
end

-- Something that is no hash stands where one should. Windows begin anew; for money, so do all counters.
local function mended(number)
  for place, key in ipairs({unpack(KEYS, number * 4 - 3, number * 4)}) do
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'hash' and kind ~= 'none' then
      redis.call('DEL', place == 2 and key or KEYS[number * 4 - 3])
      return true
    end
  end
  return false
end

local answers = {}
for number = 1, #KEYS / 4 do
  local ok, answer = pcall(item, number)
  if not ok and mended(number) then ok, answer = pcall(item, number) end
  answers[number] = ok and answer or {6, tostring(type(answer) == 'table' and answer.err or answer)}
end
return answers
