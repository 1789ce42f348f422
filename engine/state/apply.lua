-- Apply one journal record to a shard, if it is the next one: the whole write path of the engine.
--
-- KEYS[1] is the shard hash, KEYS[2..] the buckets that the record touches and, behind them, those that it voids. ARGV: the id of the journal's
-- topic ('': any); the record's sequence; the number of buckets that it voids, which is 0 except of a beginning; the number of values in the shard hash's
-- part, and they as field, value, ...; then for each bucket that it touches the number of values and they as account, state, ..., and the number
-- of accounts to remove and they.
-- Returns the applied sequence afterwards. A sequence that is not the next one changes nothing, so the same call may come twice; but of the one
-- that was applied last it is noted where the journal has it, if that is further on: it was written again. A beginning may leave any number of
-- sequences out, since it voids what they would have written. -1: what is here was made from another journal; nothing is
-- changed, unless by a beginning, which voids that too.
--
-- An error after the first write would leave half a record: so everything is checked before anything is written. The sequence is written
-- last, because a server that runs out of memory refuses the script as a whole, before it begins.
local here = redis.call('HMGET', KEYS[1], 'sequence', 'topic_id:limit-journal')
local sequence, voided = tonumber(ARGV[2]), tonumber(ARGV[3])
local is_ours = ARGV[1] == '' or not here[2] or here[2] == ARGV[1]
if not is_ours and voided == 0 then
    return -1
end
local applied = is_ours and tonumber(here[1] or '0') or -1
local shard_count = tonumber(ARGV[4])
if applied == sequence then
    for i = 5, 4 + shard_count, 2 do
        if ARGV[i] == 'journal_offset' and tonumber(ARGV[i + 1]) > tonumber(redis.call('HGET', KEYS[1], ARGV[i])) then
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        end
    end
end
if applied >= sequence or (voided == 0 and applied ~= sequence - 1) then
    return applied
end
local CHUNK = 2000
local function each(command, key, first, count)
    local last = first + count - 1
    for from = first, last, CHUNK do
        redis.call(command, key, unpack(ARGV, from, math.min(from + CHUNK - 1, last)))
    end
end
local touched = #KEYS - voided
if voided > 0 then
    redis.call('UNLINK', KEYS[1], unpack(KEYS, touched + 1, #KEYS))
end
local at = 5 + shard_count
for i = 2, touched do
    for _, command in ipairs({ 'HSET', 'HDEL' }) do
        local count = tonumber(ARGV[at])
        each(command, KEYS[i], at + 1, count)
        at = at + 1 + count
    end
end
each('HSET', KEYS[1], 5, shard_count)
return sequence
