-- Read accounts together with the applied sequence, in one moment.
--
-- KEYS[1] is the shard hash, KEYS[2..] buckets. ARGV: for each bucket the number of accounts, and they. Returns the applied sequence, then the
-- accounts' states in that order (nil: none).
local CHUNK = 2000
local answer = { tonumber(redis.call('HGET', KEYS[1], 'sequence') or '0') }
local at = 1
for i = 2, #KEYS do
    local last = at + tonumber(ARGV[at])
    for from = at + 1, last, CHUNK do
        local values = redis.call('HMGET', KEYS[i], unpack(ARGV, from, math.min(from + CHUNK - 1, last)))
        for j = 1, #values do
            answer[#answer + 1] = values[j]
        end
    end
    at = last + 1
end
return answer
