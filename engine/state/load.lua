-- Read accounts together with the applied sequence, in one moment.
--
-- KEYS[1] is the shard hash, KEYS[2..] buckets. ARGV: the id of the journal's topic ('': any); for each bucket the number of accounts, and they. Returns
-- the applied sequence (-1: what is here was made from another journal), then the accounts' states in that order (nil: none).
local CHUNK = 2000
local here = redis.call('HMGET', KEYS[1], 'sequence', 'topic_id:limit-journal')
local answer = { (ARGV[1] ~= '' and here[2] and here[2] ~= ARGV[1]) and -1 or tonumber(here[1] or '0') }
local at = 2
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
