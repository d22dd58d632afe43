-- Counts requests of addresses in the last minute; one too many is not counted.
--
-- KEYS  for each request the address's window
-- ARGV[1] now in Unix ms, '' = by this server's clock
--       then for each request how many a minute may have
-- Returns for each request 0, or the ms until one would pass, or -1 for an error.

local SECOND, SECONDS, STEP = 1000, 61, 2000

local now
if ARGV[1] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
else
  now = tonumber(ARGV[1])
end

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
    else
      second = head
    end
  elseif head and head < second and total > 0 then
    for old = head - SECONDS + 1, math.min(second - SECONDS, head) do
      local amount = tonumber(redis.call('HGET', key, old))
      if amount then
        total = total - amount
        redis.call('HDEL', key, old)
      end
    end
    redis.call('HSET', key, 'n', total, 'h', second)
  end
  if total >= limit then
    local excess = total + 1 - limit
    for bucket = second - SECONDS + 1, second do
      excess = excess - (tonumber(redis.call('HGET', key, bucket)) or 0)
      if excess <= 0 then return (bucket + SECONDS) * SECOND - math.max(now, second * SECOND) end
    end
  end
  redis.call('HSET', key, 'n', total + 1, 'h', second)
  if redis.call('HINCRBY', key, second, 1) == 1 then redis.call('PEXPIRE', key, SECONDS * SECOND) end
  return 0
end

local answers = {}
for number = 1, #KEYS do
  local ok, answer = pcall(item, number)
  answers[number] = ok and answer or -1
end
return answers
