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
--
-- Numbers go back to Redis as the words they came in wherever that can be: writing one out costs as much as a
-- small command.

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

-- The two kinds of windows. Fields of the hash: <name>n the total, <name>h the newest bucket, <name>l the last
-- one used, <name><bucket> what was taken in it, if anything. bucket: that of this moment.
local function kind(name, width, size)
  local bucket = math.floor(now / width)
  return {name = name, width = width, size = size, bucket = bucket, field = name .. bucket,
          n = name .. 'n', h = name .. 'h', l = name .. 'l'}
end
local R, T = kind('r', SECOND, SECONDS), kind('t', SLICE, SLICES)
local UNDER_WAY = 'p' .. ARGV[2]

-- What was taken in each of a window's buckets from `first` to `last`.
local function amounts(w, first, last)
  local names = {}
  for bucket = first, last do names[#names + 1] = w.kind.name .. bucket end
  if #names == 0 then return names end
  local found = redis.call('HMGET', w.key, unpack(names))
  for place = 1, #names do found[place] = tonumber(found[place] or 0) or 0 end
  return found
end

-- Has the buckets from `first` to `last` removed, and answers what they held.
local function remove(w, first, last)
  local sum = 0
  for place, amount in ipairs(amounts(w, first, last)) do
    if amount ~= 0 then
      sum = sum + amount
      w.gone = w.gone or {}
      w.gone[#w.gone + 1] = w.kind.name .. first + place - 1
    end
  end
  return sum
end

-- A window as it is at this moment, read but not written.
local function window(kind, key, total, head, last, current)
  local bucket, size, width = kind.bucket, kind.size, kind.width
  local w = {kind = kind, key = key, total = tonumber(total) or 0, head = tonumber(head) or bucket,
             last = tonumber(last) or 0, current = tonumber(current) or 0, is_new = not head}
  if bucket > w.head then
    if w.total > 0 then w.total = w.total - remove(w, w.head - size + 1, math.min(bucket - size, w.head)) end
    w.head, w.is_new = bucket, true
  elseif bucket < w.head and w.head * width - now > STEP then
    -- What lies in the future was taken before the clock was set back: now, for all that can be known.
    w.current = w.current + remove(w, math.max(bucket, w.head - size) + 1, w.head)
    w.head, w.last, w.is_new, w.is_set_back = bucket, bucket, true, true
  elseif bucket < w.head then
    w.current = amounts(w, w.head, w.head)[1]
  end
  w.time = math.max(now, w.head * width)
  return w
end

-- Milliseconds until all of it is out of the window; what was used last may have been given back.
local function reset(w)
  if w.total == 0 then return 0 end
  local last, size = w.last, w.kind.size
  while last > w.head - size do
    local taken = last == w.head and w.current or amounts(w, last, last)[1]
    if taken > 0 then break end
    last = last - 1
  end
  return (last + size) * w.kind.width - w.time
end

-- Milliseconds until so much more fits the limit, nil if never.
local function wait(w, limit, amount)
  if amount > limit then return nil end
  local excess = w.total + amount - limit
  if excess <= 0 then return 0 end
  local width, size = w.kind.width, w.kind.size
  local oldest = w.head - size + 1
  for place, taken in ipairs(amounts(w, oldest, w.head - 1)) do
    excess = excess - taken
    if excess <= 0 then return (oldest + place - 1 + size) * width - w.time end
  end
  return (w.head + size) * width - w.time
end

-- Takes an amount, which may be 0, and adds to a list for HSET what has changed.
local function take(w, amount, list)
  local kind = w.kind
  if w.is_new then
    list[#list + 1] = kind.h
    list[#list + 1] = w.head
  end
  if amount > 0 then
    w.total = w.total + amount
    w.current = w.current + amount
  end
  if amount > 0 and w.last ~= w.head or w.is_set_back then
    w.last = w.head
    list[#list + 1] = kind.l
    list[#list + 1] = w.last
  end
  if (amount > 0 or w.is_set_back) and w.current > 0 then
    list[#list + 1] = w.head == kind.bucket and kind.field or kind.name .. w.head
    list[#list + 1] = w.current
  end
  if amount > 0 or w.is_new then
    list[#list + 1] = kind.n
    list[#list + 1] = w.total
  end
end

-- Writes what has changed of a key's windows.
local function store(key, list, r, t)
  redis.call('HSET', key, unpack(list))
  if r.gone then redis.call('HDEL', key, unpack(r.gone)) end
  if t.gone then redis.call('HDEL', key, unpack(t.gone)) end
  if r.is_new then redis.call('PEXPIRE', key, (SLICES + 1) * SLICE) end
end

local holds = {} -- by incarnation key: is it the one that is asked for?
local function is_current(incarnation)
  local is = holds[incarnation]
  if is == nil then
    is = redis.call('HGET', incarnation, 'n') == ARGV[2]
    holds[incarnation] = is
  end
  return is
end

local function item(number)
  local incarnation, key, budget_key, open_key = unpack(KEYS, number * 4 - 3, number * 4)
  if not is_current(incarnation) then return {5} end
  local at = 3 + (number - 1) * 11
  local requests, tokens = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local rpm, tpd = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local at_once, budget = tonumber(ARGV[at + 8]), tonumber(ARGV[at + 9])
  local worst, least = tonumber(ARGV[at + 10]), tonumber(ARGV[at + 11])
  local granted = ARGV[at + 10]

  local known = redis.call('HMGET', key, 'rn', 'rh', 'rl', R.field, 'tn', 'th', 'tl', T.field, UNDER_WAY)
  local r = window(R, key, known[1], known[2], known[3], known[4])
  local t = window(T, key, known[5], known[6], known[7], known[8])
  local calls = tonumber(known[9]) or 0
  local sums = redis.call('HMGET', budget_key, 'c', 'r')
  local spent, reserved = tonumber(sums[1]) or 0, tonumber(sums[2]) or 0

  local verdict, retry = 0, nil
  local left = budget - spent - reserved
  if budget >= 0 and (budget == 0 or left < least) then
    verdict = 1
  else
    if budget >= 0 and left < worst then
      worst, granted = left, string.format('%.0f', left)
    end
    local is_tokens, is_requests = t.total + tokens > tpd, r.total + requests > rpm
    if is_tokens or is_requests then
      verdict = is_tokens and 2 or 3
      local for_tokens, for_requests = wait(t, tpd, tokens), wait(r, rpm, requests)
      retry = for_tokens and for_requests and math.max(for_tokens, for_requests)
    elseif at_once >= 0 and calls >= at_once then
      verdict, retry = 4, 1000
    end
  end

  if verdict == 0 and ARGV[3] == 'take' then
    local list = {UNDER_WAY, calls + 1}
    take(r, requests, list)
    take(t, tokens, list)
    store(key, list, r, t)
    if not sums[1] then redis.call('HSET', budget_key, 'c', '0') end
    redis.call('HINCRBY', budget_key, 'r', granted)
    redis.call('HSET', open_key, ARGV[at + 1], ARGV[at + 2] .. ' ' .. ARGV[at + 3] .. ' ' .. granted .. ' '
               .. r.head .. ' ' .. t.head .. ' ' .. ARGV[at + 4] .. ' ' .. ARGV[at + 5])
  elseif r.is_set_back or t.is_set_back then -- kept at once: "now" must not move on with every question
    local list = {}
    take(r, 0, list)
    take(t, 0, list)
    store(key, list, r, t)
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
      holds = {}
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
