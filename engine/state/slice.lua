-- Read whole buckets together with the applied sequence, in one moment.
--
-- KEYS[1] is the shard hash, KEYS[2..] buckets. ARGV: the id of the journal's topic ('': any). Returns the applied sequence (-1: what is here was made from
-- another journal), then each bucket's accounts and states in turn, in any order.
local here = redis.call('HMGET', KEYS[1], 'sequence', 'topic_id:limit-journal')
local answer = { (ARGV[1] ~= '' and here[2] and here[2] ~= ARGV[1]) and -1 or tonumber(here[1] or '0') }
for i = 2, #KEYS do
    answer[i] = redis.call('HGETALL', KEYS[i])
end
return answer
