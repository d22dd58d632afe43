-- Counts requests of addresses in the last minute; one too many is not counted.
--
-- KEYS  for each request the address's window
-- ARGV[1] now in Unix ms, '' = by this server's clock
--       then for each request how many a minute may have
-- Returns for each request 0, or the ms until one would pass, or the words of an error.

local SECOND, SECONDS, STEP = 1000, 61, 2000

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end

-- How many requests each second from `first` to `last` had, and the names of the fields that say so.
local function counts(key, first, last)
  local names = {}
  for second = first, last do names[#names + 1] = tostring(second) end
  if #names == 0 then return names, names end
  local found = redis.call('HMGET', key, unpack(names))
  for place = 1, #names do found[place] = tonumber(found[place] or 0) or 0 end
  return found, names
end

-- Fields of the hash: n the total, h the newest second, <second> how many it had.
local function item(number)
  local key, limit = KEYS[number], tonumber(ARGV[number + 1])
  local known = redis.call('HMGET', key, 'n', 'h')
  local total, head = tonumber(known[1]) or 0, tonumber(known[2])
  local second = math.floor(now / SECOND)
  if head and head > second then
    if head * SECOND - now > STEP then
      -- The clock was set back: what is there was counted now, for all that can be known.
      redis.call('DEL', key)
      redis.call('HSET', key, 'n', total, 'h', second, second, total)
      redis.call('PEXPIRE', key, SECONDS * SECOND)
    else
      second = head
    end
  elseif head and head < second and total > 0 then
    local found, names = counts(key, head - SECONDS + 1, math.min(second - SECONDS, head))
    for _, count in ipairs(found) do total = total - count end
    if #names > 0 then redis.call('HDEL', key, unpack(names)) end
    redis.call('HSET', key, 'n', total, 'h', second)
  end
  if total >= limit then
    local excess, oldest = total + 1 - limit, second - SECONDS + 1
    local place = 0
    for at, count in ipairs(counts(key, oldest, second)) do
      excess = excess - count
      place = at
      if excess <= 0 then break end
    end
    return (oldest + place - 1 + SECONDS) * SECOND - math.max(now, second * SECOND)
  end
  redis.call('HSET', key, 'n', total + 1, 'h', second)
  if redis.call('HINCRBY', key, second, 1) == 1 then redis.call('PEXPIRE', key, SECONDS * SECOND) end
  return 0
end

-- Something that is no hash stands where one should: the window begins anew.
local function mended(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' or kind == 'none' then return false end
  redis.call('DEL', key)
  return true
end

local answers = {}
for number = 1, #KEYS do
  local ok, answer = pcall(item, number)
  if not ok and mended(KEYS[number]) then ok, answer = pcall(item, number) end
  answers[number] = ok and answer or tostring(type(answer) == 'table' and answer.err or answer)
end
return answers
