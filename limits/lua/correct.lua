-- Adds an operator's correction to what a window has spent, once.
--
-- KEYS[1] the shard's incarnation
-- KEYS[2] the budget's window
-- ARGV[1] the incarnation
-- ARGV[2] the correction's number, ascending
-- ARGV[3] nano-dollars, may be negative
-- Returns 1 added, 0 there already or nothing known of the window, 5 another incarnation.

if redis.call('HGET', KEYS[1], 'n') ~= ARGV[1] then return 5 end
local known = redis.call('HMGET', KEYS[2], 'c', 'x')
if not known[1] or (tonumber(known[2]) or 0) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'c', tonumber(known[1]) + tonumber(ARGV[3]), 'x', ARGV[2])
return 1
