-- Replaces what claims have reserved by what they used. One that is not under way changes nothing.
--
-- KEYS  four for each claim: the shard's incarnation; the key's windows; its budget's window; what its process
--       has under way
-- ARGV[1] the incarnation
--       then four for each claim: claim id; nano-dollars used; tokens used, -1 = as many as were reserved; 1 to
--       give its request back, else 0
-- Returns for each claim 1 settled, 0 not under way, 5 another incarnation, 6 an error.

local SECONDS, SLICES = 61, 145

-- Adds to what was taken in a bucket that is still in its window; no bucket holds less than nothing.
local function change(key, name, size, bucket, amount)
  local known = redis.call('HMGET', key, name .. 'n', name .. 'h', name .. bucket, name .. 'l')
  local total, head, taken = tonumber(known[1]), tonumber(known[2]), tonumber(known[3]) or 0
  if not total or head - bucket >= size then return end
  amount = math.max(amount, -taken)
  redis.call('HSET', key, name .. 'n', total + amount, name .. bucket, taken + amount,
             name .. 'l', math.max(bucket, tonumber(known[4]) or 0))
end

local function item(number)
  local incarnation, key, budget_key, open_key = unpack(KEYS, number * 4 - 3, number * 4)
  if redis.call('HGET', incarnation, 'n') ~= ARGV[1] then return 5 end
  local at = 1 + (number - 1) * 4
  local held = redis.call('HGET', open_key, ARGV[at + 1])
  if not held then return 0 end
  local words = {}
  for word in string.gmatch(held, '%S+') do words[#words + 1] = tonumber(word) end
  local worst, second, slice, requests, tokens = unpack(words, 3, 7)
  local sums = redis.call('HMGET', budget_key, 'c', 'r')
  redis.call('HSET', budget_key, 'c', (tonumber(sums[1]) or 0) + tonumber(ARGV[at + 2]),
             'r', (tonumber(sums[2]) or 0) - worst)
  redis.call('HDEL', open_key, ARGV[at + 1])
  redis.call('HINCRBY', key, 'p' .. ARGV[1], -1)
  local used = tonumber(ARGV[at + 3])
  if not slice then -- written from the ledger, which knows of no reservation of tokens
    slice, requests, tokens = tonumber(redis.call('HGET', key, 'th')) or 0, 0, 0
  end
  if used >= 0 and used ~= tokens then change(key, 't', SLICES, slice, used - tokens) end
  if requests > 0 and ARGV[at + 4] == '1' then change(key, 'r', SECONDS, second, -requests) end
  return 1
end

local answers = {}
for number = 1, #KEYS / 4 do
  local ok, answer = pcall(item, number)
  answers[number] = ok and answer or 6
end
return answers
