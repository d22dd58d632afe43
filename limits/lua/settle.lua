-- Replaces what claims have reserved by what they used. One that is not under way changes nothing.
--
-- KEYS  four for each claim: the shard's incarnation; the key's windows; its budget's window; what its process
--       has under way
-- ARGV[1] the incarnation
--       then four for each claim: claim id; nano-dollars used; tokens used, -1 = as many as were reserved; 1 to
--       give its request back, else 0
-- Returns for each claim 1 settled, 0 not under way, 5 another incarnation, or the words of an error.

local SECONDS, SLICES = 61, 145
local UNDER_WAY = 'p' .. ARGV[1]

-- Adds to what was taken in a bucket that is still in its window; no bucket holds less than nothing.
local function change(key, name, size, bucket, amount)
  local field = name .. bucket
  local known = redis.call('HMGET', key, name .. 'n', name .. 'h', name .. 'l', field)
  local total, head, last, taken = tonumber(known[1]), tonumber(known[2]), tonumber(known[3]), tonumber(known[4])
  if not total or not head or head - bucket >= size then return end
  if bucket > head then -- the clock was set back since, and what was taken later was taken now
    bucket, field = head, name .. head
    taken = tonumber(redis.call('HGET', key, field) or 0)
  end
  taken = taken or 0
  amount = math.max(amount, -taken)
  redis.call('HSET', key, name .. 'n', total + amount, field, taken + amount)
  if taken + amount == 0 then redis.call('HDEL', key, field) end
  if bucket > (last or 0) then redis.call('HSET', key, name .. 'l', bucket) end
end

local holds = {} -- by incarnation key: is it the one that is asked for?
local function is_current(incarnation)
  local is = holds[incarnation]
  if is == nil then
    is = redis.call('HGET', incarnation, 'n') == ARGV[1]
    holds[incarnation] = is
  end
  return is
end

local function item(number)
  local incarnation, key, budget_key, open_key = unpack(KEYS, number * 4 - 3, number * 4)
  if not is_current(incarnation) then return 5 end
  local at = 1 + (number - 1) * 4
  local id, spent, used = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local held = redis.call('HGET', open_key, id)
  if not held then return 0 end
  local worst, rest = string.match(held, '^%S+ %S+ (%d+)(.*)$')
  local second, slice, requests, tokens = string.match(rest, '^ (%d+) (%d+) (%d+) (%d+)$')
  redis.call('HINCRBY', budget_key, 'c', spent)
  if worst ~= '0' then redis.call('HINCRBY', budget_key, 'r', '-' .. worst) end
  redis.call('HDEL', open_key, id)
  if redis.call('HINCRBY', key, UNDER_WAY, '-1') < 1 then redis.call('HDEL', key, UNDER_WAY) end
  if not slice then -- written from the ledger, which knows of no reservation of tokens
    slice, requests, tokens = redis.call('HGET', key, 'th') or 0, 0, 0
  end
  if used >= 0 and used ~= tonumber(tokens) then
    change(key, 't', SLICES, tonumber(slice), used - tokens)
  end
  if ARGV[at + 4] == '1' and tonumber(requests) > 0 then change(key, 'r', SECONDS, tonumber(second), -requests) end
  return 1
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
  answers[number] = ok and answer or tostring(type(answer) == 'table' and answer.err or answer)
end
return answers
