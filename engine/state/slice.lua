-- Read whole buckets together with the applied sequence, in one moment.
--
-- KEYS[1] is the shard hash, KEYS[2..] buckets. Returns the applied sequence, then each bucket's accounts and states in turn, in any order.
local answer = { tonumber(redis.call('HGET', KEYS[1], 'sequence') or '0') }
for i = 2, #KEYS do
    answer[i] = redis.call('HGETALL', KEYS[i])
end
return answer
