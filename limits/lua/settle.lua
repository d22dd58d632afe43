-- Replaces what claims have reserved by what they used. One that is not under way changes nothing.
--
-- KEYS  four for each claim: the shard's incarnation; the key's windows; its budget's window; what its process
--       has under way
-- ARGV  [1] the incarnation; then six for each claim: claim id; nano-dollars; tokens to add to those reserved
--       (may be negative); the slice they were taken in; requests to give back; the second they were taken in
-- Returns for each claim 1 settled, 0 not under way, 5 another incarnation, 6 an error.

local SECONDS, SLICES = 61, 145

-- Adds to what was taken in a bucket that is still in its window; no bucket holds less than nothing.
local function change(key, name, size, bucket, amount)
  local known = redis.call('HMGET', key, name .. 'n', name .. 'h', name .. bucket)
  local total, head, taken = tonumber(known[1]), tonumber(known[2]), tonumber(known[3]) or 0
  if not total or head - bucket >= size then return end
  amount = math.max(amount, -taken)
  redis.call('HSET', key, name .. 'n', total + amount, name .. bucket, taken + amount)
end

local function item(number)
  local incarnation, key, budget_key, open_key = unpack(KEYS, number * 4 - 3, number * 4)
  if redis.call('HGET', incarnation, 'n') ~= ARGV[1] then return 5 end
  local at = 1 + (number - 1) * 6
  local held = redis.call('HGET', open_key, ARGV[at + 1])
  if not held then return 0 end
  local worst = tonumber(string.match(held, '%d+$'))
  local sums = redis.call('HMGET', budget_key, 'c', 'r')
  redis.call('HSET', budget_key, 'c', (tonumber(sums[1]) or 0) + tonumber(ARGV[at + 2]),
             'r', (tonumber(sums[2]) or 0) - worst)
  redis.call('HDEL', open_key, ARGV[at + 1])
  redis.call('HINCRBY', key, 'p' .. ARGV[1], -1)
  local tokens, requests = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 5])
  if tokens ~= 0 then change(key, 't', SLICES, tonumber(ARGV[at + 4]), tokens) end
  if requests ~= 0 then change(key, 'r', SECONDS, tonumber(ARGV[at + 6]), -requests) end
  return 1
end

local answers = {}
for number = 1, #KEYS / 4 do
  local ok, answer = pcall(item, number)
  answers[number] = ok and answer or 6
end
return answers
